"""Examples, constants and labels of a pool as arrays that fit each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import BenchError
from bench.wire.tensors import as_bytes

Array = npt.NDArray[Any]
Value = Array | np.generic | Sequence[Any] | float | int | bool | str | bytes
"""What an input can be given as."""


def array_from(value: Value) -> Array:
    """An array as it is; Python numbers as TensorFlow takes them: float32, and int32 where they fit (tf.constant)."""
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if isinstance(value, str | bytes):
        return np.array(value, object)
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    limits = np.iinfo(np.int32)
    if array.dtype == np.int64 and (not array.size or limits.min <= array.min() <= array.max() <= limits.max):
        return array.astype(np.int32)
    return array


def labels_from(
    labels: Sequence[Any] | Array | None, compare: str | None, rules: Sequence[str]
) -> Array | None:
    """[N] as int64, or object (bytes) for texts. Raises BenchError for labels that the rule cannot be held against."""
    if compare is not None and compare not in rules:
        raise BenchError(f"compare={compare!r}: expected one of {', '.join(rules)}")
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.ndim != 1:
        raise BenchError(f"labels of shape {list(array.shape)}: expected one label for each example, [N]")
    if array.dtype.kind in "SUO":
        if compare not in (None, "equal"):
            raise BenchError(f"compare={compare!r} needs numbers as labels; texts are compared by 'equal'")
        texts = np.empty(len(array), object)
        texts[:] = [as_bytes(value) for value in array.tolist()]
        return texts
    if array.dtype.kind not in "iub":
        raise BenchError(f"labels of dtype {array.dtype}: expected integers or strings")
    numbers = array.astype(np.int64)
    if compare == "threshold" and not np.isin(numbers, (0, 1)).all():
        raise BenchError(f"compare='threshold': labels are 0 or 1, not {int(numbers.max())}")
    if compare == "argmax" and numbers.size and numbers.min() < 0:
        raise BenchError(f"compare='argmax': labels are indices from 0 on, not {int(numbers.min())}")
    return numbers


def count_of(arrays: Mapping[str, Array], constants: Mapping[str, Array], labels: Array | None) -> int:
    """Examples in every input and in the labels. Raises BenchError where they differ."""
    if not arrays and not constants:
        raise BenchError("no input; a request needs at least one")
    for name, array in arrays.items():
        if array.ndim == 0:
            raise BenchError(
                f"input {name!r} is a scalar; its first dimension has to be the examples: "
                f"constant={{{name!r}: ...}} sends it with each request"
            )
    counts = {f"input {name!r}": len(array) for name, array in arrays.items()}
    if labels is not None:
        counts["labels"] = len(labels)
    if len(set(counts.values())) > 1:
        raise BenchError(f"different numbers of examples: {', '.join(f'{k} {n}' for k, n in counts.items())}")
    count = next(iter(counts.values()), 1)
    if count == 0:
        raise BenchError("no example; a pool needs at least one")
    return count


def bytes_per_example(array: Array) -> float:
    """Bytes of an input's values for one of its examples, [N, ...]."""
    if array.dtype.kind == "O":  # nbytes would count pointers
        return sum(len(as_bytes(value)) for value in array.ravel().tolist()) / len(array)
    return array.nbytes / len(array)
