"""What the master of another machine tells of itself (`bench.load.published`), checked before anything is done with it."""

from pathlib import PurePath
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationError

from bench.runs.jsonl import parse_json
from bench.runs.manifest import Count, Name, Part, Text, misfit

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
        raise ValueError("the name of a folder is expected")
    return name


class _Run(Part):
    name: Annotated[str, Field(max_length=250), AfterValidator(_folder_name)]
    note: Name | None = None
    finished: bool


class _Told(Part):
    scenario: Name
    options: list[Name]
    state: Name
    workers: Count | None
    runs: Annotated[list[_Run], Field(max_length=100_000)]
    refused: list[Text]


def told(raw: bytes) -> dict[str, Any]:
    """The answer to GET /bench/runs. Raises ValueError for what is none."""
    content = parse_json(raw)
    try:
        return _Told.model_validate(content).facts()
    except ValidationError as error:
        raise ValueError(misfit(error)) from None
