"""The functions of the public Python API: `bench.load_runs` and `bench.compare`."""

import os
from collections.abc import Iterable
from pathlib import Path

from bench import BenchError
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.compare import Comparisons
from bench.analysis.judging.compare import compare as compare_trials
from bench.runs.run import Run, Unreadable, find_runs

Folder = str | os.PathLike[str]


def load_runs(*folders: Folder) -> list[Run]:
    """The runs in these folders and below.

    Raises BenchError where there is none, or where a folder of a run cannot be read.
    """
    runs = []
    for found in find_runs([Path(folder) for folder in folders]):
        if isinstance(found, Unreadable):
            raise BenchError(found.reason)
        if isinstance(found, Run):
            runs.append(found)
    if not runs:
        raise BenchError(f"{', '.join(map(str, folders)) or 'no folder'}: no run in it")
    return runs


def compare(baseline: Folder | Iterable[Run], candidate: Folder | Iterable[Run], *by: str) -> Comparisons:
    """The changes from the trials of one side to those of the other, as `bench compare` judges them.

    by: what may differ between the sides, such as "version"; see `bench compare --help`. Raises BenchError where
    nothing can be compared.
    """
    sides = [
        read_trials(load_runs(side) if isinstance(side, str | os.PathLike) else side).trials
        for side in (baseline, candidate)
    ]
    return compare_trials(*sides, by=by)
