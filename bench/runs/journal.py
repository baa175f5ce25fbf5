"""Plan and outcome of an experiment's trials, as its folder tells them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, Field

from bench import BenchError
from bench.runs.manifest import Cell, Integer, Name, Part, Text
from bench.runs.misfit import read_checked
from bench.runs.rows import rows

DESCRIPTION, JOURNAL = "experiment.json", "trials.jsonl"
RUNNING, COMPLETE, INTERRUPTED = "running", "complete", "interrupted"
DECIDED, OUT_OF_TIME = "decided", "out of time"
"""States of an experiment: the last two have ended before their plan because enough was known, or a time budget was spent."""
FAILED: Final = "failed"
"""The folder of the runs of failed trials, in the experiment's."""
_REMEDY: Final = "restore it, or name its run folders one by one"
ASIDE: Final = (FAILED, "interrupted", "servers", "alone")
"""Folders of an experiment that hold no trial that was measured."""


def _beside(folder: str) -> str:
    """A path within the experiment's folder: the journal may be somebody else's."""
    if not folder or Path(folder).is_absolute() or ".." in Path(folder).parts or "\0" in folder:
        raise ValueError("expected a folder below the experiment's")
    return folder


class _Trial(Part):
    number: Integer
    block: Integer
    cell: Cell


class Description(Part):
    """The plan of an experiment."""

    scenario: Text
    state: Name | None = None
    plan: Annotated[list[_Trial], Field(max_length=100_000)]


class _Row(Part):
    number: Integer
    outcome: Name
    reason: Text | None
    folder: Annotated[str, AfterValidator(_beside)] | None


@dataclass(frozen=True)
class Ended:
    """The end of a trial."""

    number: int
    outcome: str
    """`measured` or `failed`."""
    reason: str | None
    folder: str | None
    """Its run folder, relative to the experiment's."""


class Planned(NamedTuple):
    """A trial of the plan."""

    number: int
    block: int
    cell: Mapping[str, Any]
    """server, build, model, version, batch and load."""


@dataclass(frozen=True)
class Journal:
    """The plan of an experiment, and each end of a trial in the order in which they were written."""

    path: Path
    scenario: str
    planned: list[Planned]
    ended: list[Ended]
    state: str | None = None
    """How the experiment ended, or that it runs; None: written before this was noted."""

    @classmethod
    def read(cls, path: Path) -> "Journal":
        """Raises BenchError where the files are not those of an experiment."""
        try:
            description = read_checked(Description, path / DESCRIPTION, _REMEDY)
        except FileNotFoundError as error:
            raise BenchError(f"{path / DESCRIPTION}: {error.strerror}; {_REMEDY}") from error
        planned = [
            Planned(trial.number, trial.block, trial.cell.model_dump(exclude_unset=True))
            for trial in description.plan
        ]
        return cls(path, Path(description.scenario).stem, planned, cls.rows(path), description.state)

    @staticmethod
    def rows(path: Path) -> list[Ended]:
        """How trials ended, in the order of the lines in an experiment's folder. Raises BenchError."""
        return [Ended(row.number, row.outcome, row.reason, row.folder) for row in rows(path / JOURNAL, _Row)]

    @property
    def unplanned(self) -> list[Ended]:
        """Failed trials that stand in no plan: of what they are evidence is not known."""
        planned = {trial.number for trial in self.planned}
        return [end for end in self.ended if end.outcome != "measured" and end.number not in planned]

    @property
    def failed(self) -> list[tuple[Planned, Ended]]:
        """Every failed attempt: a trial that was run again later has failed all the same."""
        by_number = {trial.number: trial for trial in self.planned}
        return [
            (by_number[end.number], end)
            for end in self.ended
            if end.outcome != "measured" and end.number in by_number
        ]


def experiment_of(run: Path) -> Path | None:
    """The folder of the experiment that a run folder lies in, also as a failed trial; None: in none."""
    parent = run.absolute().parent
    for folder in (parent, parent.parent if parent.name in ASIDE else parent):
        if os.path.lexists(folder / DESCRIPTION):
            return folder
    return None
