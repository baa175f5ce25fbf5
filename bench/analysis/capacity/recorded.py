"""The capacity that an experiment's folder holds, for the runs in it."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Final

from bench.analysis.reading.cells import Cell
from bench.runs.capacity import CAPACITY as FILE
from bench.runs.capacity import Capacity, ConditionCapacity, Ratio
from bench.runs.journal import experiment_of
from bench.runs.manifest import Manifest

CAPACITY: Final = "capacity"
CAPACITY_RATIO: Final = "capacity_ratio"
SEARCHED: Final = (CAPACITY, CAPACITY_RATIO)
"""Names of the metrics that a search gives for all its levels together."""


def condition_of(run: Path, manifest: Manifest) -> ConditionCapacity | None:
    """What was found for the condition that a run is a level of; None where it is of no search. Raises BenchError."""
    return _of_run(run, manifest)[1]


def ratio_of(run: Path, manifest: Manifest) -> Ratio | None:
    """How many times the load of the condition that a search compares it with; None where it is compared with none."""
    whole, condition = _of_run(run, manifest)
    if whole is None or condition is None:
        return None
    return next((each for each in whole.ratios if each.after == condition.title), None)


def _of_run(run: Path, manifest: Manifest) -> tuple[Capacity | None, ConditionCapacity | None]:
    folder = experiment_of(run)
    if folder is None or manifest.experiment is None:
        return None, None
    try:
        written = (folder / FILE).stat().st_mtime_ns
    except OSError:
        return None, None
    searched, cell = _read(folder, written), manifest.experiment.cell
    for condition in searched.conditions if searched else []:
        # the version is that of the answers, where none was requested
        if (condition.server, condition.model, condition.batch) == (cell.server, cell.model, cell.batch) and (
            cell.version in (None, condition.version)
        ):
            return searched, condition
    return searched, None


def capacity_of(cell: Cell) -> float:
    """Requests per second that its condition sustains; nan: not searched, or no answer."""
    condition = condition_of(cell.run.path, cell.run.manifest)
    return math.nan if condition is None or condition.capacity is None else condition.capacity.value


def capacity_ratio_of(cell: Cell) -> float:
    """By the capacity of the condition that it was compared with; nan: with none, or no answer."""
    ratio = ratio_of(cell.run.path, cell.run.manifest)
    return math.nan if ratio is None else ratio.value


@lru_cache(maxsize=16)
def _read(folder: Path, written: int) -> Capacity | None:
    return Capacity.read(folder)
