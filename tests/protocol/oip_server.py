"""A server of the Open Inference Protocol on grpcio, with an echo of every datatype and scores of pictures."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc

from bench.protocol import oip_messages as messages
from bench.protocol import oip_tensors
from tests.protocol.echo import scores_of


@dataclass
class OipServer:
    """Models `echo` (versions 1 and 3, of which 3 answers), whose outputs are its inputs, and `digits`, without versions."""

    raw: bool = True
    """Outputs are raw contents, as Triton's; False: typed where they can be, as MLServer's."""
    reads_raw: bool = True
    asked: list[Any] = field(default_factory=list)
    """Requests of ModelInfer."""

    def handlers(self) -> dict[str, Callable[[bytes, Any], Any]]:
        """By method: message and context -> response."""
        return {
            messages.MODEL_INFER: self._infer,
            messages.MODEL_METADATA: self._metadata,
            messages.MODEL_READY: self._ready,
        }

    def answer(self, method: str, message: bytes, context: Any) -> bytes:
        handler = self.handlers().get(method)
        if handler is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        assert handler is not None
        answer: bytes = handler(message, context).SerializeToString()
        return answer

    def _ready(self, message: bytes, context: Any) -> Any:
        request = messages.ModelReadyRequest.FromString(message)
        self._known(request.name, context)
        return messages.ModelReadyResponse(ready=request.version != "1")

    def _metadata(self, message: bytes, context: Any) -> Any:
        request = messages.ModelMetadataRequest.FromString(message)
        self._known(request.name, context)
        response = messages.ModelMetadataResponse(name=request.name)
        if request.name == "echo":
            response.versions.extend(["1", "3"])
        else:
            response.inputs.add(name="images", datatype="FP32", shape=[-1, 28, 28, 1])
            response.outputs.add(name="scores", datatype="FP32", shape=[-1, 10])
        return response

    def _known(self, name: str, context: Any) -> None:
        if name not in ("echo", "digits"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Model {name} not found")

    def _infer(self, message: bytes, context: Any) -> Any:
        request = messages.ModelInferRequest.FromString(message)
        self.asked.append(request)
        self._known(request.model_name, context)
        raw = list(request.raw_input_contents)
        if raw and not self.reads_raw:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "raw_input_contents is not supported")
        arrays = {
            tensor.name: oip_tensors.array_of(tensor, raw[number] if raw else None)
            for number, tensor in enumerate(request.inputs)
        }
        response = messages.ModelInferResponse(model_name=request.model_name)
        if request.model_name == "digits":
            arrays = {"scores": scores_of(arrays["images"])}
        else:
            response.model_version = request.model_version or "3"
        for name, array in arrays.items():
            datatype = oip_tensors.datatype_of(array)
            tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if self.raw or datatype in ("FP16", "BF16"):
                response.raw_output_contents.append(oip_tensors.raw_of(array))
            else:
                oip_tensors.fill(tensor.contents, array)
        return response


@contextlib.contextmanager
def serving(server: OipServer, port: int = 0) -> Iterator[str]:
    """Its address, while it serves; port: 0 for a free one."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(
                lambda message, context: server.answer(details.method, message, context)
            )

    running = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Handler()])
    port = running.add_insecure_port(f"127.0.0.1:{port}")
    running.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        running.stop(0).wait()
