"""Rows of a run folder's files of JSON lines, checked and typed: the files may be anybody's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from bench import BenchError
from bench.runs.files import read_file
from bench.runs.jsonl import DAMAGED, LARGEST, MOST_ROWS
from bench.runs.manifest import Count, Instant, Name, Part, Text
from bench.runs.misfit import misfit
from bench.runs.sample import LONGEST_RUN

Version = Annotated[int, Field(ge=0, lt=2**63)]
Outcome = Annotated[str, Field(max_length=200)]


class Counted(Part):
    """Requests of one key in one second of the run."""

    second: Annotated[int, Field(ge=0, le=LONGEST_RUN)]
    name: Name
    version: Version | None
    batch: Annotated[int, Field(ge=0, le=2**31)]
    outcome: Outcome
    requests: Count
    examples: Count
    checked: Count
    correct: Count
    mismatched: Count


class Failure(Part):
    """The number of requests that failed with a text."""

    name: Name
    outcome: Outcome
    text: Text
    count: Count


class Event(Part):
    """An event at an instant of the run."""

    time: Instant
    kind: Name
    text: Text = ""
    version: Version | None = None
    lasting: Annotated[float, Field(ge=0, le=LONGEST_RUN)] | None = None
    """Seconds from then on."""


class Observation(Part):
    """A source's observation at an instant of the run: numbers by name."""

    __pydantic_extra__: dict[str, Annotated[float, Field(ge=-1e18, le=1e18)] | None]
    time: Instant
    source: Name | None = None
    worker: Name | None = None


R = TypeVar("R", bound=Part)


def rows(path: Path, kind: type[R]) -> Iterator[R]:
    """The rows of a file, without a last one that has no end; a missing file has none. Raises BenchError."""
    try:
        raw = read_file(path, LARGEST)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; check the file and its permissions") from error
    validate = kind.model_validate_json
    for number, line in enumerate(raw[: raw.rfind(b"\n") + 1].split(b"\n")[:-1], 1):
        if number > MOST_ROWS:
            raise BenchError(f"{path}: more than {MOST_ROWS:,} lines, the maximum; {DAMAGED}")
        try:
            yield validate(line)
        except ValidationError as error:
            raise BenchError(f"{path}:{number}: {misfit(error)}; {DAMAGED}") from None


def plain_rows(path: Path, kind: type[Part]) -> list[dict[str, Any]]:
    """The same as dictionaries of what each row tells."""
    return [row.model_dump(exclude_unset=True) for row in rows(path, kind)]
