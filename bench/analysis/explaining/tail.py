"""The slow requests of a cell: the seconds and load processes that hold them.

Histograms by second suffice for the seconds, so runs without single requests have this too; load processes are in the
single requests only. A second holds slow requests where it has at least FACTOR times the share of all others and chance
rarely gives so many (binomial, CHANCE for all seconds together). They are named where they hold most of the slow requests
in a small part of all: a tail that is everywhere has no place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from scipy.special import betainc

from bench import BenchError
from bench.analysis.grouping.trials import Trial, identity_of
from bench.analysis.reading.cells import Cell, by_second, cells
from bench.analysis.reading.interruptions import MOST_ROWS
from bench.analysis.reading.population import Population
from bench.runs.run import Run

FACTOR: Final = 3.0
CHANCE: Final = 1e-3
MOST_HELD: Final = 0.5
"""Share of the slow requests that the named places hold at least."""
LEAST_SPREAD: Final = 0.25
"""Share of all requests that they hold at most."""
FEWEST: Final = 10
"""Slow requests below which nothing is named."""


class Stretch(NamedTuple):
    """Consecutive seconds of a run that hold slow requests."""

    run: Path
    first: int
    """Second of the run."""
    last: int

    def __str__(self) -> str:
        return f"second {self.first}" if self.first == self.last else f"seconds {self.first} to {self.last}"


class Held(NamedTuple):
    """Requests of some places, slow ones and all."""

    slow: int
    requests: int


NONE: Final = Held(0, 0)


@dataclass(frozen=True)
class Tail:
    """Where the slow requests of the trials of a cell are."""

    threshold: float
    """Seconds from which on a request is slow; one without an answer is."""
    all: Held
    runs: int
    seconds: int
    """Of all runs together."""
    stretches: list[Stretch] = field(default_factory=list)
    """Empty: they are spread over the runs."""
    inside: Held = NONE
    """In the stretches."""
    without: Population | None = None
    """The requests outside of the stretches."""
    workers: dict[int, Held] = field(default_factory=dict)
    """The load processes that hold them; empty: all alike, one alone, or not recorded."""

    @property
    def share(self) -> float:
        """Share of the slow requests that lie in the stretches."""
        return self.inside.slow / self.all.slow if self.all.slow else 0.0

    @property
    def everywhere(self) -> bool:
        """Whether they have no place."""
        return not self.stretches and not self.workers


def tail_of(trials: Sequence[Trial], threshold: float) -> Tail | None:
    """Where requests of these trials are that took longer; None where no run can be read, or none is slow."""
    units: list[tuple[Path, int, Population]] = []
    workers: dict[int, Held] = {}
    seconds = 0
    for trial in trials:
        try:
            cell = cell_of(trial)
            if cell is None:
                continue
            units += [
                (trial.path, second, part)
                for second, part in by_second(cell.run, cell.keys).items()
                if part.count
            ]
            seconds += len({second for _, second in cell.run.tallies})
            _add(workers, _by_worker(cell, threshold))
        except BenchError:
            continue
    held = [Held(part.count - part.within(threshold)[0], part.count) for *_, part in units]
    total = _sum(held)
    if not total.slow:
        return None
    runs = len({path for path, *_ in units})
    tail = Tail(threshold, total, runs, seconds, workers=_named(workers))
    at = _concentrated(held)
    if not at:
        return tail
    chosen = set(at)
    return Tail(
        threshold,
        total,
        runs,
        seconds,
        stretches=_stretches([(units[i][0], units[i][1]) for i in at]),
        inside=_sum(held[i] for i in at),
        without=Population.sum([part for i, (*_, part) in enumerate(units) if i not in chosen]),
        workers=tail.workers,
    )


def cell_of(trial: Trial) -> Cell | None:
    """The cell of a run that a trial is. Raises BenchError where the run cannot be read."""
    run = Run.open(trial.path)
    return next((cell for cell in cells(run) if identity_of(cell, run) == trial.identity), None)


def _sum(held: Iterable[Held]) -> Held:
    parts = list(held)
    return Held(sum(each.slow for each in parts), sum(each.requests for each in parts))


def _concentrated(held: Sequence[Held]) -> list[int]:
    """The places that hold slow requests, where these hold most of them and are few."""
    total = _sum(held)
    if total.slow < FEWEST or len(held) < 2:
        return []
    slow, requests = (np.array([each[i] for each in held], dtype=np.float64) for i in (0, 1))
    rest = (total.slow - slow) / np.maximum(total.requests - requests, 1)
    many = slow > FACTOR * rest * requests
    # P(X >= slow) of a binomial X, by the incomplete beta function
    chance = betainc(np.maximum(slow, 1), requests - np.maximum(slow, 1) + 1, np.minimum(rest, 1.0))
    at = np.flatnonzero(many & (slow > 0) & (chance <= CHANCE / len(held)))
    inside = _sum(held[int(i)] for i in at)
    if inside.slow < MOST_HELD * total.slow or inside.requests > LEAST_SPREAD * total.requests:
        return []
    return [int(i) for i in at]


def _stretches(seconds: Sequence[tuple[Path, int]]) -> list[Stretch]:
    stretches: list[Stretch] = []
    for path, second in sorted(seconds):
        last = stretches[-1] if stretches else None
        if last is not None and last.run == path and second <= last.last + 1:
            stretches[-1] = last._replace(last=second)
        else:
            stretches.append(Stretch(path, second, second))
    return stretches


def _by_worker(cell: Cell, threshold: float) -> dict[int, Held]:
    """Requests of a cell by load process; none where the run has one only, or single requests were not kept."""
    if len(cell.run.manifest.workers) < 2 or cell.requests > MOST_ROWS:
        return {}
    first, end = cell.run.window or cell.run.seconds
    by_worker: dict[int, Held] = {}
    for frame in cell.run.sample_frames():
        version = frame["version"].fillna(-1).to_numpy(np.int64)
        due = frame["due"].to_numpy(np.float64)
        of_cell = (
            (frame["name"] == cell.name).to_numpy(np.bool_)
            & (frame["batch"] == cell.batch).to_numpy(np.bool_)
            & ((due >= first) & (due < end))
            & ((version == (cell.version or -1)) | (version == -1))
        )
        latency = frame["done"].to_numpy(np.float64, na_value=np.nan) - due
        answered = (frame["status"] == 0).fillna(value=False).to_numpy(np.bool_)
        slow = ~(answered & (latency <= threshold))
        for worker in np.unique(frame["worker"].to_numpy()[of_cell]):
            its = of_cell & (frame["worker"].to_numpy() == worker)
            _add(by_worker, {int(worker): Held(int((its & slow).sum()), int(its.sum()))})
    return by_worker


def _add(total: dict[int, Held], more: dict[int, Held]) -> None:
    for worker, held in more.items():
        total[worker] = _sum([total.get(worker, NONE), held])


def _named(workers: dict[int, Held]) -> dict[int, Held]:
    """The load processes that hold most of the slow requests and not as much of all."""
    numbers, held = list(workers), list(workers.values())
    total = _sum(held)
    if total.slow < FEWEST or len(held) < 2:
        return {}
    named = {
        number: each
        for number, each in zip(numbers, held, strict=True)
        if each.slow * (total.requests - each.requests) > FACTOR * each.requests * (total.slow - each.slow)
    }
    return named if sum(each.slow for each in named.values()) >= MOST_HELD * total.slow else {}
