"""JSON files as checked values, and what is wrong in one that pydantic has refused, in one line."""

from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from bench import BenchError
from bench.runs.jsonl import read_json

M = TypeVar("M", bound=BaseModel)

EXPECTED: Final = {
    "model_type": "expected an object",
    "dict_type": "expected an object",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "string_type": "expected a string",
    "int_type": "expected an integer",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
}
"""pydantic's name for what is wrong -> what would be right."""


def misfit(error: ValidationError) -> str:
    """The first thing that is wrong, as `key = value: what would be right`."""
    first = error.errors(include_url=False, include_context=False)[0]
    steps = [str(step) for step in first["loc"] if step is not None]
    dotted = ".".join(step if len(step) <= 80 else step[:80] + "..." for step in steps)
    if first["type"] == "missing":
        return f"{dotted}: missing"
    if first["type"] == "json_invalid":
        return first["msg"].replace("Invalid", "not valid", 1)
    value = repr(first["input"])
    shown = value if len(value) <= 80 else value[:80] + "..."
    expected = EXPECTED.get(first["type"]) or first["msg"][:1].lower() + first["msg"][1:]
    return f"{dotted} = {shown}: {expected}" if dotted else f"{shown}: {expected}"


def read_checked(kind: type[M], path: Path, remedy: str) -> M:
    """What a JSON file holds. remedy: what to do about one that is damaged.

    Raises FileNotFoundError, and BenchError with the path, the first thing that is wrong, and the remedy.
    """
    try:
        return kind.model_validate(read_json(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; check the file and its permissions") from error
    except ValidationError as error:
        raise BenchError(f"{path}: {misfit(error)}; {remedy}") from None
    except ValueError as error:
        raise BenchError(f"{path}: {error}; {remedy}") from None
