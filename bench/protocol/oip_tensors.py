"""Tensors of the Open Inference Protocol: datatypes, raw contents and typed contents.

Raw contents are the values in row-major order, little-endian; of BYTES each with its length before it, as 4 bytes.
FP16 and BF16 have no typed field: they are raw only.
"""

import math
from typing import Any, Final

import ml_dtypes
import numpy as np

from bench import BenchError
from bench.protocol.api import Array
from bench.protocol.signatures import dtype_name
from bench.wire.dtypes import STORAGES, storage_number
from bench.wire.tensors import as_bytes

_LENGTH: Final = 4
"""Bytes before each text."""
_FIELDS: Final = {
    "bool_contents": ("BOOL",),
    "int_contents": ("INT8", "INT16", "INT32"),
    "int64_contents": ("INT64",),
    "uint_contents": ("UINT8", "UINT16", "UINT32"),
    "uint64_contents": ("UINT64",),
    "fp32_contents": ("FP32",),
    "fp64_contents": ("FP64",),
    "bytes_contents": ("BYTES",),
}
_FIELD_OF: Final = {datatype: field for field, datatypes in _FIELDS.items() for datatype in datatypes}
_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    **{
        f"{kind}{bits}": np.dtype(f"{kind.lower()}{bits}")
        for kind in ("INT", "UINT")
        for bits in (8, 16, 32, 64)
    },
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "BYTES": np.dtype(object),
}
"""Datatype -> numpy dtype; bytes are objects."""
_NAMES: Final = {dtype: name for name, dtype in _DTYPES.items()}


def datatype_of(array: Array) -> str:
    """The datatype of an array's values. Raises BenchError for one that the protocol has not."""
    if array.dtype.kind in "SUO":
        return "BYTES"
    name = _NAMES.get(array.dtype.newbyteorder("="))
    if name is None:
        raise BenchError(
            f"an input of dtype {array.dtype}: the Open Inference Protocol has no such type; use one of {', '.join(_DTYPES)}"
        )
    return name


def name_of(datatype: str) -> str:
    """A datatype by the name that signatures have for it: `float` for FP32; others in small letters."""
    dtype = _DTYPES.get(datatype.removeprefix("TYPE_"))
    return datatype.lower() if dtype is None else dtype_name(storage_number(dtype))


def datatype_numbered(number: int) -> str:
    """The datatype for a DataType of TensorFlow; its own name for one that the protocol has not."""
    storage = STORAGES.get(number)
    name = None if storage is None else _NAMES.get(storage.dtype)
    return name or dtype_name(number).upper()


def raw_of(array: Array) -> bytes:
    """The values as raw contents."""
    if array.dtype.kind in "SUO":
        texts = [as_bytes(value) for value in array.ravel().tolist()]
        return b"".join(len(text).to_bytes(_LENGTH, "little") + text for text in texts)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def fill(contents: Any, array: Array) -> None:
    """Write the values into an InferTensorContents. Raises BenchError for a datatype that is raw only."""
    datatype = datatype_of(array)
    field = _FIELD_OF.get(datatype)
    if field is None:
        raise BenchError(
            f"an input of {datatype}: it has no typed contents; use --protocol oip, which sends raw ones"
        )
    values = array.ravel().tolist()
    getattr(contents, field).extend([as_bytes(each) for each in values] if datatype == "BYTES" else values)


def array_of(tensor: Any, raw: bytes | None) -> Array:
    """The values of an output: [*shape], object (bytes) for BYTES. raw: its raw contents; None: they are typed.

    Raises ValueError for an unknown datatype, and for more or fewer values than the shape says.
    """
    shape = list(tensor.shape)
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None:
        raise ValueError(f"datatype {tensor.datatype!r} is not known")
    if min(shape, default=0) < 0:
        raise ValueError(f"shape {shape} is not fully known")
    if tensor.datatype == "BYTES":
        array = _texts(list(tensor.contents.bytes_contents) if raw is None else _split(raw))
    elif raw is not None:
        array = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False)
    elif tensor.datatype in _FIELD_OF:
        array = np.array(getattr(tensor.contents, _FIELD_OF[tensor.datatype]), dtype)
    else:
        raise ValueError(f"datatype {tensor.datatype} has no typed contents")
    if array.size != math.prod(shape):
        raise ValueError(f"{array.size} values for shape {shape}")
    return array.reshape(shape)


def _texts(values: list[bytes]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _split(raw: bytes) -> list[bytes]:
    texts, at = [], 0
    while at < len(raw):
        end = at + _LENGTH + int.from_bytes(raw[at : at + _LENGTH], "little")
        if end > len(raw) or at + _LENGTH > len(raw):
            raise ValueError("the last text ends early")
        texts.append(raw[at + _LENGTH : end])
        at = end
    return texts
