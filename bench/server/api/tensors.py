"""TensorProto to array and back.

The rules are those of TensorFlow's `Tensor::FromProto` and `Tensor::AsProtoField` (core/framework/tensor.cc).
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from bench.server.refusal import Code, Refusal
from bench.wire.dtypes import BITS, STORAGE_OF, STORAGES, Storage, field_values, strings_of
from bench.wire.field_limits import MOST_FIELDS
from bench.wire.messages import TensorProto
from bench.wire.tensors import varint

Array = np.ndarray[Any, Any]

MAX_FILLED: Final = 1 << 22
"""Elements that a request may claim beyond those it sends: `[1000000, 1000]` and one value are 20 bytes."""

MAX_RANK: Final = 32
"""Dimensions of an input. TensorFlow has 254 and numpy 64, but TensorFlow's Python binding is built for numpy's
former limit: a string array of 33 dimensions makes it overwrite memory and kills the process (TensorFlow 2.21)."""

_MOST: Final = 1 << 59
"""Elements of a shape, those of no size left out: numpy's limit for the widest dtype, 2^63 bytes."""


class Unreadable(ValueError):  # noqa: N818 - an adjective says what the tensor is
    """The TensorProto describes no tensor."""


def decode(tensor: Any, max_filled: int = MAX_FILLED) -> Array:
    """The array that TensorFlow makes of a TensorProto; strings become an object array of bytes.

    `tensor_content` wins over typed fields; missing values repeat the last one, none at all are zeros, surplus
    ones are dropped. The array may be read-only and a view of the message's bytes.
    Raises `Unreadable` where TensorFlow gives a parsing error, and `Refusal` (RESOURCE_EXHAUSTED) when more than
    `max_filled` elements are claimed that were not sent.
    """
    shape = _shape(tensor.tensor_shape)
    storage = STORAGES.get(tensor.dtype)
    if storage is None:
        raise Unreadable(f"dtype {tensor.dtype}")
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, storage.dtype)
    if content := tensor.tensor_content:
        return _from_content(content, storage, count).reshape(shape)
    values = field_values(tensor, storage)
    if len(values) < count:
        if count - len(values) > max_filled:
            raise Refusal(
                Code.RESOURCE_EXHAUSTED,
                f"tensor claims {count} elements and sends {len(values)}; at most {max_filled} are filled in",
            )
        values = _filled(values, storage, count)
    return values[:count].reshape(shape)


def _shape(shape: Any) -> tuple[int, ...]:
    if len(shape.dim) > MAX_RANK:
        raise Unreadable(f"{len(shape.dim)} dimensions")
    sizes = tuple(dim.size for dim in shape.dim)
    if min(sizes, default=0) < 0 or math.prod(filter(None, sizes)) >= _MOST:
        raise Unreadable(f"shape {list(sizes)}")
    return sizes


def _from_content(content: bytes, storage: Storage, count: int) -> Array:
    if storage.dtype == object:
        if count > MOST_FIELDS:
            raise Refusal(Code.RESOURCE_EXHAUSTED, f"a tensor of more than {MOST_FIELDS} texts")
        try:
            return strings_of(content, count)
        except ValueError as error:
            raise Unreadable(str(error)) from None
    if len(content) != count * storage.dtype.itemsize:
        raise Unreadable(f"{len(content)} bytes of content for {count} elements")
    return np.frombuffer(content, storage.dtype)


def _filled(values: Array, storage: Storage, count: int) -> Array:
    whole = np.empty(count, storage.dtype)
    whole[: len(values)] = values
    if len(values):
        whole[len(values) :] = values[-1]
    elif storage.dtype == object:
        whole[:] = b""
    else:
        whole.view(np.uint8)[:] = 0
    return whole


_CONTENT: Final = TensorProto.DESCRIPTOR.fields_by_name["tensor_content"].number


def head(dtype: np.dtype[Any], shape: Sequence[int], as_content: bool = False) -> bytes | None:
    """What stands before the values' memory in a serialised TensorProto of this dtype and shape.

    Appending `array.tobytes()` gives the whole message. None where the field's payload is not the memory
    (integers are varints, strings are separate fields). Raises `Refusal` for a dtype that no TensorProto holds.
    """
    storage = storage_of(dtype)
    if storage.dtype == object or not (storage.raw or as_content):
        return None
    start: bytes = _described(storage, shape).SerializeToString()
    size = math.prod(shape) * dtype.itemsize
    # an empty packed field is not written
    return (
        start + varint((_CONTENT if as_content else storage.number) << 3 | 2) + varint(size)
        if size
        else start
    )


def encode(array: Array, as_content: bool = False) -> bytes:
    """A serialised TensorProto with every value written out, in the typed field or as `tensor_content`."""
    start = head(array.dtype, array.shape, as_content)
    if start is not None:
        return start + array.tobytes()
    storage = storage_of(array.dtype)
    tensor = _described(storage, array.shape)
    flat = array.ravel()
    if storage.dtype == object:
        strings = [value if isinstance(value, bytes) else str(value).encode() for value in flat]
        if as_content and strings:
            tensor.tensor_content = b"".join([*(varint(len(text)) for text in strings), *strings])
        else:
            tensor.string_val.extend(strings)
    else:
        getattr(tensor, storage.field).extend(_integers(flat, storage).tolist())
    message: bytes = tensor.SerializeToString()
    return message


def storage_of(dtype: np.dtype[Any]) -> Storage:
    """The storage of a numpy dtype; fixed-width byte strings count as strings."""
    storage = STORAGE_OF.get(np.dtype(object) if dtype.kind in "SU" else dtype)
    if storage is None:
        raise Refusal(
            Code.UNIMPLEMENTED, f"a model output has numpy dtype {dtype}, which no TensorProto holds"
        )
    return storage


def _described(storage: Storage, shape: Sequence[int]) -> Any:
    tensor = TensorProto(dtype=storage.enum)
    tensor.tensor_shape.SetInParent()  # a scalar has a shape without dimensions, not no shape
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def _integers(flat: Array, storage: Storage) -> Array:
    if storage.dtype in BITS:
        return np.ascontiguousarray(flat).view(np.uint16)
    if storage.dtype.names:
        return np.ascontiguousarray(flat).view(storage.dtype[0])
    return flat.astype(np.int32) if storage.field == "int_val" else flat
