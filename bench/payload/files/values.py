"""Values of a file as arrays of the dtype that a signature declares.

What is converted keeps its meaning: whole numbers that fit, and floating-point numbers to the nearest. Nothing else is.
"""

import base64
import binascii
from typing import Any, Final

import ml_dtypes
import numpy as np

from bench.payload.examples import Array
from bench.wire.dtypes import Storage

_DEEPEST: Final = 64
"""Levels of lists within each other: numpy's limit of dimensions."""


def family(dtype: "np.dtype[Any]") -> str:
    """The kind of number in a dtype: `bool`, `int`, `float`, `complex`, `string` or `other`."""
    known = {"b": "bool", "i": "int", "u": "int", "f": "float", "c": "complex", "S": "string", "U": "string"}
    if dtype.names:  # TensorFlow's quantised ones
        return "int"
    if dtype.kind in known:
        return known[dtype.kind]
    for ask, answer in ((ml_dtypes.iinfo, "int"), (ml_dtypes.finfo, "float")):
        try:
            ask(dtype)
        except (ValueError, TypeError, KeyError):
            continue
        return answer
    return "string" if dtype.kind == "O" else "other"


def integer_limits(dtype: "np.dtype[Any]") -> tuple[int, int]:
    """The least and the greatest value of an integer dtype."""
    limits: Any = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]  # ml_dtypes has no types
    return int(limits.min), int(limits.max)


def typed(array: Array, storage: Storage, declared: str) -> Array:
    """An array as the dtype of a signature. Raises ValueError naming the first value that it cannot hold."""
    wanted = storage.dtype
    if array.dtype == wanted and wanted.kind != "O":
        return array
    if array.dtype.kind == "V" and not array.dtype.names and family(array.dtype) == "other":
        # numpy's files know bfloat16 and float8 as nameless bytes
        if array.dtype.itemsize != wanted.itemsize or wanted.kind == "O":
            raise ValueError(f"{array.dtype.itemsize} nameless bytes a value, {declared} is declared")
        return array.view(wanted)
    sent, needed = family(array.dtype), family(wanted)
    if array.size == 0 and sent != "string":
        return np.empty(array.shape, wanted)
    if sent == needed == "string":
        return _texts(array)
    if sent == "int" and needed == "int":
        return _whole(array, wanted, declared)
    if sent in ("int", "float") and needed == "float":
        return _nearest(array, wanted, declared)
    if sent in ("int", "float", "complex") and needed == "complex":
        return array.astype(wanted)
    raise ValueError(f"{shown(array.flat[0])} is {_NAMES.get(sent, sent)}, {declared} is declared")


_NAMES: Final = {"int": "an integer", "float": "a float", "bool": "a boolean", "string": "a text"}


def _texts(array: Array) -> Array:
    flat = array.ravel().tolist()
    texts = np.empty(len(flat), object)
    texts[:] = [value.encode() if isinstance(value, str) else value for value in flat]
    return texts.reshape(array.shape)


def _whole(array: Array, wanted: "np.dtype[Any]", declared: str) -> Array:
    plain = wanted[0] if wanted.names else wanted
    low, high = integer_limits(plain)
    wide = array.astype(np.int64) if array.dtype.kind == "V" else array
    least, most = int(wide.min()), int(wide.max())
    if least < low or most > high:
        raise ValueError(f"{least if least < low else most} is beyond {declared} ({low} to {high})")
    converted: Array = wide.astype(plain)
    return converted.view(wanted) if wanted.names else converted


def _nearest(array: Array, wanted: "np.dtype[Any]", declared: str) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        converted: Array = array.astype(wanted)
        wide = array.astype(np.float64)
        lost = np.isfinite(wide) & ~np.isfinite(converted.astype(np.float64))
    if lost.any():
        raise ValueError(f"{shown(wide[lost].flat[0])} is beyond {declared}")
    if np.isinf(wide).any() and not np.isinf(converted.astype(np.float64)).any():
        raise ValueError(f"infinity is beyond {declared}")
    return converted


