"""A model's outputs as the JSON of a REST response.

Texts and layout are those of the original (util/json_tensor.cc): four blanks of indentation, but each row of a
row-format answer on one line.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from bench.server.api.json_text import decimals, string
from bench.server.api.tensors import Array, storage_of
from bench.server.refusal import invalid
from bench.wire.dtypes import type_name
from bench.wire.messages import types_pb2

ROW: Final = "predictions"
COLUMN: Final = "outputs"
RESULTS: Final = "results"

_INDENT: Final = "    "
_INTEGERS: Final = frozenset(
    types_pb2.DataType.Value(f"DT_{name}")
    for name in ("INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT8")
)


def tensors(outputs: Mapping[str, Array], key: str) -> str:
    """The body of a predict answer; `key` is ROW or COLUMN. Raises `Refusal` for what the format cannot hold."""
    if key == COLUMN:
        if len(outputs) == 1:
            ((alias, array),) = outputs.items()
            return _object({key: _nested(array.shape, _literals(alias, array), _INDENT)}, "")
        deep = 2 * _INDENT
        members = {a: _nested(array.shape, _literals(a, array), deep) for a, array in sorted(outputs.items())}
        return _object({key: _object(members, _INDENT)}, "")
    _same_height(outputs)
    rows = {alias: _rows(array.shape, _literals(alias, array)) for alias, array in sorted(outputs.items())}
    if len(rows) == 1:
        (items,) = rows.values()
        return _on_one_line(key, items)
    deep = 2 * _INDENT
    objects = [
        deep + _object(dict(zip(rows, values, strict=True)), deep)
        for values in zip(*rows.values(), strict=True)
    ]
    return _object({key: _block("[", objects, "]", _INDENT)}, "")


def classifications(result: Any) -> str:
    """The body of a classify answer to a ClassificationResult."""
    items = []
    for each in result.classifications:
        scores = decimals(np.array([entry.score for entry in each.classes], np.float32))
        pairs = (
            f"[{string(entry.label)}, {score}]" for entry, score in zip(each.classes, scores, strict=True)
        )
        items.append(f"[{', '.join(pairs)}]")
    return _on_one_line(RESULTS, items)


def regressions(result: Any) -> str:
    """The body of a regress answer to a RegressionResult."""
    return _on_one_line(RESULTS, decimals(np.array([each.value for each in result.regressions], np.float32)))


def error(text: str) -> str:
    """The body of every answer that is an error."""
    return _object({"error": string(text)}, "")


def _same_height(outputs: Mapping[str, Array]) -> None:
    height = None
    for alias, array in sorted(outputs.items()):
        if not array.ndim:
            raise invalid(f"Tensor name: {alias} has no shape information ")
        if height is not None and len(array) != height:
            raise invalid(
                f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: {height}"
            )
        height = len(array)


def _on_one_line(key: str, items: Sequence[str]) -> str:
    return f'{{\n{_INDENT}"{key}": [{", ".join(items)}\n{_INDENT}]\n}}'


def _object(members: Mapping[str, str], indent: str) -> str:
    deeper = indent + _INDENT
    return _block("{", [f"{deeper}{string(key)}: {text}" for key, text in members.items()], "}", indent)


def _block(start: str, lines: Sequence[str], end: str, indent: str) -> str:
    return start + "\n" + ",\n".join(lines) + f"\n{indent}{end}"


def _rows(shape: tuple[int, ...], literals: list[str]) -> list[str]:
    """Each row of a tensor as text of one line."""
    if len(shape) == 1:
        return literals
    return [_line(shape[1:], part) for part in _parts(shape, literals)]


def _line(shape: tuple[int, ...], literals: list[str]) -> str:
    inner = literals if len(shape) == 1 else [_line(shape[1:], part) for part in _parts(shape, literals)]
    return f"[{', '.join(inner)}]"


def _nested(shape: tuple[int, ...], literals: list[str], indent: str) -> str:
    """Each value and each bracket on a line of its own."""
    if not shape:
        return literals[0]
    if not shape[0]:
        return "[]"
    deeper = indent + _INDENT
    if len(shape) == 1:
        return _block("[", [deeper + literal for literal in literals], "]", indent)
    inner = [deeper + _nested(shape[1:], part, deeper) for part in _parts(shape, literals)]
    return _block("[", inner, "]", indent)


def _parts(shape: tuple[int, ...], literals: list[str]) -> list[list[str]]:
    """The literals of each entry of the first dimension."""
    size = len(literals) // max(1, shape[0])
    return [literals[at * size : (at + 1) * size] for at in range(shape[0])]


def _literals(alias: str, array: Array) -> list[str]:
    """The values of a tensor as JSON, in row-major order."""
    flat = array.ravel()
    if flat.dtype in (np.float32, np.float64):
        return decimals(flat)
    if flat.dtype == bool:
        return ["true" if value else "false" for value in flat.tolist()]
    enum = storage_of(flat.dtype).enum
    if enum in _INTEGERS:
        return [str(value) for value in flat.tolist()]
    if enum == types_pb2.DT_STRING:
        if alias.endswith("_bytes"):
            return [_object({"b64": string(base64.b64encode(value))}, "") for value in flat]
        return [string(value) for value in flat]
    raise invalid(f"Failed to write JSON value for tensor type: {type_name(enum)}")
