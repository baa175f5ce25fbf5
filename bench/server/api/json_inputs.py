"""Tensors in the JSON of REST predict requests.

`{"instances": [...]}` is the row format, `{"inputs": ...}` the column format (util/json_tensor.cc). Values take the
dtype of the signature, the shape is that of the nesting.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from bench.server.api.json_outputs import COLUMN, ROW
from bench.server.api.json_text import fits, is_bytes, malformed, shown, to_bytes, type_of
from bench.server.api.tensors import MAX_RANK, Array
from bench.server.refusal import Code, Refusal, invalid
from bench.wire.dtypes import STORAGES, type_name
from bench.wire.messages import types_pb2

_INT32: Final = (-(1 << 31), (1 << 31) - 1)
_RANGES: Final = {
    types_pb2.DT_INT32: _INT32,
    types_pb2.DT_INT16: _INT32,  # narrower ones take the low bits
    types_pb2.DT_INT8: _INT32,
    types_pb2.DT_UINT8: _INT32,
    types_pb2.DT_INT64: (-(1 << 63), (1 << 63) - 1),
    types_pb2.DT_UINT32: (0, (1 << 32) - 1),
    types_pb2.DT_UINT64: (0, (1 << 64) - 1),
}
_WHOLE: Final = {types_pb2.DT_FLOAT: (1 << 24) - 1, types_pb2.DT_DOUBLE: (1 << 53) - 1}
"""Largest whole number that a floating-point input may be given as."""


class Request(NamedTuple):
    """The contents of a predict request."""

    inputs: dict[str, Array]
    format: str
    """ROW or COLUMN: how the answer is to be written."""


def read(document: Mapping[str, Any], wanted: Mapping[str, Any]) -> Request:
    """The arrays in a request object, for a signature's inputs (TensorInfo by alias). Raises `Refusal`."""
    if "instances" in document:
        if "inputs" in document:
            raise malformed(
                document,
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise malformed(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise malformed(document, "No values in 'instances' array")
        return Request(_rows(instances, wanted), ROW)
    if "inputs" in document:
        return Request(_columns(document["inputs"], wanted), COLUMN)
    raise invalid("Missing 'inputs' or 'instances' key")


def _columns(value: Any, wanted: Mapping[str, Any]) -> dict[str, Array]:
    if not isinstance(value, dict) or is_bytes(value):
        if len(wanted) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        return {alias: _tensor(value, info.dtype) for alias, info in wanted.items()}
    arrays = {}
    for alias, info in wanted.items():
        if alias not in value:
            raise invalid(f"Missing named input: {alias} in 'inputs' object.")
        arrays[alias] = _tensor(value[alias], info.dtype)
    return arrays


def _rows(instances: list[Any], wanted: Mapping[str, Any]) -> dict[str, Array]:
    named = _is_object(instances[0])
    if not named and len(wanted) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    columns: dict[str, list[Array]] = {alias: [] for alias in wanted}
    if not named:
        alias = next(iter(wanted))
        whole = _quickly(instances, wanted[alias].dtype)
        if whole is not None:
            return {alias: whole}
    for index, item in enumerate(instances):
        if named != _is_object(item):
            expected, actual = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {expected} but got {actual} at item {index} of input list")
        for alias, value in item.items() if named else [(next(iter(wanted)), item)]:
            try:
                _append(columns, alias, value, wanted)
            except Refusal as refusal:
                key = f" key: {alias}" if named else ""
                raise invalid(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: {refusal}"
                ) from None
        if named and set(item) != set(wanted):
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(item)} "
                f"keys must be equal to: {','.join(sorted(wanted))}"
            )
    return {alias: np.stack(items) for alias, items in columns.items()}


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_bytes(value)


def _append(columns: dict[str, list[Array]], alias: str, value: Any, wanted: Mapping[str, Any]) -> None:
    if alias not in wanted:
        raise invalid(f"JSON object: does not have named input: {alias}")
    array = _tensor(value, wanted[alias].dtype)
    column = columns[alias]
    if column and column[0].size != array.size:
        raise invalid(f"Expecting tensor size: {column[0].size} but got: {array.size}")
    if column and column[0].shape != array.shape:
        raise invalid(f"Expecting shape {_shape(column[0])} but got: {_shape(array)}")
    column.append(array)


def _tensor(value: Any, dtype: int) -> Array:
    """A (nested list of) JSON value(s) as an array."""
    quick = _quickly(value, dtype) if isinstance(value, list) else None
    if quick is not None:
        return quick
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    if len(shape) >= MAX_RANK:  # rows get one more
        raise invalid(f"lists are nested {len(shape)} deep; a tensor has at most {MAX_RANK} dimensions")
    flat = list(_values(value, 0, shape, dtype))
    storage = STORAGES.get(dtype)
    if storage is None:
        raise Refusal(
            Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(value)} to type: {type_name(dtype)}"
        )
    if dtype == types_pb2.DT_STRING:
        strings = np.empty(len(flat), object)
        strings[:] = flat
        return strings.reshape(shape)
    wide = np.array(flat, np.int64) if _RANGES.get(dtype) == _INT32 else np.array(flat, storage.dtype)
    return wide.astype(storage.dtype).reshape(shape)


def _quickly(value: list[Any], dtype: int) -> Array | None:
    """The array of plainly acceptable numbers; None where each value has to be looked at."""
    if dtype not in _WHOLE and dtype not in _RANGES:
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    if array.ndim >= MAX_RANK or not array.size or array.dtype.kind not in "if" or _holds_bool(value):
        return None
    if dtype in _RANGES:
        low, high = _RANGES[dtype]
        if array.dtype.kind != "i" or int(array.min()) < low or int(array.max()) > high:
            return None
    # whole numbers beyond the limit, and numbers that float32 cannot hold, need a closer look
    elif np.any(np.abs(array[np.isfinite(array)]) > _WHOLE[dtype]):
        return None
    return array.astype(STORAGES[dtype].dtype)


def _holds_bool(value: Any) -> bool:
    """Whether true or false stands among the numbers: numpy would take them for 1 and 0."""
    if not isinstance(value, list):
        return isinstance(value, bool)
    if isinstance(value[0], list):
        return any(map(_holds_bool, value))
    return bool in set(map(type, value))


def _values(value: Any, level: int, shape: list[int], dtype: int) -> Iterator[Any]:
    """The leaves of nested lists of a shape, checked and converted one by one."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        yield _value(value, dtype)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        yield from _values(item, level + 1, shape, dtype)


def _value(value: Any, dtype: int) -> Any:
    if dtype == types_pb2.DT_STRING and isinstance(value, str | dict):
        return to_bytes(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype in _WHOLE and number:
        if not _lossless(value, dtype):
            raise invalid(
                f"Cannot convert JSON value: {shown(value)} to {type_name(dtype)} without loss of precision."
            )
        return value
    if (
        dtype in _RANGES
        and number
        and isinstance(value, int)
        and _RANGES[dtype][0] <= value <= _RANGES[dtype][1]
    ):
        return value
    if dtype == types_pb2.DT_BOOL and isinstance(value, bool):
        return value
    if isinstance(value, dict) or dtype in {types_pb2.DT_STRING, types_pb2.DT_BOOL, *_WHOLE, *_RANGES}:
        raise malformed(value, f"Type: {type_of(value)} is not of expected type: {type_name(dtype)}")
    raise Refusal(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(value)} to type: {type_name(dtype)}")


def _lossless(value: float, dtype: int) -> bool:
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return abs(value) <= _WHOLE[dtype]
    return fits(value, STORAGES[dtype].dtype)


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"
