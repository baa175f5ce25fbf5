"""The fastest possible server: it responds without reading the request."""

from collections.abc import Sequence
from typing import Final

from bench.server.caller import Caller
from bench.server.refusal import Code, Refusal
from bench.wire.messages import PredictResponse, types_pb2
from bench.wire.request_rows import Alike, Burst
from bench.wire.unary import MessageError, Packed, Request

_CLASSES: Final = 10


class NullCalls:
    """Answers every call at once: with canned bytes, or with its own. For measuring what is around it."""

    def __init__(self, *, echo: bool, examples: int = 1) -> None:
        """examples: in each canned reply."""
        self.in_flight = 0
        self._reply = None if echo else canned_reply(examples)

    def take(self, caller: Caller, requests: Sequence[Request]) -> None:
        """See `front.Calls`."""
        reply = self._reply
        respond = caller.respond
        if reply is None:
            for request in requests:
                respond(request.stream, request.message)
        else:
            for request in requests:
                respond(request.stream, reply)

    def take_burst(self, caller: Caller, burst: Burst) -> None:
        """See `front.Calls`."""
        messages = burst.messages
        if self._reply is None:
            caller.respond_all(burst.streams, Alike(b"", messages, b""))
        else:
            caller.respond_all(burst.streams, Alike(self._reply, messages[:, :0], b""))

    def take_packed(self, caller: Caller, packed: Sequence[Packed]) -> None:
        """See `front.Calls`."""
        for each in packed:
            try:
                self.take(caller, [each.unpacked() if self._reply is None else each.request])
            except MessageError as error:
                caller.refuse(each.request.stream, Refusal(Code(error.code), str(error)))

    def answered(self, count: int = 1) -> None:
        """See `front.Calls`."""

    def close(self) -> None:
        """There is nothing to end."""


def canned_reply(examples: int = 1) -> bytes:
    """A PredictResponse of MNIST's shape: scores that name the digit 7 for each example, version 1."""
    response = PredictResponse()
    response.model_spec.name, response.model_spec.signature_name = "mnist", "predict_images"
    response.model_spec.version.value = 1
    tensor = response.outputs["scores"]
    tensor.dtype = types_pb2.DT_FLOAT
    for size in (examples, _CLASSES):
        tensor.tensor_shape.dim.add().size = size
    tensor.float_val.extend([float(digit == 7) for digit in range(_CLASSES)] * examples)
    message: bytes = response.SerializeToString()
    return message
