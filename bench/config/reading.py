"""TOML files as checked values, with one clear line for each mistake.

Every complaint names file, key, value and what is allowed; a misspelt key is answered with the nearest right one.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench import BenchError
from bench.runs.files import MIB, read_file

LARGEST: Final = MIB
"""Bytes of a file that users write by hand."""
LONGEST_NAME: Final = 200
"""Characters of a key or a value that an error shows."""
MOST_PARTS: Final = 32
_PART: Final = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY: Final = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MOST_PARTS}}}")
"""A dotted key that takes tomllib memory in proportion to the square of its length: 200 kB of it take 40 GB."""
M = TypeVar("M", bound="Table")


class Table(BaseModel):
    """A TOML table with known keys; values are not converted: "3" is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def key(default: Any, allowed: str, text: str, example: str, **limits: Any) -> Any:
    """Declare a key: its default (... for none), what is allowed, what it means, and an example in TOML.

    `limits` are pydantic's (ge, gt, min_length, pattern).
    """
    return Field(
        default, description=text, json_schema_extra={"allowed": allowed, "example": example}, **limits
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises BenchError for a file that is missing or no TOML, with line and column."""
    try:
        text = read_file(path, LARGEST).decode("utf-8-sig")
        if _LONG_KEY.search(text):
            raise BenchError(
                f"{path}: a key of more than {MOST_PARTS} parts; expected the keys of a file of this kind"
            )
        content = tomllib.loads(text)
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file{_similar_file(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BenchError(f"{path}: cannot be read ({reason}); expected a TOML file") from None
    except RecursionError:
        raise BenchError(f"{path}: lists or tables nested too deeply for a TOML file of this kind") from None
    except ValueError as error:  # tomllib's own, and int's for thousands of digits
        raise BenchError(f"{path}: not valid TOML: {error}; see https://toml.io") from None
    _check_integers(content, path)
    return content


def _check_integers(value: Any, path: Path, *steps: str) -> None:
    """Raise BenchError for an integer beyond 64 bits, which TOML does not have and numbers here cannot hold."""
    if isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            _check_integers(each, path, *steps, str(name))
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BenchError(f"{path}: {'.'.join(steps)}: an integer of {value.bit_length()} bits; at most 64")


def checked(table: type[M], content: Mapping[str, Any], file: Path, where: str = "") -> M:
    """The content as an instance of `table`; `where` is the dotted key of the table in the file.

    Raises BenchError for the first key that is unknown, missing or of a wrong value.
    """
    try:
        return table.model_validate(dict(content))
    except ValidationError as error:
        # An unknown key first: it often is the reason for a missing one. Of a value that may be a table or
        # something else, what is wrong inside the table.
        first = min(error.errors(), key=lambda each: (each["type"] != "extra_forbidden", -len(each["loc"])))
        raise BenchError(_complaint(table, first, file, where)) from None


def refusal(file: Path, dotted: str, value: Any, allowed: str) -> BenchError:
    """The complaint about a value that is of the right type and still not possible."""
    return BenchError(f"{file}: {dotted} = {_shown(value)}: {allowed}")


def unknown(file: Path, dotted: str, name: str, known: Iterable[str]) -> BenchError:
    """The complaint about a name that is none of the known ones."""
    names = sorted(known)
    return BenchError(
        f"{file}: {_short(dotted)}: unknown{nearest(name[:LONGEST_NAME], names)}; valid names: {', '.join(names)}"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean X?` where a known name is near enough, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""


def allowed_text(table: type[Table], name: str) -> str:
    """What a key may be, as its declaration says."""
    extra = table.model_fields[name].json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else ""


def _complaint(table: type[Table], error: Any, file: Path, where: str) -> str:
    steps = [*map(str, error["loc"])]
    keys = (0, len(steps) - 1 if error["type"] == "extra_forbidden" else 0)  # whatever they are called
    location = [step for place, step in enumerate(steps) if place in keys or not _is_type(step)]
    dotted = _short(".".join(filter(None, (where, *location))))
    owner, name = _declaration(table, location)
    if error["type"] == "extra_forbidden":
        names = sorted(owner.model_fields)
        near = nearest(location[-1][:LONGEST_NAME], names)
        return (
            f"{file}: {dotted} = {_shown(error['input'])}: unknown key{near}; valid keys: {', '.join(names)}"
        )
    allowed = allowed_text(owner, name) if name in owner.model_fields else str(error["msg"])
    if error["type"] == "missing":
        return f"{file}: {dotted}: missing; expected {allowed}"
    if error["type"] == "value_error":
        return f"{file}: {dotted} = {_shown(error['input'])}: {error['ctx']['error']}"
    return f"{file}: {dotted} = {_shown(error['input'])}: expected {allowed}{_example(owner, name)}"


def _example(table: type[Table], name: str) -> str:
    """`, such as` and the example of a key that holds a table or a list; of others nothing."""
    extra = table.model_fields[name].json_schema_extra if name in table.model_fields else None
    example = str(extra.get("example", "")) if isinstance(extra, dict) else ""
    return f", such as {example}" if example.startswith(("[", "{")) else ""


def _declaration(table: type[Table], location: list[str]) -> tuple[type[Table], str]:
    """The table class and its key that a location leads to."""
    owner, path = table, location
    while len(path) > 1 and (inner := _inner_table(owner, path[0])) is not None:
        owner, path = inner, path[1:]
        if path[0] not in owner.model_fields and len(path) > 1:
            path = path[1:]  # the index in a list of tables, or the name of one of several
    return owner, path[0]


def _is_type(step: str) -> bool:
    """Whether a step of a location names one type of a union, not a key of the file."""
    return "[" in step or step in _TYPES or step in {table.__name__ for table in Table.__subclasses__()}


_TYPES = {"str", "int", "float", "bool"}


def _inner_table(owner: type[Table], name: str) -> type[Table] | None:
    """The table class that a key's annotation mentions."""
    if name not in owner.model_fields:
        return None
    pending: list[Any] = [owner.model_fields[name].annotation]
    while pending:
        kind = pending.pop()
        if isinstance(kind, type) and issubclass(kind, Table):
            return kind
        pending += getattr(kind, "__args__", ())
    return None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + _short(value) + '"'
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "..."


def _similar_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    return nearest(path.name, [p.name for p in path.parent.iterdir() if p.suffix == ".toml"])
