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
from bench.wire.field_limits import MOST_FIELDS
from bench.wire.tensors import as_bytes, delimited

_LENGTH: Final = 4
"""Bytes before each text."""
_MOST_DIMENSIONS: Final = 32
"""Numpy's limit until version 2; TensorFlow's Python binding writes past its memory beyond it."""
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
FIELDS: Final = {datatype: field for field, datatypes in _FIELDS.items() for datatype in datatypes}
"""Datatype -> the typed field of its values."""
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
    field = FIELDS.get(datatype)
    if field is None:
        raise BenchError(
            f"an input of {datatype}: it has no typed contents; use --protocol oip, which sends raw ones"
        )
    if datatype == "BYTES":
        contents.bytes_contents.extend(as_bytes(each) for each in array.ravel().tolist())
    elif datatype in ("FP32", "FP64", "BOOL") and array.size:
        # their packed field is the values' memory: 0.1 ms for each MB; as a list it takes 12
        number = contents.DESCRIPTOR.fields_by_name[field].number
        contents.MergeFromString(delimited(number, raw_of(array)))
    else:
        getattr(contents, field).extend(array.ravel().tolist())


def array_of(tensor: Any, raw: bytes | None) -> Array:
    """The values of a tensor: [*shape], object (bytes) for BYTES. raw: its raw contents; None: they are typed.

    Raises ValueError for an unknown datatype, for more or fewer values than the shape says, and for values that the
    datatype cannot hold.
    """
    if len(tensor.shape) > _MOST_DIMENSIONS:
        raise ValueError(f"{len(tensor.shape)} dimensions, {_MOST_DIMENSIONS} are allowed")
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
        if tensor.datatype == "BOOL":  # of any other byte than 0 and 1 numpy makes no clean bool
            array = np.frombuffer(raw, np.uint8) != 0
    elif tensor.datatype in FIELDS:
        array = _fitting(np.array(getattr(tensor.contents, FIELDS[tensor.datatype])), dtype)
    else:
        raise ValueError(f"datatype {tensor.datatype} has no typed contents")
    if array.size != math.prod(shape):
        raise ValueError(f"{array.size} values for shape {shape}")
    return array.reshape(shape)


def _texts(values: list[bytes]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _fitting(values: Array, dtype: np.dtype[Any]) -> Array:
    """Values of a typed field, which is wider than some of its datatypes, as what they are."""
    if dtype.kind in "iu" and values.size:
        limits = np.iinfo(dtype)
        for value in (values.min(), values.max()):
            if not limits.min <= value <= limits.max:
                raise ValueError(f"{value} does not fit {dtype.name.upper()}, {limits.min} to {limits.max}")
    return values.astype(dtype)


def _split(raw: bytes) -> list[bytes]:
    texts: list[bytes] = []
    at = 0
    while at < len(raw):
        if len(texts) == MOST_FIELDS:
            raise ValueError(f"more than {MOST_FIELDS} texts")
        end = at + _LENGTH + int.from_bytes(raw[at : at + _LENGTH], "little")
        if end > len(raw) or at + _LENGTH > len(raw):
            raise ValueError("the last text ends early")
        texts.append(raw[at + _LENGTH : end])
        at = end
    return texts
