"""A protocol of this test's own, over gRPC: JSON both ways, and a server of it. Nothing outside bench/protocol knows it."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any, Final

import grpc
import numpy as np

from bench import BenchError
from bench.protocol import names
from bench.protocol.api import (
    Api,
    Array,
    Ask,
    Call,
    Description,
    Expected,
    Model,
    Parameters,
    Response,
    Unreadable,
    VersionState,
)
from bench.protocol.signatures import Signature, Tensor
from bench.wire.messages import PredictRequest
from bench.wire.tensors import array_of

SAY: Final = "/echo.Echo/Say"
LOOK: Final = "/echo.Echo/Look"


class Echo:
    name: Final = "echo"
    title: Final = "an echo"
    over_http: Final = False
    port: Final = 7777
    signature: Final = None
    typed: Final = True
    metadata_call: Final = "Look"
    counters_remedy: Final = "an echo counts nothing"

    def with_parameters(self, parameters: Parameters) -> Api:
        raise BenchError("an echo has no parameters")

    def encode(self, message: bytes, *, by_row: bool = True) -> Call:
        request = PredictRequest.FromString(message)
        spec = request.model_spec
        if spec.version_label:
            raise BenchError(f"--version-label {spec.version_label}: an echo has no labels")
        inputs = {name: array_of(tensor).tolist() for name, tensor in request.inputs.items()}
        version = spec.version.value if spec.HasField("version") else None
        said = {"model": spec.name, "version": version, "inputs": inputs}
        return Call(SAY, json.dumps(said).encode())

    def read(self, content: bytes, expected: Expected) -> bytes:
        return content

    def decode(self, answer: bytes) -> Response:
        try:
            said = json.loads(answer)
            outputs = {name: np.array(values, np.float32) for name, values in said["outputs"].items()}
            return Response(said["model"], said["version"], tuple(sorted(outputs)), outputs.__getitem__)
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable("the answer is no echo") from error

    def status(self, ask: Ask, model: Model) -> list[VersionState]:
        versions = json.loads(ask(LOOK, model.name.encode()))["versions"]
        return [VersionState(version, "AVAILABLE", "OK", "") for version in versions]

    def describe(self, ask: Ask, model: Model) -> Description:
        said = json.loads(ask(LOOK, model.name.encode()))
        inputs, outputs = (
            {name: Tensor("float", tuple(shape)) for name, shape in each.items()} for each in said["shapes"]
        )
        return Description(said["versions"][0], {"": Signature("", inputs, outputs)})

    def reload(self, ask: Ask, config: Any) -> None:
        raise BenchError("an echo has no configuration")

    def counters(self, page: str, model: str) -> Mapping[str, float]:
        return {}

    def statistics(self, ask: Ask, model: Model) -> Mapping[str, float]:
        raise BenchError("an echo counts nothing")


API: Final[Api] = Echo()


def register() -> None:
    """Let this process know the protocol."""
    names.MODULES[API.name] = __name__


def scores_of(images: Array) -> Array:
    """[examples, 10]: the greatest at the number of light pixels, modulo 10."""
    scores = np.zeros((len(images), 10), np.float32)
    scores[np.arange(len(images)), labels_of(images)] = 0.75
    return scores


def labels_of(images: Array) -> Array:
    """[examples]: what `scores_of` sees."""
    found: Array = (images.reshape(len(images), -1) > 0.5).sum(axis=1) % 10
    return found


def _answer(method: str, message: bytes, context: Any) -> bytes:
    if method == LOOK:
        if message != b"digits":
            context.abort(grpc.StatusCode.NOT_FOUND, f"no echo of {message.decode()}")
        shapes = [{"images": [-1, 28, 28, 1]}, {"scores": [-1, 10]}]
        return json.dumps({"versions": [7], "shapes": shapes}).encode()
    said = json.loads(message)
    scores = scores_of(np.array(said["inputs"]["images"], np.float32))
    answer = {"model": said["model"], "version": said["version"] or 7, "outputs": {"scores": scores.tolist()}}
    return json.dumps(answer).encode()


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address of a server, while it serves."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(
                lambda message, context: _answer(details.method, message, context)
            )

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
