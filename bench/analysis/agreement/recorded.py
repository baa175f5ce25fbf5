"""The agreement that an experiment's folder holds, for the runs in it."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Final

from bench.analysis.reading.cells import Cell
from bench.runs.answers import ANSWERS, Answers
from bench.runs.journal import experiment_of

AGREEMENT: Final = "agreement"


def answers_of(run: Path) -> Answers | None:
    """Of the experiment that a run is a trial of; None where no answers were compared. Raises BenchError."""
    folder = experiment_of(run)
    if folder is None:
        return None
    try:
        written = (folder / ANSWERS).stat().st_mtime_ns
    except OSError:
        return None
    return _read(folder, written)


def agreement_of(cell: Cell) -> float:
    """Share of the examples that its condition and the other one answer alike; nan: not compared."""
    if cell.run.manifest.experiment is None:
        return math.nan
    answers = answers_of(cell.run.path)
    return math.nan if answers is None else answers.agreement


@lru_cache(maxsize=16)
def _read(folder: Path, written: int) -> Answers | None:
    return Answers.read(folder)
