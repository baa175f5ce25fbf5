"""The slow requests of a cell: the seconds, load processes and messages that hold them.

Histograms by second suffice for the seconds, so runs without single requests have this too; tenths of a second, in which pauses
that come every few seconds stand out, and load processes are in the single requests only, messages in the slowest of these
(`bench.runs.columns.SLOWEST`). A cell is of one model version and one batch size; connections are not recorded, and a load
process has one unless told otherwise. A second holds slow requests
where it has at least FACTOR times the share of all others and chance rarely gives so many (binomial, CHANCE for all seconds
together). They are named where they hold most of the slow requests in a small part of all: a tail that is everywhere has
no place.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import BenchError
from bench.analysis.grouping.trials import Trial, identity_of
from bench.analysis.reading.cells import Cell, by_second, cells, pool_of
from bench.analysis.reading.interruptions import MOST_ROWS
from bench.analysis.reading.population import Population
from bench.analysis.statistics.distributions import betainc
from bench.runs.columns import SLOWEST, UNKNOWN
from bench.runs.manifest import Payload
from bench.runs.run import Run
from bench.runs.samples import Requests

FACTOR: Final = 3.0
CHANCE: Final = 1e-3
MOST_HELD: Final = 0.5
"""Share of the slow requests that the named places hold at least."""
LEAST_SPREAD: Final = 0.25
"""Share of all requests that they hold at most."""
TENTHS: Final = 10
"""Of a second."""
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
    """The places of the slow requests in the trials of a cell."""

    threshold: float
    """Seconds from which on a request is slow; one without an answer is."""
    all: Held
    runs: int
    seconds: int
    """Of all runs together."""
    stretches: list[Stretch] = field(default_factory=list)
    """Empty: they are spread over the runs."""
    inside: Held = NONE
    """In the stretches, or in the tenths of a second in them."""
    tenths: int = 0
    """Tenths of a second that hold them, where whole seconds hold too many others: those of pauses that come often."""
    without: Population | None = None
    """The requests outside of the stretches."""
    workers: dict[int, Held] = field(default_factory=dict)
    """The load processes that hold them; empty: all alike, one alone, or not recorded."""
    messages: "Messages | None" = None
    """Of the pool; None: none of them hold more than others, or that is not recorded."""

    @property
    def share(self) -> float:
        """Share of the slow requests that lie in the stretches."""
        return self.inside.slow / self.all.slow if self.all.slow else 0.0

    @property
    def everywhere(self) -> bool:
        """Whether they have no place."""
        return not self.stretches and not self.workers and self.messages is None


@dataclass(frozen=True)
class Messages:
    """The messages of a pool that hold most of the slow requests of which it is known."""

    numbers: list[int]
    """In the pool, that with the most first."""
    of: int
    """Messages in the pool."""
    slow: int
    """Slow requests with these."""
    known: int
    """Slow requests of which the message is known."""


def tail_of(trials: Sequence[Trial], threshold: float) -> Tail | None:
    """Where requests of these trials are that took longer; None where no run can be read, or none is slow."""
    units: list[tuple[Path, int, Population]] = []
    workers: dict[int, Held] = {}
    messages: Counter[int] = Counter()
    pools: list[Payload] = []
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
            pools.append(pool_of(cell))
            _count(cell, threshold, workers, messages)
        except BenchError:
            continue
    held = [Held(part.count - part.within(threshold)[0], part.count) for *_, part in units]
    total = _sum(held)
    if not total.slow:
        return None
    runs = len({path for path, *_ in units})
    tail = Tail(
        threshold, total, runs, seconds, workers=_named(workers), messages=_held_by(messages, total, pools)
    )
    at = _concentrated(held)
    if not at:
        return _in_tenths(tail, trials)
    chosen = set(at)
    return replace(
        tail,
        stretches=_stretches([(units[i][0], units[i][1]) for i in at]),
        inside=_sum(held[i] for i in at),
        without=Population.sum([part for i, (*_, part) in enumerate(units) if i not in chosen]),
    )


def cell_of(trial: Trial) -> Cell | None:
    """The cell of a run that a trial is. Raises BenchError where the run cannot be read."""
    run = Run.open(trial.path)
    return next((cell for cell in cells(run) if identity_of(cell, run) == trial.identity), None)


def _sum(held: Iterable[Held]) -> Held:
    parts = list(held)
    return Held(sum(each.slow for each in parts), sum(each.requests for each in parts))


def _concentrated(held: Sequence[Held], of: int = 0) -> list[int]:
    """The places that hold slow requests, where these hold most of them and are few. of: places, some of them here as one."""
    total = _sum(held)
    if total.slow < FEWEST or len(held) < 2:
        return []
    slow, requests = (np.array([each[i] for each in held], dtype=np.float64) for i in (0, 1))
    rest = (total.slow - slow) / np.maximum(total.requests - requests, 1)
    many = slow > FACTOR * rest * requests
    # P(X >= slow) of a binomial X, by the incomplete beta function
    chance = betainc(np.maximum(slow, 1), requests - np.maximum(slow, 1) + 1, np.minimum(rest, 1.0))
    at = np.flatnonzero(many & (slow > 0) & (chance <= CHANCE / (of or len(held))))
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


def _requests_of(cell: Cell) -> Iterator[Requests]:
    """The single requests of a cell, as far as they are recorded and not too many."""
    first, end = cell.run.window or cell.run.seconds
    for part in cell.run.requests_in_parts() if cell.requests <= MOST_ROWS else ():
        if cell.name in part.names:
            yield part.where(
                (part.name == part.names.index(cell.name))
                & (part.batch == cell.batch)
                & ((part.due >= first) & (part.due < end))
                & ((part.version == (cell.version or UNKNOWN)) | (part.version == UNKNOWN))
            )


def _slow(part: Requests, threshold: float) -> NDArray[np.bool_]:
    slow: NDArray[np.bool_] = ~((part.status == 0) & (part.done - part.due <= threshold))
    return slow


def _in_tenths(tail: Tail, trials: Sequence[Trial]) -> Tail:
    """With the tenths of a second that hold the slow requests, if they do."""
    units: dict[tuple[Path, int], Held] = {}
    for trial in trials:
        try:
            cell = cell_of(trial)
            for part in () if cell is None else _requests_of(cell):
                at, number = np.unique(np.floor(part.due * TENTHS).astype(int), return_inverse=True)
                counts = [
                    np.bincount(number, weights, len(at)).astype(int)
                    for weights in (_slow(part, tail.threshold), None)
                ]
                for tenth, *held in zip(at.tolist(), *(each.tolist() for each in counts), strict=True):
                    units[trial.path, tenth] = _sum([units.get((trial.path, tenth), NONE), Held(*held)])
        except BenchError:
            continue
    places, held_in = list(units), list(units.values())
    chosen = _concentrated(held_in)
    seconds = {(path, tenth // TENTHS) for path, tenth in (places[at] for at in chosen)}
    inside = _sum(held_in[at] for at in chosen)
    return replace(tail, stretches=_stretches(list(seconds)), inside=inside, tenths=len(chosen))


def _count(cell: Cell, threshold: float, workers: dict[int, Held], messages: Counter[int]) -> None:
    """Add a cell's requests by load process, and its slow ones by message, where several are known."""
    several = len(cell.run.manifest.workers) > 1
    if not (several or (pool_of(cell).messages or 0) > 1):
        return
    for part in _requests_of(cell):
        slow = _slow(part, threshold)
        messages.update(part.message[slow & (part.message != UNKNOWN)].tolist())
        for worker in np.unique(part.worker) if several else ():
            its = part.worker == worker
            _add(workers, {int(worker): Held(int((its & slow).sum()), int(its.sum()))})


def _held_by(slow: Counter[int], all_: Held, pools: Sequence[Payload]) -> Messages | None:
    """The messages of one pool that hold most slow requests; each is sent as often as any other."""
    size = (pools[0].messages or 0) if len({pool.sha256 for pool in pools}) == 1 else 0
    known = slow.total()
    if size < 2 or 2 * known < min(all_.slow, all_.requests // SLOWEST):  # of too few it is known
        return None
    each = max(1, all_.requests // size)
    numbers = [number for number, _ in slow.most_common()]
    held = [Held(slow[number], max(each, slow[number])) for number in numbers]
    others = Held(0, max(1, each * (size - len(numbers))))
    named = [at for at in _concentrated([*held, others], size) if at < len(numbers)]
    if not named:
        return None
    return Messages([numbers[at] for at in named], size, sum(held[at].slow for at in named), known)


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
