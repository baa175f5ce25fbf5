"""Requests whose integers take their parser long: the same requests in a form that is read at once.

Integers of typed fields are varints, which the parser takes one by one with the interpreter's lock held: 10 to 35 ms for
each MB. What is here is meant for another process (`json_process`); what it gives takes 0.1 ms for each MB.
"""

from typing import Any, Final

from google.protobuf.message import DecodeError

from bench.server.api.tensors import Unreadable, decode
from bench.server.refusal import Code, Refusal
from bench.wire.dtypes import STORAGES
from bench.wire.messages import PredictRequest

MOST_INLINE: Final = 131_072
"""Bytes of such integers that are read in the server's own process: 5 ms at most."""
_INTEGERS: Final = ("half_val", "int_val", "int64_val", "bool_val", "uint32_val", "uint64_val")
_OTHERS: Final = ("variant_val", "resource_handle_val")
"""Fields that no dtype which is served has its values in."""


class Heavy(Exception):  # noqa: N818 - an adjective says what the request is
    """The request has more such integers than may be read here."""


def lightened(request: bytes) -> bytes:
    """A serialised PredictRequest that means the same, with integers as `tensor_content`. Raises `Refusal`."""
    message = parsed(PredictRequest, request)
    for tensor in message.inputs.values():
        _lighten(tensor)
    light: bytes = message.SerializeToString()
    return light


def _lighten(tensor: Any) -> None:
    storage = STORAGES.get(tensor.dtype)
    if storage is not None and storage.field in _INTEGERS and not tensor.tensor_content:
        try:
            content = decode(tensor).tobytes()
        except Unreadable:  # for its shape: it stays so without its values
            content = b""
        if content:
            tensor.tensor_content = content
    for name in (*_INTEGERS, *_OTHERS):
        tensor.ClearField(name)


def split_examples(kind: Any, request: bytes) -> tuple[bytes, list[bytes]]:
    """A serialised request of `kind`, which has an `Input`, without that, and the Examples. Raises `Refusal`."""
    message = parsed(kind, request)
    parts = serialised(message.input)
    message.ClearField("input")
    return message.SerializeToString(), parts


def serialised(given: Any) -> list[bytes]:
    """The serialised Examples of an `Input`; the context is put before each."""
    kind = given.WhichOneof("kind")
    if kind is None:
        return []
    listed = getattr(given, kind)
    # a protobuf message followed by another is their merge
    context = listed.context.SerializeToString() if kind == "example_list_with_context" else b""
    return [context + example.SerializeToString() for example in listed.examples]


def parsed(kind: Any, request: bytes) -> Any:
    """A message of this kind. Raises `Refusal` as the original does."""
    try:
        return kind.FromString(request)
    except DecodeError:
        raise Refusal(Code.INTERNAL, "") from None
