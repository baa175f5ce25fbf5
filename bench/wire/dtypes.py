"""TensorFlow's dtypes: numbers, names, numpy dtypes, and the field of a TensorProto that holds their values.

Source: tensorflow/core/framework/types.proto and tensor.proto.
"""

from typing import Any, Final, NamedTuple

import ml_dtypes
import numpy as np

from bench.wire.messages import TensorProto, types_pb2

BITS: Final = {np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)}
"""dtypes that travel as their 16 bits in `half_val`."""


class Storage(NamedTuple):
    """The storage of a dtype's values in a TensorProto."""

    enum: int
    dtype: np.dtype[Any]
    field: str
    """The typed field."""
    number: int
    """The typed field's number."""
    raw: bool
    """Whether the packed field's payload is the values' memory: true for fixed-width fields and for bool."""


def _storages() -> dict[int, Storage]:
    wide: dict[str, list[tuple[str, Any]]] = {
        "float_val": [("FLOAT", np.float32)],
        "double_val": [("DOUBLE", np.float64)],
        "int_val": [
            *(("INT32", np.int32), ("INT16", np.int16), ("INT8", np.int8)),
            *(("UINT16", np.uint16), ("UINT8", np.uint8)),
            *(("INT4", ml_dtypes.int4), ("UINT4", ml_dtypes.uint4)),
            *(("INT2", ml_dtypes.int2), ("UINT2", ml_dtypes.uint2)),
            # TensorFlow's numpy dtypes of quantised values are structures with one nameless member
            *((name.upper(), [(name, kind)]) for name, kind in _QUANTISED.items()),
        ],
        "int64_val": [("INT64", np.int64)],
        "uint32_val": [("UINT32", np.uint32)],
        "uint64_val": [("UINT64", np.uint64)],
        "bool_val": [("BOOL", np.bool_)],
        "half_val": [("HALF", np.float16), ("BFLOAT16", ml_dtypes.bfloat16)],
        "scomplex_val": [("COMPLEX64", np.complex64)],
        "dcomplex_val": [("COMPLEX128", np.complex128)],
        "string_val": [("STRING", np.object_)],
        "float8_val": [
            ("FLOAT8_E5M2", ml_dtypes.float8_e5m2),
            ("FLOAT8_E4M3FN", ml_dtypes.float8_e4m3fn),
            ("FLOAT8_E4M3FNUZ", ml_dtypes.float8_e4m3fnuz),
            ("FLOAT8_E4M3B11FNUZ", ml_dtypes.float8_e4m3b11fnuz),
            ("FLOAT8_E5M2FNUZ", ml_dtypes.float8_e5m2fnuz),
        ],
    }
    raw = {"float_val", "double_val", "scomplex_val", "dcomplex_val", "bool_val", "float8_val"}
    fields = TensorProto.DESCRIPTOR.fields_by_name
    known = dict(types_pb2.DataType.items())
    return {
        known[f"DT_{name}"]: Storage(
            known[f"DT_{name}"], np.dtype(dtype), field, fields[field].number, field in raw
        )
        for field, dtypes in wide.items()
        for name, dtype in dtypes
        # older message packages lack the newest dtypes
        if f"DT_{name}" in known and field in fields
    }


_QUANTISED: Final[dict[str, Any]] = {
    "qint8": np.int8,
    "quint8": np.uint8,
    "qint16": np.int16,
    "quint16": np.uint16,
    "qint32": np.int32,
}
STORAGES: Final = _storages()
"""Storage by DataType number."""
STORAGE_OF: Final = {storage.dtype: storage for storage in STORAGES.values()}
"""Storage by numpy dtype."""


def type_name(enum: int) -> str:
    """TensorFlow's name of a DataType in error texts: `float`, `int64`, `string`."""
    name: str = (
        types_pb2.DataType.Name(enum)
        if enum in types_pb2.DataType.values()
        else f"unknown dtype enum ({enum})"
    )
    return name.removeprefix("DT_").lower()


def storage_number(dtype: "np.dtype[Any]") -> int:
    """The DataType number of a numpy dtype; 0 (DT_INVALID) for one that no TensorProto holds."""
    storage = STORAGE_OF.get(dtype)
    return 0 if storage is None else storage.enum


def dtype_number(name: str) -> int:
    """The DataType number of a dtype's lower-case name such as `float`; 0 (DT_INVALID) for one that is not known."""
    known: dict[str, int] = dict(types_pb2.DataType.items())
    return known.get(f"DT_{name.upper()}", 0)


def strings_of(content: bytes, count: int) -> "np.ndarray[Any, Any]":
    """TensorFlow's string list encoding: `count` varint lengths, then the strings without gaps.

    Raises ValueError for any other content.
    """
    if count > len(content):
        raise ValueError("fewer lengths than strings")
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if at == len(content) or shift > 28:
                raise ValueError("string lengths end early")
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length & 0xFFFFFFFF)
    if sum(lengths) != len(content) - at:
        raise ValueError("string lengths do not add up")
    strings = np.empty(count, object)
    for index, length in enumerate(lengths):
        strings[index] = content[at : at + length]
        at += length
    return strings


def field_values(tensor: Any, storage: Storage) -> "np.ndarray[Any, Any]":
    """The values in the typed field of a TensorProto, one dimension; strings as an object array of bytes.

    Raises ValueError for content that is not a whole number of values.
    """
    values = getattr(tensor, storage.field)
    dtype = storage.dtype
    if storage.field == "string_val":
        strings = np.empty(len(values), object)
        strings[:] = list(values)
        return strings
    if storage.field == "float8_val":
        return np.frombuffer(values, dtype)
    if storage.field in {"scomplex_val", "dcomplex_val"}:
        parts = np.array(values, dtype.char.lower())
        return parts[: len(parts) // 2 * 2].view(dtype)
    if dtype in BITS:
        return np.array(values, np.int32).astype(np.uint16).view(dtype)
    if storage.field == "int_val":
        # int_val is 32 bits wide, and narrower dtypes take the low bits
        whole = np.array(values, np.int32)
        if dtype.names:
            return whole.astype(dtype[0]).view(dtype)
        return whole.astype(dtype)
    return np.array(values, dtype)
