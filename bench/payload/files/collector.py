"""Pieces of a request file, one after the other, as examples that fit a signature."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from bench import BenchError, escape
from bench.payload.examples import Array, Examples, open_batch, size_of, storage_of, takes_batches
from bench.payload.files.values import shown
from bench.protocol.signatures import Signature
from bench.wire.dtypes import Storage

LARGEST: Final = 1 << 30
"""Bytes of values that are read from a file."""
MOST_EXAMPLES: Final = 10_000_000
_TOGETHER: Final = 1024
"""Pieces that are joined at a time: an array of its own for each of a million rows would take 100 bytes a row."""


class _Column:
    """Blocks [n, ...] of one input, of which many small ones become one."""

    def __init__(self) -> None:
        self._joined: list[Array] = []
        self._newest: list[Array] = []

    def add(self, block: Array) -> None:
        self._newest.append(block)
        if len(self._newest) == _TOGETHER:
            alike = len({each.shape[1:] for each in self._newest}) == 1
            self._joined += [np.concatenate(self._newest)] if alike else self._newest
            self._newest = []

    def blocks(self) -> list[Array]:
        return self._joined + self._newest


@dataclass
class Collector:
    """Takes the inputs and labels of one piece of a file after the other.

    Inputs whose first dimension is open hold examples in it; the others are the same for all requests, or else each
    piece stays a request of its own.
    """

    signature: Signature
    where: str
    """The option and the file, as errors begin."""
    batched: bool = field(init=False)
    """Whether requests hold any number of examples."""
    count: int = 0
    """Examples so far."""
    _names: tuple[str, ...] = ()
    _first: str = ""
    _columns: dict[str, _Column] = field(default_factory=dict)
    """Of inputs that hold examples."""
    _fixed: dict[str, list[Array]] = field(default_factory=dict)
    """Of the other inputs: one array a piece; only the first, as long as all are equal."""
    _rows: list[int] = field(default_factory=list)
    """Examples in each piece."""
    _labels: list[Any] = field(default_factory=list)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self.batched = takes_batches(self.signature)
        self.storages: dict[str, Storage] = {
            name: storage_of(name, tensor) for name, tensor in self.signature.inputs.items()
        }
        self.by_row = {
            name for name, tensor in self.signature.inputs.items() if self.batched and open_batch(tensor)
        }

    def fail(self, place: str, problem: object) -> BenchError:
        """The error about something in the file."""
        return BenchError(f"{self.where}: {place}{', ' if place else ''}{escape.one_line(str(problem))}")

    def check_names(self, place: str, names: Sequence[str] | Mapping[str, Any]) -> None:
        """Raise BenchError for an input that the signature has not, or one that is missing."""
        expected = self.signature.inputs
        for name in names:
            if name not in expected:
                raise self.fail(place, f"key {name!r}: the signature has {', '.join(expected)}")
        for name, tensor in expected.items():
            if name not in names and name not in self.signature.optional:
                raise self.fail(place, f"input {name!r} ({tensor}) is missing")

    def add(self, place: str, inputs: Mapping[str, Array], labels: Sequence[Any] | None = None) -> None:
        """Take one piece: whole tensors as the signature declares them, with one label for each example.

        Raises BenchError for what does not fit the signature, or the pieces before it.
        """
        self.check_names(place, inputs)
        names = tuple(sorted(inputs))
        if not self._names:
            self._names, self._first = names, place
        elif names != self._names:
            name = min(set(names) ^ set(self._names))
            present, missing = (place, self._first) if name in names else (self._first, place)
            raise self.fail(
                "", f"input {name!r} is in {present}, and not in {missing}: give it in all or in none"
            )
        rows = self._count(place, inputs)
        if labels is not None and len(labels) != rows:
            raise self.fail(place, f"label: {len(labels)} for {rows} examples")
        self._take_labels(place, labels)
        for name, array in inputs.items():
            self._bytes += size_of(array)
            if name in self.by_row:
                self._columns.setdefault(name, _Column()).add(array)
            else:
                self._take_fixed(name, array)
        self._rows.append(rows)
        self.count += rows
        if self._bytes > LARGEST or self.count > MOST_EXAMPLES:
            raise self.fail(
                place,
                f"more than {LARGEST >> 20} MiB of values or {MOST_EXAMPLES:,} examples so far: take a part of the file",
            )

    def _count(self, place: str, inputs: Mapping[str, Array]) -> int:
        """The number of examples in a piece whose shapes fit."""
        counts = {}
        for name, array in inputs.items():
            tensor = self.signature.inputs[name]
            if not tensor.takes(array.shape):
                raise self.fail(place, f"input {name!r}: shape {list(array.shape)}, declared is {tensor}")
            if name in self.by_row:
                if array.ndim == 0:
                    raise self.fail(
                        place, f"input {name!r} is a scalar; its first dimension has to be the examples"
                    )
                counts[name] = len(array)
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name!r} {count}" for name, count in counts.items())
            raise self.fail(place, f"different numbers of examples: {listed}")
        rows = next(iter(counts.values()), 1)
        if rows == 0:
            raise self.fail(place, "no example")
        return rows

    def _take_labels(self, place: str, labels: Sequence[Any] | None) -> None:
        for label in labels or ():
            if not isinstance(label, int | str | bytes):
                raise self.fail(place, f"label {shown(label)}: expected an integer or a string")
            if self._labels and isinstance(label, int) != isinstance(self._labels[0], int):
                raise self.fail(
                    place, f"label {shown(label)}: the first is {shown(self._labels[0])}; numbers or texts"
                )
            if isinstance(label, int) and not -(1 << 63) <= label < 1 << 63:
                raise self.fail(place, f"label {shown(label)} is beyond int64")
        if self._rows and bool(self._labels) != (labels is not None):
            present, missing = (self._first, place) if labels is None else (place, self._first)
            raise self.fail("", f"label is in {present}, and not in {missing}: give it in all or in none")
        self._labels += [int(label) if isinstance(label, bool) else label for label in labels or ()]

    def _take_fixed(self, name: str, array: Array) -> None:
        seen = self._fixed.setdefault(name, [])
        if not seen or len(seen) > 1 or not _same(seen[0], array):
            # the first that differs: those before it were all equal
            seen.extend([seen[0]] * (len(self._rows) - 1) if len(seen) == 1 else [])
            seen.append(array)

    def finish(self, origin: str, sha256: str = "") -> Examples:
        """All that was taken. Raises BenchError where that is nothing."""
        if not self._rows:
            raise self.fail("", "no example in it")
        labels = _label_array(self._labels) if self._labels else None
        apart = any(len(seen) > 1 for seen in self._fixed.values()) or not self._columns
        if not apart:
            inputs = {name: _joined(column.blocks()) for name, column in self._columns.items()}
            constant = {name: seen[0] for name, seen in self._fixed.items()}
            return Examples(self._ordered(inputs), self._ordered(constant), labels, True, origin, sha256)
        if labels is not None and len(labels) != len(self._rows):
            raise self.fail(
                "", "label: several in one request, while an input without examples differs between requests"
            )
        bounds = np.cumsum(self._rows)[:-1]
        whole = {name: np.split(_joined(column.blocks()), bounds) for name, column in self._columns.items()}
        for name, seen in self._fixed.items():
            whole[name] = seen if len(seen) == len(self._rows) else seen * len(self._rows)
        inputs = {name: _stacked([_plain(part) for part in parts]) for name, parts in whole.items()}
        return Examples(self._ordered(inputs), {}, labels, False, origin, sha256)

    def _ordered(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: arrays[name] for name in self.signature.inputs if name in arrays}


def _same(first: Array, other: Array) -> bool:
    if first.shape != other.shape:
        return False
    return first.tolist() == other.tolist() if first.dtype.kind == "O" else first.tobytes() == other.tobytes()


def _joined(blocks: Sequence[Array]) -> Array:
    """[N, ...]: the examples of all blocks; an object array of their arrays where these differ in shape."""
    if len({block.shape[1:] for block in blocks}) == 1:
        return np.concatenate(blocks)
    return _stacked([block[index, ...] for block in blocks for index in range(len(block))])


def _stacked(parts: Sequence[Array]) -> Array:
    """[len(parts), ...]; an object array of the parts where they differ in shape."""
    if len({part.shape for part in parts}) == 1:
        return np.stack(parts)
    uneven = np.empty(len(parts), object)
    for index, part in enumerate(parts):
        uneven[index] = part
    return uneven


def _plain(part: Array) -> Array:
    """A request's examples as one tensor; they may be an object array of arrays that are alike."""
    if part.dtype.kind == "O" and part.size and isinstance(part.flat[0], np.ndarray):
        return np.stack(part.tolist())
    return part


def _label_array(labels: Sequence[Any]) -> Array:
    if isinstance(labels[0], int):
        return np.array(labels, np.int64)
    texts = np.empty(len(labels), object)
    texts[:] = [label.encode() if isinstance(label, str) else label for label in labels]
    return texts
