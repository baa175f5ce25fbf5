"""Requests whose integers take their parser long: the same requests in a form that is read at once.

Integers of typed fields are varints, which the parser takes one by one with the interpreter's lock held: 10 to 35 ms for
each MB. `lightened` and `split_examples` are meant for another process (`json_process`); what they give takes 0.1 ms for
each MB.
"""

from typing import Any, Final

from google.protobuf.message import DecodeError

from bench.protocol import oip_tensors
from bench.protocol.oip_messages import ModelInferRequest
from bench.server.api.tensors import Unreadable, decode
from bench.server.refusal import Code, Refusal
from bench.wire import field_limits
from bench.wire.dtypes import STORAGES

MOST_INLINE: Final = 131_072
"""Bytes of such integers that are read in the server's own process: 5 ms at most."""
_INTEGERS: Final = ("half_val", "int_val", "int64_val", "bool_val", "uint32_val", "uint64_val")
_TYPED_INTEGERS: Final = (
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
)
_OTHERS: Final = ("variant_val", "resource_handle_val")
"""Fields that no dtype which is served has its values in."""


class Heavy(Exception):  # noqa: N818 - an adjective says what the request is
    """The request has more such integers, or fields, than may be read here."""


def check_fields(kind: Any, request: bytes) -> None:
    """Raise `Heavy` for a serialised request of this class that takes its parser too long."""
    weight = field_limits.weight(kind, request, field_limits.AT_ONCE)
    if weight.too_many or weight.packed > MOST_INLINE:
        raise Heavy


def checked(kind: Any, request: bytes, most_fields: int = field_limits.AT_ONCE) -> Any:
    """A message of a kind that needs neither many fields nor many integers. Raises `Refusal`."""
    _refuse_heavy(kind, request, most_fields)
    return parsed(kind, request)


def _refuse_heavy(kind: Any, request: bytes, most_fields: int, most_integers: int = MOST_INLINE) -> None:
    weight = field_limits.weight(kind, request, most_fields)
    if weight.too_many:
        text = f"a request of more than {most_fields} protobuf fields (each text is one)"
        raise Refusal(Code.RESOURCE_EXHAUSTED, text)
    if weight.packed > most_integers:
        text = f"a request with more than {most_integers} bytes of integers"
        raise Refusal(Code.RESOURCE_EXHAUSTED, text)


def lightened(kind: Any, request: bytes) -> bytes:
    """A serialised PredictRequest or ModelInferRequest that means the same, with integers as their memory.

    In `tensor_content`, or as the only one of `bytes_contents`. Raises `Refusal`, also for one with too many fields, or
    with integers where they are of no use.
    """
    message = _of_few_fields(kind, request)
    if kind is ModelInferRequest:
        for tensor in message.inputs:
            _lighten_typed(tensor, bool(message.raw_input_contents))
    else:
        for tensor in message.inputs.values():
            _lighten(tensor)
    light: bytes = message.SerializeToString()
    _refuse_heavy(kind, light, field_limits.MOST_FIELDS)
    return light


def _of_few_fields(kind: Any, request: bytes) -> Any:
    _refuse_heavy(kind, request, field_limits.MOST_FIELDS, len(request))
    return parsed(kind, request)


def memory_of(tensor: Any) -> bytes | None:
    """The memory that `lightened` has put into an input of a ModelInferRequest; None: its contents are as they were sent."""
    contents = tensor.contents.bytes_contents
    return contents[0] if len(contents) == 1 and tensor.datatype != "BYTES" else None


def _lighten_typed(tensor: Any, raw: bool) -> None:
    """raw: its values are elsewhere."""
    contents = tensor.contents
    wanted = oip_tensors.FIELDS.get(tensor.datatype) in _TYPED_INTEGERS
    if wanted and not raw and memory_of(tensor) is None:
        try:
            memory = oip_tensors.array_of(tensor, None).tobytes()
        except (ValueError, OverflowError) as error:
            raise Refusal(Code.INVALID_ARGUMENT, unreadable(tensor.name, error)) from None
        contents.Clear()
        contents.bytes_contents.append(memory)
    for field in _TYPED_INTEGERS:
        contents.ClearField(field)


def unreadable(name: str, error: Exception) -> str:
    """What is said of an input of a ModelInferRequest that describes no tensor."""
    return f"inference input '{name}' cannot be read: {error}"


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
    message = _of_few_fields(kind, request)
    parts = serialised(message.input)
    message.ClearField("input")
    return message.SerializeToString(), parts


def serialised(message: Any) -> list[bytes]:
    """The serialised Examples of an `Input`; the context is put before each."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return []
    listed = getattr(message, kind)
    # a protobuf message followed by another is their merge
    context = listed.context.SerializeToString() if kind == "example_list_with_context" else b""
    return [context + example.SerializeToString() for example in listed.examples]


def parsed(kind: Any, request: bytes) -> Any:
    """A message of this kind. Raises `Refusal` as the original does."""
    try:
        return kind.FromString(request)
    except DecodeError:
        raise Refusal(Code.INTERNAL, "") from None