def from_json(value: Any, storage: Storage, declared: str) -> Array:
    """A JSON value, or nested lists of them, as an array. Raises ValueError.

    Texts are UTF-8, `{"b64": "..."}` are bytes, as in TensorFlow Serving's REST API.
    """
    if storage.dtype.kind == "O":
        return _json_texts(value)
    types = _types(value)  # first, for numpy would make all strings as long as the longest
    if list in types:
        raise ValueError(_uneven(value))
    if types - {int, float, bool}:
        raise ValueError(f"{shown(_odd_leaf(value))} is not {declared}")
    if bool in types and len(types) > 1:
        raise ValueError(f"true or false among numbers, {declared} is declared")
    try:
        array = _numbers(value, whole=types == {int} and family(storage.dtype) == "int")
    except OverflowError:
        raise ValueError(f"{shown(max(_leaves(value), key=abs))} is beyond {declared}") from None
    except ValueError:
        raise ValueError(_uneven(value)) from None
    return typed(array, storage, declared)


def _numbers(value: Any, *, whole: bool) -> Array:
    """whole: as int64, or uint64. Raises OverflowError for what no such number holds, ValueError for uneven lists."""
    if not whole:
        array = np.array(value)
        return np.array(value, np.float64) if array.dtype.kind == "O" else array
    try:
        return np.array(value, np.int64)
    except OverflowError:
        return np.array(value, np.uint64)


def _json_texts(value: Any) -> Array:
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner or len(shape) > _DEEPEST:
            break
        inner = inner[0]
    flat: list[bytes] = []
    _fill(flat, value, shape, 0)
    texts = np.empty(len(flat), object)
    texts[:] = flat
    return texts.reshape(shape)


def _fill(flat: list[bytes], value: Any, shape: list[int], level: int) -> None:
    if isinstance(value, list):
        if level == len(shape) or len(value) != shape[level]:
            raise ValueError("lists of different lengths")
        for item in value:
            _fill(flat, item, shape, level + 1)
    elif level != len(shape):
        raise ValueError("lists of different depths")
    elif isinstance(value, str):
        flat.append(value.encode())
    elif is_bytes(value):
        try:
            flat.append(base64.b64decode(value["b64"], validate=True))
        except (binascii.Error, ValueError, TypeError):
            raise ValueError(f"{shown(value['b64'])} is not base64") from None
    else:
        raise ValueError(f'{shown(value)} is not text; expected a string or {{"b64": "..."}}')


def is_bytes(value: Any) -> bool:
    """Whether this JSON value is `{"b64": ...}`: bytes, where other objects have a name for each input."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def _leaves(value: Any) -> list[Any]:
    level = [value]
    while any(isinstance(each, list) for each in level):
        level = [item for each in level for item in (each if isinstance(each, list) else [each])]
    return level


def _odd_leaf(value: Any) -> Any:
    """The first leaf that is no number, true or false."""
    return next((each for each in _leaves(value) if not isinstance(each, int | float)), value)


def _types(value: Any) -> set[type]:
    if not isinstance(value, list):
        return {type(value)}
    if value and isinstance(value[0], list):
        return set().union(*map(_types, value))
    return set(map(type, value))


def _uneven(value: list[Any]) -> str:
    lengths = sorted({len(each) if isinstance(each, list) else -1 for each in value})
    if len(lengths) > 1 and lengths[0] >= 0:
        return f"rows of different lengths ({lengths[0]} and {lengths[-1]})"
    return "lists of different lengths or depths"


def shown(value: Any) -> str:
    """A value for an error's line, shortened."""
    plain = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    plain = plain.item() if isinstance(plain, np.generic) else plain
    special = {"True": "true", "False": "false", "None": "null"}
    text = special.get(repr(plain), repr(plain))
    return text if len(text) <= 60 else text[:57] + "..."
