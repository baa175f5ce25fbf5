"""Requests that differ from an earlier one in nothing but the numbers of their tensor.

A client sends the same request again and again with other pixels. Protobuf is read from front to back, so when
all bytes but the payload of one length-delimited field are equal, the message is equal but for that field: the
model, signature, shape and everything that was validated need not be worked out again. The payload of
`tensor_content`, and of packed floating-point fields, is the tensor's memory. This spares 7 us of 8 for a request
of one image.
"""

import math
from collections.abc import Callable, MutableMapping
from typing import Any, Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from bench.wire.dtypes import STORAGES
from bench.wire.messages import PredictRequest
from bench.wire.request_rows import Bytes

NOWHERE: Final = slice(0, 0)

_SHORTEST: Final = 16
"""Bytes of payload from which a layout is worth looking for."""
_FLOATING: Final[dict[str, tuple[type[Any], int]]] = {
    "float_val": (np.float32, 1),
    "double_val": (np.float64, 1),
    "scomplex_val": (np.float32, 2),
    "dcomplex_val": (np.float64, 2),
}
"""Fields whose packed payload is memory, what they hold, and how many of them make one element."""
_MOST_BESIDE: Final = 4096
"""Bytes beside the payload up to which a layout is remembered."""
_MAX_LENGTHS: Final = 1024
_MAX_ALIKE: Final = 8
"""Bounds of what is remembered: different lengths of requests, and layouts of one length."""


class Reading(NamedTuple):
    """The way in which requests of a class hold the memory of their only input."""

    kind: Any
    memory: Callable[[Any], bytes]
    """The payload of the field whose bytes are it, in a message; empty where there is none."""
    clear: Callable[[Any], None]
    """Takes it out of a message."""


class Layout(NamedTuple):
    """Requests of one length that begin with `prefix` and end with `suffix`."""

    prefix: bytes
    suffix: bytes
    span: slice
    """Where the tensor's memory lies between them."""
    group: Any
    rows: int
    form: Any = None
    """Of the responses, where they are no PredictResponses."""

    def fits(self, requests: Bytes) -> bool:
        """Whether all of them, [requests, bytes] of this layout's length, begin and end so."""
        for part, columns in (
            (self.prefix, requests[:, : self.span.start]),
            (self.suffix, requests[:, self.span.stop :]),
        ):
            if part and not (columns == np.frombuffer(part, np.uint8)).all():
                return False
        return True


Layouts = MutableMapping[int, tuple[Layout, ...]]
"""Known layouts by length of the request."""


def learn(
    layouts: Layouts,
    request: bytes,
    message: Any,
    group: Any,
    rows: int,
    *,
    reading: Reading | None = None,
    form: Any = None,
) -> None:
    """Remember how a valid request with one input is laid out, if others like it can be recognised by it.

    reading: of its class; None: PredictRequest. form: as in `Layout`.
    """
    reading = reading or PREDICT
    alike = layouts.get(len(request), ())
    if len(alike) >= _MAX_ALIKE or (not alike and len(layouts) >= _MAX_LENGTHS):
        return
    _alias, dtype, inner = group.feeds[0]
    size = rows * math.prod(inner) * dtype.itemsize
    if size < _SHORTEST or len(request) - size > _MOST_BESIDE:
        return
    payload = reading.memory(message)
    # a tensor without elements may carry content all the same; it is ignored
    if len(payload) != size:
        return
    start = request.find(payload)
    if start < 0:
        return
    stop = start + size
    prefix, suffix = request[:start], request[stop:]
    if not _is_payload(prefix, payload, suffix, message, reading):
        return
    layouts[len(request)] = (*alike, Layout(prefix, suffix, slice(start, stop), group, rows, form))


def _memory(message: Any) -> bytes:
    """The payload of the field whose bytes are the only input's memory; empty where there is none."""
    if len(message.inputs) != 1:
        return b""
    tensor = next(iter(message.inputs.values()))
    storage = STORAGES.get(tensor.dtype)
    if storage is None:
        return b""
    if tensor.tensor_content:
        return b"" if storage.dtype == object else bytes(tensor.tensor_content)
    # bool_val may hold any varint that is not 0 for true, float8_val comes in one piece or many: left to the parser
    if storage.field not in _FLOATING:
        return b""
    values = getattr(tensor, storage.field)
    part, width = _FLOATING[storage.field]
    if len(values) != width * math.prod(dim.size for dim in tensor.tensor_shape.dim):
        return b""
    return np.array(values, part).tobytes()


def _is_payload(prefix: bytes, payload: bytes, suffix: bytes, message: Any, reading: Reading) -> bool:
    """Whether the bytes between are one field's payload: others put in their place must come out of that field.

    The same bytes may stand elsewhere in the request too, in a field that a later one overrides for example.
    """
    other = (np.frombuffer(payload, np.uint8) ^ np.uint8(1)).tobytes()
    try:
        probe = reading.kind.FromString(prefix + other + suffix)
    except DecodeError:
        return False
    return reading.memory(probe) == other and _without_memory(probe, reading) == _without_memory(
        message, reading
    )


def _without_memory(message: Any, reading: Reading) -> Any:
    rest = reading.kind()
    rest.CopyFrom(message)
    reading.clear(rest)
    return rest


def _clear(message: Any) -> None:
    for tensor in message.inputs.values():
        tensor.ClearField("tensor_content")
        for name in _FLOATING:
            tensor.ClearField(name)


PREDICT: Final = Reading(PredictRequest, _memory, _clear)
