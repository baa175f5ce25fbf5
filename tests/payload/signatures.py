"""Signatures of models that tests read requests for, and arrays of every dtype."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.payload.files.values import family
from bench.protocol.signatures import Signature, Tensor
from bench.wire.dtypes import STORAGES, dtype_number, type_name

NUMBERS = sorted(
    type_name(number)
    for number, storage in STORAGES.items()
    if family(storage.dtype) in ("int", "float") and not storage.dtype.names
)
"""Names of the dtypes that JSON, CSV and numpy files can hold alike."""
DTYPES = [*NUMBERS, "bool", "string"]

TEXT = Tensor("string", (-1,))
FEATURES = Tensor("float", (-1, 8))


def signature(**inputs: Tensor) -> Signature:
    """One with these inputs and the output `score`, a number for each example."""
    return Signature("tensorflow/serving/predict", inputs, {"score": Tensor("float", (-1,))})


RANKER = signature(query=TEXT, features=FEATURES)


def dtype_of(name: str) -> "np.dtype[Any]":
    return STORAGES[dtype_number(name)].dtype


def arrays(name: str, shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Arrays of one of DTYPES."""
    dtype = dtype_of(name)
    if name == "string":
        return st.lists(
            st.binary(max_size=9), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))
        ).map(lambda values: _texts(values, shape))
    if dtype.isbuiltin != 1:  # bfloat16, float8 and int4: whatever their bits say
        return hnp.arrays(np.uint8, (*shape, dtype.itemsize)).map(lambda bits: _of_bits(bits, dtype, shape))
    return hnp.arrays(dtype, shape)


def _texts(values: list[bytes], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    made = np.empty(len(values), object)
    made[:] = values
    return made.reshape(shape)


def _of_bits(
    bits: np.ndarray[Any, Any], dtype: "np.dtype[Any]", shape: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    if family(dtype) == "int":
        return (bits[..., 0].astype(np.int64) % (4 if "2" in dtype.name else 16)).astype(dtype).reshape(shape)
    return np.ascontiguousarray(bits).view(dtype).reshape(shape)


def equal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays have the same dtype, shape and values; every NaN is the same."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if family(one.dtype) == "float":
        with np.errstate(invalid="ignore"):  # of signalling NaNs
            return np.array_equal(one.astype(np.float64), other.astype(np.float64), equal_nan=True)
    return one.tolist() == other.tolist()
