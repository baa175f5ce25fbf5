"""Warnings about conditions of a duet that disturb each other: their latencies are not those of each by itself."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.analysis.grouping.trials import Trial
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.statistics.intervals import ERROR_RATE, Estimate
from bench.runs.interference import TOLERANCE, Interference
from bench.runs.journal import experiment_of


def of_durations(trials: Sequence[Trial]) -> list[RunWarning]:
    """Warnings for limits in seconds: a condition is slower, or quicker, beside the other, or whether it is is not known."""
    warnings = []
    for home in _duets(trials):
        measured = Interference.read(home)
        texts = ["the two were not measured alone"] if measured is None else measured.of_durations
        warnings += [_warning(home, text) for text in texts]
    return warnings


def of_ratio(before: Sequence[Trial], after: Sequence[Trial]) -> list[RunWarning]:
    """Warnings for relative limits: the ratio of the two is another where each is alone.

    That was measured once, in two runs that follow each other, so it counts where it differs by more than TOLERANCE
    beyond what runs of the duet differ by, each pair of which met the same noise as one of these runs did.
    """
    warnings = []
    for home in _duets([*before, *after]):
        measured = Interference.read(home)
        if measured is None or not measured.of_ratio:
            continue
        logs = [
            [math.log(value) for t in side if 0 < (value := t.values["p50"]) < math.inf]
            for side in (before, after)
        ]
        freedom = sum(max(0, len(side) - 1) for side in logs)
        squares = sum(float(np.var(side)) * len(side) for side in logs if side)
        apart, beside = measured.ratios
        off = abs(math.log(beside / apart))
        error = math.sqrt(2 * squares / freedom) if freedom else 0.0
        seen = Estimate(off, error, max(freedom, 1), error, 1, "")
        if seen.p_above(math.log1p(TOLERANCE)) <= ERROR_RATE:
            warnings += [_warning(home, text) for text in measured.of_ratio]
    return warnings


def _duets(trials: Sequence[Trial]) -> list[Path]:
    """Folders of the experiments in which both conditions were asked request by request: in slices each is alone."""
    homes = {
        experiment_of(trial.path): None
        for trial in trials
        if trial.manifest.duet is not None and "slice" not in trial.manifest.duet
    }
    return [home for home in homes if home is not None]


def _warning(home: Path, text: str) -> RunWarning:
    return RunWarning("interference", f"{home.name}: {text}", "measure without --duet")
