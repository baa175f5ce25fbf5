"""Answers of the master of another machine (`bench.load.locust_glue.published`), checked before they are used."""

from pathlib import PurePath
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from bench.runs.jsonl import parse_json
from bench.runs.manifest import Amount, Count, Name, Part, Text
from bench.runs.misfit import misfit

P = TypeVar("P", bound=Part)
MOST_BYTES: Final = 16 << 20
"""Of a short answer."""


def _folder_name(name: str) -> str:
    """A name that leads nowhere else, wherever it is joined to a path."""
    if (
        not name
        or not name.isprintable()
        or name.startswith(".")
        or PurePath(name).name != name
        or "\\" in name
    ):
        raise ValueError("expected the name of a folder")
    return name


class _Run(Part):
    name: Annotated[str, Field(max_length=250), AfterValidator(_folder_name)]
    note: Name | None = None
    finished: bool


class _Overview(Part):
    scenario: Name
    options: list[Name]
    state: Name
    workers: Count | None
    runs: Annotated[list[_Run], Field(max_length=100_000)]
    refused: list[Text]


class Begun(Part):
    """The answer whether a test began."""

    success: bool
    message: Text | None = None


class _Whole(Part):
    num_requests: Count
    current_rps: Amount = 0.0
    response_time_percentile: Annotated[Amount | None, Field(alias="response_time_percentile_0.99")] = None
    """Milliseconds."""


class Statistics(Part):
    """Locust's own statistics; the last row is of all requests together."""

    stats: Annotated[list[_Whole], Field(min_length=1)]


def swarm(raw: bytes) -> Begun:
    """The answer to POST /swarm. Raises ValueError for what is none."""
    return _read(Begun, raw)


def statistics(raw: bytes) -> Statistics:
    """The answer to GET /stats/requests. Raises ValueError for what is none."""
    return _read(Statistics, raw)


def overview(raw: bytes) -> dict[str, Any]:
    """The answer to GET /bench/runs. Raises ValueError for what is none."""
    return _read(_Overview, raw).facts()


def _read(kind: type[P], raw: bytes) -> P:
    try:
        return kind.model_validate(parse_json(raw))
    except ValidationError as error:
        raise ValueError(misfit(error)) from None
