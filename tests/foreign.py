"""A server of somebody else: PredictionService on grpcio, with any signature and any answers."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from bench.payload import array_of, tensor_of
from bench.wire import messages
from bench.wire.dtypes import dtype_number

Arrays = dict[str, np.ndarray[Any, Any]]
Tensors = Mapping[str, tuple[str, tuple[int, ...] | None]]
"""Name -> dtype and shape."""


@dataclass
class Foreign:
    """One model with one signature."""

    inputs: Tensors
    outputs: Tensors
    answer: Callable[[Arrays], Arrays]
    model: str = "own"
    version: int = 7
    optional: tuple[str, ...] = ()
    tells: bool = True
    """Whether it implements GetModelMetadata."""
    names_itself: bool = True
    answers_as: int | None = None
    """The version that predictions name; None: its own."""
    refusal: tuple[grpc.StatusCode, str] | None = None
    """What every prediction ends with."""
    calls: list[Arrays] = field(default_factory=list)

    def _method(self, context: grpc.ServicerContext, path: str, raw: bytes) -> bytes:
        if path == messages.PREDICT:
            return self._predict(context, raw)
        if path == messages.GET_MODEL_METADATA and self.tells:
            return self._metadata(context, raw)
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        raise AssertionError

    def _metadata(self, context: grpc.ServicerContext, raw: bytes) -> bytes:
        spec = messages.GetModelMetadataRequest.FromString(raw).model_spec
        if spec.name != self.model:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        signatures = messages.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        for infos, tensors in ((signature.inputs, self.inputs), (signature.outputs, self.outputs)):
            for name, (dtype, shape) in tensors.items():
                infos[name].dtype = dtype_number(dtype)
                infos[name].tensor_shape.unknown_rank = shape is None
                for size in shape or ():
                    infos[name].tensor_shape.dim.add(size=size)
        for name in self.optional:
            signature.defaults[name].CopyFrom(tensor_of(np.float32(1)[np.newaxis]))
        response = messages.GetModelMetadataResponse()
        response.model_spec.name = self.model
        response.model_spec.version.value = self.version
        response.metadata["signature_def"].Pack(signatures)
        packed: bytes = response.SerializeToString()
        return packed

    def _predict(self, context: grpc.ServicerContext, raw: bytes) -> bytes:
        if self.refusal is not None:
            context.abort(*self.refusal)
        request = messages.PredictRequest.FromString(raw)
        inputs = {name: array_of(tensor) for name, tensor in request.inputs.items()}
        self.calls.append(inputs)
        unknown, missing = set(inputs) - set(self.inputs), set(self.inputs) - set(inputs) - set(self.optional)
        if unknown or missing:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "input size does not match signature")
        for name, array in inputs.items():
            if dtype_number(self.inputs[name][0]) != request.inputs[name].dtype:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Expects arg[0] to be {array.dtype}")
        if not set(request.output_filter) <= set(self.outputs):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "output tensor alias not found in signature")
        response = messages.PredictResponse()
        if self.names_itself:
            response.model_spec.name = self.model
            response.model_spec.version.value = self.answers_as or self.version
        for name, array in self.answer(inputs).items():
            if not request.output_filter or name in request.output_filter:
                response.outputs[name].CopyFrom(tensor_of(array))
        packed: bytes = response.SerializeToString()
        return packed


@contextlib.contextmanager
def serving(foreign: Foreign, *interceptors: grpc.ServerInterceptor) -> Iterator[str]:
    """Its address, while it serves."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(
                lambda raw, context: foreign._method(context, details.method, raw)
            )

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Handler()], interceptors=interceptors)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
