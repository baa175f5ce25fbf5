"""Files of JSON lines whose writer may be killed at any moment."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench import BenchError

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
    """One row as a line."""
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file, without a last one that has no end. Raises BenchError; a missing file has none."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; check the file's permissions") from error
    for number, text in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), 1):
        try:
            row = json.loads(text)
        except ValueError as error:
            raise BenchError(f"{path}:{number}: no JSON ({error}); {DAMAGED}") from error
        if not isinstance(row, dict):
            raise BenchError(f"{path}:{number}: no JSON object; {DAMAGED}")
        yield row
