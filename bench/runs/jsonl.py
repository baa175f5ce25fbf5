"""JSON as it is written, and as it is read from anybody."""

import json
import math
import re
from pathlib import Path
from typing import Any, Final

from bench.runs.files import MIB, read_file

LARGEST: Final = 128 * MIB
"""Of a file of JSON lines: an hour of a hundred different requests takes less than half of it."""
MOST_ROWS: Final = 1_000_000
"""Of such a file."""
LARGEST_DOCUMENT: Final = 16 * MIB
"""Of a file that is one JSON value: a manifest is some kB."""
DEEPEST: Final = 40
"""Levels of lists and objects within each other."""
MOST_DIGITS: Final = 19
"""Of an integer: 64 bits hold no more."""
DAMAGED: Final = "the file was damaged or written by something else: delete the run, or restore the file"


def json_text(value: Any, indent: int | None = 1) -> str:
    """A value as JSON that every program reads: null for nan and infinity, which JSON does not have."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def json_line(row: dict[str, Any]) -> bytes:
    """One row as a line; null for nan and infinity."""
    return json.dumps(_finite(row), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def parse_json(raw: bytes | str) -> Any:
    """The value of a JSON text that anybody may have written. Raises ValueError, in one line.

    Refused are also nan and infinity, which JSON does not have, integers beyond 64 bits and deep nesting.
    """
    try:
        value = json.loads(raw, parse_constant=_no_constant, parse_int=_integer, parse_float=_number)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} in line {error.lineno})") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    _check_depth(value)
    lone = re.search(rb"\\ud[89a-f]", raw.encode() if isinstance(raw, str) else raw, re.IGNORECASE)
    # half of a surrogate pair, as of a file's name that is no UTF-8: no output could take it
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) if lone else value


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises OSError, and ValueError for what is no such value."""
    return parse_json(read_file(path, LARGEST_DOCUMENT))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits, where at most {MOST_DIGITS} are read")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:30]} is out of range")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {DEEPEST} levels")
