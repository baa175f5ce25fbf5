"""Measure the cost of a request without a network. Run: python -m tests.benchmarks.in_process

Exports the models `null` and `mnist` as the scenarios do, where they are missing. Prints microseconds for each request of one
image, taken in turn: understanding and answering it without any model, with the model that computes nothing, and
with softmax, by Predict and by the Open Inference Protocol; all in one thread of this process, through the server's own
code. The last lines are ratios of the protocols in each turn.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import mnist
from bench.load.site import exported
from bench.payload import Pool
from bench.protocol.registry import api_named
from bench.server import starting_models
from bench.server.api.prediction import Predictions
from bench.server.api.services import Services
from bench.server.metrics import Metrics
from bench.server.options import ServerFlags
from tests.benchmarks.arguments import parser

ROUNDS, REQUESTS = 15, 500
PROTOCOLS = ("tfs", "oip", "oip-typed")


def main() -> None:
    folders = {
        "null": exported("null", ["--arch", "null"], versions=(1,), say=print),
        "mnist": exported("mnist", ["--pair"], versions=(1, 2), say=print),
    }
    config = "".join(
        f'config {{ name: "{name}" base_path: "{folder}" model_platform: "tensorflow" }}'
        for name, folder in folders.items()
    )
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"in-process-{os.getpid()}.config"  # noqa: S108 - a path of this process's own
    path.write_text(f"model_config_list {{ {config} }}")
    metrics = Metrics()
    digits = mnist.load("test")
    try:
        with starting_models.serving(ServerFlags(model_config_file=str(path)), metrics) as repository:
            predictions = Predictions(repository)
            services = Services(repository, predictions, metrics)
            pools = {
                name: Pool.mnist(digits.images, digits.labels, model=name).messages[:REQUESTS]
                for name in ("null", "mnist")
            }
            scores = np.zeros((1, 10), np.float32)

            def bare() -> None:
                for message in pools["null"]:
                    predictions.answer(predictions.prepare(message), {"scores": scores})

            def asked(name: str, protocol: str) -> Callable[[], None]:
                api = api_named(protocol)
                calls = [api.encode(message) for message in pools[name]]

                def run() -> None:
                    for path, message in calls:
                        services.handle_rpc(path, message)

                return run

            models = {"null": "null", "softmax": "mnist"}
            ways: dict[str, Callable[[], None]] = {"no model": bare}
            for title, name in models.items():
                ways |= {f"{title} {protocol}": asked(name, protocol) for protocol in PROTOCOLS}
            taken: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    start = time.perf_counter()
                    way()
                    taken[name].append((time.perf_counter() - start) / REQUESTS)
    finally:
        path.unlink()
    for name, seconds in taken.items():
        best = min(seconds)
        print(
            f"{name:17} {best * 1e6:8.2f} us best, {np.median(seconds) * 1e6:8.2f} us median, {1 / best:10,.0f}/s"
        )
    for title in models:
        for protocol in PROTOCOLS[1:]:
            pairs = np.array(taken[f"{title} {protocol}"]) / np.array(taken[f"{title} tfs"])
            low, middle, high = np.percentile(pairs, [10, 50, 90])
            print(f"{title}: {protocol} / tfs {middle:.3f} (10th to 90th percentile {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
