"""How slow were requests in each tenth of a second, and from when on is that slow?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.histogram import nearest_rank
from bench.run import Run

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

    @property
    def latency(self) -> Floats:
        """Seconds; nan of what was not answered."""
        return self.done - self.due


def requests_of(run: Run) -> Requests:
    """The requests of a run; none where samples were not kept. Raises BenchError."""
    frame = run.samples
    return Requests(
        frame["due"].to_numpy(np.float64),
        frame["done"].to_numpy(np.float64, na_value=np.nan),
        frame["version"].fillna(-1).to_numpy(np.int64),
    )


def windows(requests: Requests, begin: float, end: float) -> Floats:
    """p99 of latency of each whole window from `begin` to `end` that has answers, in seconds."""
    inside = (requests.due >= begin) & (requests.due < end) & np.isfinite(requests.done)
    latency = requests.latency[inside]
    number = ((requests.due[inside] - begin) / WINDOW).astype(np.int64)
    cuts = np.flatnonzero(np.diff(number)) + 1
    parts = np.split(latency, cuts) if len(latency) else []
    return np.array([np.sort(part)[nearest_rank(99.0, len(part)) - 1] for part in parts])


def threshold_of(baseline: Floats) -> float:
    """From which p99 on a window is slow, in seconds. baseline: p99 of windows in which all was well."""
    return FACTOR * float(np.sort(baseline)[nearest_rank(95.0, len(baseline)) - 1])
