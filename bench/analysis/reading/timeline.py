"""Rate and latency of a run over its time."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bench.analysis.reading.cells import SERVER_MACHINE, cpu_steps, observations
from bench.analysis.reading.metric import supported_percentile
from bench.analysis.reading.population import Population
from bench.analysis.statistics.sample_size import samples_needed
from bench.runs.chunk import Key
from bench.runs.histogram import Floats, Ints, Sparse, added, bucket, nanoseconds
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT

WIDTHS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds that may be drawn as one point."""
MOST_POINTS: Final = 240
FEWEST_POINTS: Final = 15
HEAT_ROWS: Final = 60


@dataclass(frozen=True)
class Timeline:
    """Rates and latencies by interval; latencies of the requests answered OK, in the second they were due."""

    starts: Floats
    """Seconds of the run at which the intervals begin."""
    width: int
    """Seconds in each."""
    answered: Floats
    """Requests answered OK per second."""
    failed: Floats
    """Requests not answered OK, per second."""
    p50: Floats
    """Seconds; nan where an interval has too few answers."""
    p99: Floats
    heat_edges: Floats
    """Latencies that bound the rows of `heat`, in seconds, equal steps on a logarithmic scale."""
    heat: Ints
    """Answers by row of latency and interval."""
    warm_up: float
    """Seconds of the run that its steady part leaves out."""
    events: list[dict[str, Any]]
    cores: dict[str, tuple[list[float], list[float]]]
    """Instants and cores kept busy until then, of the server (or its machine) and of the load processes together."""


def timeline(run: Run) -> Timeline:
    """The whole run, its warm-up included, in at most MOST_POINTS intervals. Raises BenchError."""
    whole = run.within(*run.seconds)
    first, end = run.seconds
    counts = {True: np.zeros(end - first), False: np.zeros(end - first)}
    for (key, second), tally in whole.tallies.items():
        if key.outcome != CANCELLED_BY_CLIENT:
            counts[key.outcome == "OK"][second - first] += tally.requests
    width = _width(counts[True])
    starts = np.arange(first, max(end, first + 1), width, dtype=np.float64)
    lengths = np.minimum(starts + width, max(first + whole.duration, first + 1e-9)) - starts
    p50, p99 = np.full(len(starts), np.nan), np.full(len(starts), np.nan)
    edges = _heat_edges(whole)
    rows = bucket(nanoseconds(edges))
    heat = np.zeros((HEAT_ROWS, len(starts)), dtype=np.int64)
    for at, answers in _intervals(whole, first, width).items():
        p50[at], p99[at] = (supported_percentile(Population(answers), q) for q in (50.0, 99.0))
        up_to = np.searchsorted(answers.indices, rows, side="right")
        below = np.concatenate(([0], np.cumsum(answers.counts)))[up_to]
        heat[:, at] = np.diff(below)
        heat[0, at] += below[0]
    return Timeline(
        starts=starts,
        width=width,
        answered=_per_second(counts[True], width, lengths),
        failed=_per_second(counts[False], width, lengths),
        p50=p50,
        p99=p99,
        heat_edges=edges,
        heat=heat,
        warm_up=first + run.warm_up.seconds if run.warm_up.seconds else 0.0,
        events=run.events,
        cores=_cores(whole),
    )


def _cores(run: Run) -> dict[str, tuple[list[float], list[float]]]:
    by_process: dict[str, tuple[list[float], list[float]]] = {}
    server = ("server", "server") if observations(run, "server") else (SERVER_MACHINE, "server's machine")
    for source, name in (server, ("worker", "load")):
        by_instant: dict[float, float] = {}
        for rows in observations(run, source).values():
            for begun, ended, spent in cpu_steps(rows):
                at = round(ended)
                by_instant[at] = by_instant.get(at, 0.0) + spent / (ended - begun)
        if len(by_instant) > 1:
            by_process[name] = (sorted(by_instant), [by_instant[at] for at in sorted(by_instant)])
    return by_process


def _width(answered: Floats) -> int:
    """As few seconds as let an interval support a p99, without making the points too few or too many."""
    usual = float(np.median(answered)) if len(answered) else 0.0
    for width in WIDTHS:
        points = len(answered) / width
        if points <= MOST_POINTS and (usual * width >= samples_needed(99) or points < 2 * FEWEST_POINTS):
            return width
    return WIDTHS[-1]


def _intervals(run: Run, first: int, width: int) -> dict[int, Sparse]:
    """By number of each interval that has answers, in order, how long they took."""
    parts: dict[int, list[Sparse]] = {}
    log = run.log.select(lambda interval: interval.kind == "latency" and _answered(interval.key))
    for second, histogram in log.sparse_by_second().items():
        parts.setdefault((second - first) // width, []).append(histogram)
    return {at: added(histograms) for at, histograms in parts.items()}


def _answered(key: Key) -> bool:
    return key.outcome == "OK"


def _per_second(counts: Floats, width: int, lengths: Floats) -> Floats:
    padded = np.zeros(len(lengths) * width)
    padded[: len(counts)] = counts
    sums: Floats = padded.reshape(-1, width).sum(axis=1)
    # the rate in a last part of an interval says little
    return np.where(lengths > width / 2, sums / np.maximum(lengths, 1e-9), np.nan)


def _heat_edges(run: Run) -> Floats:
    total = Population(run.sparse("latency", _answered))
    low, high = (total.percentile(q) if total.count else value for q, value in ((0, 1e-4), (100, 1.0)))
    low = max(low * 0.9, 1e-6)
    edges: Floats = np.geomspace(low, max(high * 1.1, low * 2), HEAT_ROWS + 1)
    return edges
