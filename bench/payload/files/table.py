"""Requests as a table: CSV with a header, for inputs that are one value or a row of them."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from bench.payload.examples import Array
from bench.payload.files.collector import Collector
from bench.payload.files.lines import lines
from bench.payload.files.values import family, from_json, shown

_LABELS: Final = ("label", "labels")
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]{1,20}\s*")
_FLOAT: Final = re.compile(
    r"\s*[+-]?([0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|inf(inity)?|nan)\s*",
    re.IGNORECASE,
)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass
class _Column:
    """The place of an input's values in a row."""

    name: str
    places: list[int]
    shape: tuple[int, ...]
    parse: Callable[[str], Any]


class _Table(NamedTuple):
    """The columns of a file."""

    label: int | None
    columns: list[_Column]


def read(file: BinaryIO, collector: Collector) -> None:
    """Add every row of a file.

    The header names an input of one value for each example by its name, the values of a longer one by `NAME.0`,
    `NAME.1`, ..., those of the only input by `0`, `1`, ...; `label` is what is right. Raises BenchError.
    """
    numbers = [0]
    texts = _texts(file, collector, numbers)
    first = next(texts, "")
    delimiter = "\t" if "\t" in first and "," not in first else ","
    try:
        header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
    except csv.Error as error:
        raise collector.fail("line 1", f"not valid CSV: {error}") from None
    table = _columns(collector, header)
    rows = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise collector.fail(f"line {numbers[0]}", f"not valid CSV: {error}") from None
        if row is None:
            return
        if row:
            _add(collector, f"line {numbers[0]}", header, row, table)


def _texts(file: BinaryIO, collector: Collector, numbers: list[int]) -> Iterator[str]:
    for number, line in lines(file, collector):
        numbers[0] = number
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise collector.fail(f"line {number}", "not UTF-8 text") from None


def _columns(collector: Collector, header: list[str]) -> _Table:
    inputs = collector.signature.inputs
    if len(set(header)) < len(header):
        twice = Counter(header).most_common(1)[0][0]
        raise collector.fail("line 1", f"column {twice!r} is a duplicate")
    label = next((header.index(name) for name in _LABELS if name in header and name not in inputs), None)
    places: dict[str, dict[int | None, int]] = {}
    for place, cell in enumerate(header):
        if place == label:
            continue
        name, index = _named(cell, list(inputs))
        if name is None:
            listed = ", ".join(inputs)
            raise collector.fail(
                "line 1", f"column {cell[:60]!r}: inputs are {listed}; expected NAME, NAME.0 or label"
            )
        places.setdefault(name, {})[index] = place
    collector.check_names("line 1", places)
    return _Table(label, [_column(collector, name, columns) for name, columns in places.items()])


def _named(cell: str, inputs: list[str]) -> tuple[str | None, int | None]:
    """The input and the index of a value in it that a column's name means."""
    if cell in inputs:
        return cell, None
    name, _, index = cell.rpartition(".")
    if not index.isascii() or not index.isdigit() or len(index) > 9:
        return None, None
    if name in inputs:
        return name, int(index)
    return (inputs[0], int(index)) if not name and len(inputs) == 1 else (None, None)


def _column(collector: Collector, name: str, places: dict[int | None, int]) -> _Column:
    tensor, storage = collector.signature.inputs[name], collector.storages[name]
    shape = tensor.shape
    rest = None if shape is None else shape[1:] if name in collector.by_row else shape
    if None in places and len(places) > 1:
        raise collector.fail("line 1", f"columns {name!r} and '{name}.0': give one of them")
    if None in places and rest not in (None, (), (1,), (-1,)):
        raise collector.fail(
            "line 1", f"column {name!r}: the input is {tensor}; expected {name}.0, {name}.1, ..."
        )
    if None not in places and (rest is None or len(rest) != 1 or rest[0] not in (-1, len(places))):
        raise collector.fail("line 1", f"columns {name}.0 ...: {len(places)} of them, the input is {tensor}")
    if None not in places and sorted(index or 0 for index in places) != list(range(len(places))):
        raise collector.fail(
            "line 1", f"columns {name}.0 ...: not one for each index from 0 to {len(places) - 1}"
        )
    ordered = [places[index] for index in sorted(places, key=lambda index: index or 0)]
    kind = family(storage.dtype)
    if kind not in _PARSERS:
        raise collector.fail("line 1", f"column {name!r}: {tensor.dtype} cannot be read from CSV, give .npz")
    shape = () if None in places and rest in (None, ()) else (len(ordered),)
    return _Column(name, ordered, shape, _PARSERS[kind])


def _add(collector: Collector, place: str, header: list[str], row: list[str], table: _Table) -> None:
    if len(row) != len(header):
        raise collector.fail(place, f"{len(row)} cells, the header has {len(header)}")
    arrays = {}
    for column in table.columns:
        arrays[column.name] = _array(collector, place, header, row, column)
    labels = None
    if table.label is not None:
        text = row[table.label].strip()
        labels = [int(text) if _INTEGER.fullmatch(text) else text]
    collector.add(place, arrays, labels)


def _array(collector: Collector, place: str, header: list[str], row: list[str], column: _Column) -> Array:
    values = []
    declared = collector.signature.inputs[column.name].dtype
    for at in column.places:
        try:
            values.append(column.parse(row[at]))
        except (ValueError, KeyError):
            raise collector.fail(
                place, f"column {header[at]!r}: {shown(row[at])} is not {declared}"
            ) from None
    try:
        array = from_json(values, collector.storages[column.name], declared).reshape(column.shape)
    except ValueError as problem:
        raise collector.fail(place, f"column {header[column.places[0]]!r}: {problem}") from None
    return array[np.newaxis] if column.name in collector.by_row else array


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ValueError(text)
    return float(text)


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "int": _integer,
    "float": _float,
    "bool": lambda text: _BOOLEANS[text.strip().lower()],
    "string": str,
}
