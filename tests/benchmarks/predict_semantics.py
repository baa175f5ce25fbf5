"""Measure the cost of reading a PredictRequest and writing its answer. Run: python -m tests.benchmarks.predict_semantics

Prints microseconds of one core for each request of one MNIST image, without any model or network, and the ratio to
parsing and serialising with protobuf, measured in turn.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.payload import predict_request
from bench.server.api.prediction import Predictions, stack
from bench.server.models import model_config
from bench.server.models.loading import RepositoryOptions
from bench.server.models.repository import Repository
from bench.wire.messages import PredictRequest, PredictResponse
from tests.benchmarks.arguments import parser
from tests.server.numpy_models import load, write

ROUNDS = 7
REQUESTS = 256
ROWS = 1


def by_protobuf(requests: list[bytes], scores: np.ndarray) -> None:
    """The usual way: parse, make an array, fill a response, serialise."""
    for request, row in zip(requests, scores, strict=True):
        message = PredictRequest.FromString(request)
        tensor = message.inputs["x"]
        np.frombuffer(tensor.tensor_content, np.float32).reshape(
            [dim.size for dim in tensor.tensor_shape.dim]
        )
        response = PredictResponse()
        response.model_spec.name = message.model_spec.name
        response.model_spec.version.value = 1
        answer = response.outputs["y"]
        answer.dtype = 1
        for size in (1, 10):
            answer.tensor_shape.dim.add(size=size)
        answer.float_val.extend(row.tolist())
        response.SerializeToString()


def main() -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), 1, 1.0)
        repository = Repository(load, RepositoryOptions(poll_wait=0.0))
        repository.start(model_config.single("m", Path(folder)))
        repository.wait_until_ready(10)
        predictions = Predictions(repository)
        requests = [
            predict_request({"x": rng.random((ROWS, 784), np.float32)}, model="m").SerializeToString()
            for _ in range(REQUESTS)
        ]
        scores = rng.random((REQUESTS, 10), np.float32)

        def together(size: int) -> Callable[[], None]:
            def run() -> None:
                for at in range(0, REQUESTS, size):
                    batch = [predictions.prepare(request) for request in requests[at : at + size]]
                    stack(batch)
                    predictions.answer_all(batch, {"y": scores[at : at + size]})

            return run

        def anew() -> None:
            for request, row in zip(requests, scores, strict=True):
                repository.serving.layouts.clear()
                predictions.answer(predictions.prepare(request), {"y": row[None]})

        ways = {
            "protobuf, one by one": lambda: by_protobuf(requests, scores),
            "not seen before, and learnt": anew,
            "alone": together(1),
            "16 together": together(16),
            "64 together": together(64),
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(ROUNDS):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                best[name] = min(best[name], time.perf_counter() - start)
        repository.stop()
    usual = best["protobuf, one by one"]
    for name, seconds in best.items():
        print(f"{name:30} {seconds / REQUESTS * 1e6:7.2f} us   {usual / seconds:6.1f} x")


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
