"""Examples for a model's requests, wherever they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import BenchError
from bench.protocol.signatures import Signature, Tensor
from bench.wire.dtypes import STORAGES, Storage, dtype_number

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Examples:
    """Examples for a model, typed as its signature declares."""

    inputs: dict[str, Array]
    """[N, ...] by input; an object array [N] of arrays where the examples of an input differ in shape (`ragged`)."""
    constant: dict[str, Array]
    """Inputs without a batch dimension, which every request holds as they are."""
    labels: Array | None
    """[N], int64 or object (bytes)."""
    batched: bool
    """False: each example is a whole request, as of a model whose inputs have no batch dimension."""
    origin: str
    """Where they come from, for the report."""
    sha256: str = ""
    """Of the file; empty: there is none."""

    def __len__(self) -> int:
        return max((len(array) for array in self.inputs.values()), default=1)

    @property
    def ragged(self) -> bool:
        """Whether examples differ in shape."""
        return any(map(ragged, self.inputs.values()))

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> dict[str, Array]:
        """The inputs of some examples, [len(rows), ...]. Raises ValueError where they differ in shape."""
        chosen = {name: array[rows] for name, array in self.inputs.items()}
        return {name: np.stack(array.tolist()) if ragged(array) else array for name, array in chosen.items()}

    def alike(self, rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """These rows in groups of equal shapes, which one request can hold together."""
        uneven = [array for array in self.inputs.values() if ragged(array)]
        if not uneven:
            return [rows]
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for row in rows.tolist():
            groups.setdefault(tuple(array[row].shape for array in uneven), []).append(row)
        return [np.array(group, np.int64) for group in groups.values()]


def ragged(array: Array) -> bool:
    """Whether these are examples of different shapes, as an object array of arrays."""
    return array.dtype.kind == "O" and array.size > 0 and isinstance(array.flat[0], np.ndarray)


def size_of(array: Array) -> int:
    """Bytes of an array's values."""
    if array.dtype.kind != "O":
        return array.nbytes
    return sum(size_of(value) if isinstance(value, np.ndarray) else len(value) for value in array.flat)


def storage_of(name: str, tensor: Tensor) -> Storage:
    """How the values of an input are stored. Raises BenchError for a dtype of which no values can be sent."""
    storage = STORAGES.get(dtype_number(tensor.dtype))
    if storage is None:
        raise BenchError(f"input {name!r} is {tensor.dtype}: no values of this type can be sent")
    return storage


def open_batch(tensor: Tensor) -> bool:
    """Whether the first dimension of a tensor can be any number of examples."""
    return tensor.shape is None or tensor.shape[:1] == (-1,)


def takes_batches(signature: Signature) -> bool:
    """Whether a request holds any number of examples: an input and an output have a first dimension that is open."""
    return any(map(open_batch, signature.inputs.values())) and any(
        map(open_batch, signature.outputs.values())
    )


def default_output(signature: Signature, output: str | None, *, labelled: bool, where: str = "output") -> str:
    """The output to compare: the one that is named, else the only one, else without labels the first by name.

    where: what names it. Raises BenchError where it does not exist or labels could belong to several.
    """
    names = sorted(signature.outputs)
    if output is None and names and (len(names) == 1 or not labelled):
        return names[0]
    if output in names and output is not None:
        return output
    listed = ", ".join(names) or "none"
    if output is None:
        raise BenchError(
            f"{where}: the signature has the outputs {listed}; name the one that the labels are of"
        )
    raise BenchError(f"{where} {output}: the signature has the outputs {listed}")
