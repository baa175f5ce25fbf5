"""Plan and outcome of an experiment's trials, as its folder tells them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import BenchError
from bench.jsonl import json_lines

DESCRIPTION, JOURNAL = "experiment.json", "trials.jsonl"
FAILED: Final = "failed"
"""The folder of the runs of failed trials, in the experiment's."""
ASIDE: Final = (FAILED, "interrupted", "servers", "alone")
"""Folders of an experiment that hold no trial that was measured."""


@dataclass(frozen=True)
class Ended:
    """How a trial ended."""

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
    """What an experiment planned, and each end of a trial in the order in which they were written."""

    path: Path
    scenario: str
    planned: list[Planned]
    ended: list[Ended]

    @classmethod
    def read(cls, path: Path) -> "Journal":
        """Raises BenchError where the files are not those of an experiment."""
        try:
            description = json.loads((path / DESCRIPTION).read_text())
            planned = [
                Planned(int(t["number"]), int(t["block"]), dict(t["cell"])) for t in description["plan"]
            ]
            ended = [Ended(**row) for row in json_lines(path / JOURNAL)]
            scenario = Path(str(description["scenario"])).stem
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchError(
                f"{path}: {DESCRIPTION} or {JOURNAL} cannot be read ({type(error).__name__}: {error}); "
                "restore them, or name its run folders one by one"
            ) from error
        return cls(path, scenario, planned, ended)

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
        if (folder / DESCRIPTION).is_file():
            return folder
    return None
