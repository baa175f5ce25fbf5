"""The trials of one pair of a duet, compared in short stretches of time.

One start of the servers gives one value of each side, which says nothing of its error. Both sides of a duet are measured
at the same time, so that its stretches are pairs. They are as long as it takes for neighbours not to resemble each other.
What the next start of the servers would give does not show: `compare` warns that there is one session.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bench.analysis.grouping.trials import Trial
from bench.analysis.reading.cells import Cell, cells
from bench.analysis.reading.metric import COST, GOODPUT_RATE
from bench.runs.histogram import Histogram
from bench.runs.run import Run

SHORTEST: Final = 2
"""Seconds of a stretch."""
FEWEST: Final = 5
RESEMBLANCE: Final = 0.2
"""Autocorrelation, corrected for its bias, above which stretches are made longer."""
RATES: Final = ("requests_per_second", "inferences_per_second", GOODPUT_RATE, COST)
MEDIANS: Final = ("p50", "service_p50")
"""Metrics that short stretches support."""

Values = tuple[list[float], list[float]]


def together(trial: Trial) -> tuple[str, int] | Path:
    """What trials have in common that noise of the machine meets alike: the block of an experiment, or the run."""
    return trial.block or trial.path


def equal_by_design(before: Sequence[Trial], after: Sequence[Trial], metric: str) -> bool:
    """Whether pairs of trials have equal rates because the same users of a closed loop sent to both, request by request."""
    return metric in RATES and any(_in_turn(*pair) for pair in zip(before, after, strict=True))


def _in_turn(trial: Trial, other: Trial) -> bool:
    load = trial.manifest.load
    if not load.closed or load.turns is not None:
        return False
    return trial.path == other.path or _is_duet(trial, other)


def _is_duet(first: Trial, second: Trial) -> bool:
    return (
        bool(first.manifest.duet and second.manifest.duet)
        and first.block is not None
        and first.block == second.block
    )


def of_only_pair(before: Sequence[Trial], after: Sequence[Trial], metric: str) -> Values | None:
    """A median in stretches of the same seconds, where both sides are one pair of a duet.

    None where they are more or another, the run is too short, or requests failed.
    """
    if len(before) != 1 or len(after) != 1 or metric not in MEDIANS or not _is_duet(before[0], after[0]):
        return None
    both = (before[0], after[0])
    if any(trial.requests != trial.answered for trial in both):
        return None
    kind = "service" if metric.startswith("service") else "latency"
    first, second = (_by_second(trial, kind) for trial in both)
    return stretches(first, second)


def stretches(first: Mapping[int, Histogram], second: Mapping[int, Histogram]) -> Values | None:
    """Medians of both in stretches of the seconds that both have, as short as independence allows; None: too few."""
    seconds = sorted(first.keys() & second.keys())
    length = SHORTEST
    while len(seconds) >= FEWEST * length:
        parts = [seconds[at : at + length] for at in range(0, len(seconds) - length + 1, length)]
        before, after = (
            [Histogram.sum(side[at] for at in part).percentile(50.0) for part in parts]
            for side in (first, second)
        )
        if resemblance(np.log(after) - np.log(before)) <= RESEMBLANCE:
            return before, after
        length *= 2
    return None


def resemblance(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> float:
    """Autocorrelation at lag 1, corrected for its bias (Kendall 1954)."""
    rest = values - values.mean()
    square = float(rest @ rest)
    if not square:
        return 0.0
    r = float(rest[1:] @ rest[:-1]) / square
    return r + (1 + 3 * r) / len(values)


def _by_second(trial: Trial, kind: str) -> dict[int, Histogram]:
    cell = _cell(trial)
    return dict(cell.run.series(kind, cell.keep))


def _cell(trial: Trial) -> Cell:
    run = Run.open(trial.path)
    return next(
        cell
        for cell in cells(run)
        if (cell.name, cell.version, cell.batch)
        == (trial.identity.request, trial.identity.version, trial.identity.batch)
    )
