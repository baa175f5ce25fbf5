"""p99 of each tenth of a second, and from when on it counts as slow."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.analysis import formatting
from bench.runs.histogram import nearest_rank
from bench.runs.run import Run

WINDOW: Final = 0.1
"""Seconds; each window has a p99 of its own."""
SETTLING: Final = 1.0
"""Seconds at the start of a run that are no baseline."""
FACTOR: Final = 2.0
"""A window is slow when its p99 is above so many times what 19 of 20 windows of the baseline stay below."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Requests:
    """The requests of a run, in the order of their due instants, as columns."""

    due: Floats
    done: Floats
    version: NDArray[np.int64]
    """-1: none named, or not answered."""
    ok: NDArray[np.bool_]
    """Whether they were answered OK."""

    @property
    def latency(self) -> Floats:
        """Seconds; inf of what got no answer, however soon the error came: it is slower than any answer."""
        return np.where(self.ok, self.done - self.due, np.inf)


def requests_of(run: Run) -> Requests:
    """The requests of a run; none where samples were not kept. Raises BenchError."""
    frame = run.samples
    return Requests(
        frame["due"].to_numpy(np.float64),
        frame["done"].to_numpy(np.float64, na_value=np.nan),
        frame["version"].fillna(-1).to_numpy(np.int64),
        (frame["status"] == 0).fillna(False).to_numpy(np.bool_),
    )


def windows(requests: Requests, begin: float, end: float, *, answered: bool = False) -> Floats:
    """p99 of latency of each window from `begin` to `end`, in seconds; those behind the last request are left out.

    inf where more than 1 % of its requests got no answer, nan where none was due. answered: of the answered ones alone.
    """
    inside = (requests.due >= begin) & (requests.due < end)
    if answered:
        inside &= requests.ok
    latency = requests.latency[inside]
    number = ((requests.due[inside] - begin) / WINDOW).astype(np.int64)
    if not len(latency):
        return np.array([])
    cuts = np.flatnonzero(np.diff(number)) + 1
    p99s = np.full(int(number[-1]) + 1, np.nan)
    p99s[number[np.concatenate([[0], cuts])]] = [
        np.sort(part)[nearest_rank(99.0, len(part)) - 1] for part in np.split(latency, cuts)
    ]
    return p99s


def with_requests(p99s: Floats) -> Floats:
    """The windows in which requests were due."""
    return p99s[~np.isnan(p99s)]


def in_words(p99: float) -> str:
    """A p99 of windows, which is inf where it falls among requests without an answer."""
    return "not reached (no answer)" if np.isposinf(p99) else formatting.duration(p99)


def reached(p99: float) -> float | None:
    """For a program: None where a p99 falls among requests without an answer, or is not determined."""
    return p99 if np.isfinite(p99) else None


def highest(p99s: Floats) -> float:
    """The highest p99 of windows; nan of none."""
    return float(with_requests(p99s).max()) if len(with_requests(p99s)) else float("nan")


def threshold_of(baseline: Floats) -> float:
    """From which p99 on a window is slow, in seconds. baseline: p99 of windows in which all was well."""
    known = np.sort(with_requests(baseline))
    return FACTOR * float(known[nearest_rank(95.0, len(known)) - 1])
