"""All requests that were due, by how long they took or what became of them.

Percentiles, limits and goodput are over these, not over the answered ones: a request that failed, timed out or was never
sent is slower than any answer. One that this client cancelled is known to have taken longer than it had waited, no more:
so what rests on it has two bounds, and is determined where they agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from bench.runs.histogram import EMPTY, Ints, Sparse, added, bucket, highest_ns, nanoseconds, nearest_rank

TOO_FEW: Final = "too few samples"
NOT_REACHED: Final = "not reached"
NOT_DETERMINED: Final = "not determined"
NOT_MEASURED: Final = "not measured"


class Reason(NamedTuple):
    """The reason why there is no number."""

    reason: str
    """One of the names above."""
    text: str


@dataclass(frozen=True)
class Population:
    """Requests that were due, by latency (or, without those never sent, by service time)."""

    answered: Sparse
    """Durations of the requests answered OK."""
    mismatched: Sparse | None = EMPTY
    """Latencies of those among them whose answer was wrong; None: recorded before they were told apart."""
    cancelled: Sparse = EMPTY
    """How long those had waited that this client cancelled."""
    lost: int = 0
    """Requests without an answer: failed, timed out or never sent."""

    @cached_property
    def count(self) -> int:
        """Requests in all."""
        return int(self.answered.counts.sum()) + int(self.cancelled.counts.sum()) + self.lost

    @property
    def unanswered(self) -> int:
        """Requests without an answer, those that this client cancelled among them."""
        return self.lost + int(self.cancelled.counts.sum())

    def of_rank(self, rank: int) -> tuple[float, float]:
        """Bounds in seconds of the duration of a rank, from 1; infinite among the requests without an answer.

        The least it can be: all cancelled requests were about to be answered; the most: none ever would have been.
        """
        return _of_rank(self._least, rank), _of_rank(self._most, rank)

    def bounds(self, q: float) -> tuple[float, float]:
        """Bounds of the q-th percentile by nearest rank; nan of no requests."""
        return self.of_rank(nearest_rank(q, self.count)) if self.count else (math.nan, math.nan)

    def percentile(self, q: float) -> float:
        """The q-th percentile in seconds.

        inf where it falls among requests without an answer, nan where it is not determined or there are no requests.
        """
        low, high = self.bounds(q)
        return low if low == high else math.nan

    def within(self, seconds: float) -> tuple[int, int]:
        """The least and the most requests that were answered within so many seconds (to a bucket's width, 0.1 %)."""
        answered = up_to(self.answered, seconds)
        return answered, answered + up_to(self.cancelled, seconds)

    def right_within(self, seconds: float) -> tuple[int, int] | None:
        """The same of those answered rightly; None where wrong answers are not told apart."""
        if self.mismatched is None:
            return None
        wrong = up_to(self.mismatched, seconds)
        least, most = self.within(seconds)
        return least - wrong, most - wrong

    def why_not(self, q: float) -> Reason:
        """Why a percentile that is inf or nan is no number."""
        if not self.count:
            return Reason(NOT_MEASURED, "no request was due")
        if self.bounds(q)[0] == math.inf:
            return Reason(NOT_REACHED, f"not reached: {percent(self.lost / self.count)} got no answer")
        share = percent(int(self.cancelled.counts.sum()) / self.count)
        return Reason(
            NOT_DETERMINED,
            f"not determined: {share} were cancelled by the load generator, some of them earlier",
        )

    @cached_property
    def _least(self) -> tuple[Ints, Ints]:
        """Buckets, and how many requests lie up to each, with cancelled ones at the time that they had waited."""
        return _cumulated(added([self.answered, self.cancelled]))

    @cached_property
    def _most(self) -> tuple[Ints, Ints]:
        return _cumulated(self.answered)

    @classmethod
    def sum(cls, parts: Sequence["Population"]) -> "Population":
        """The requests of all parts together."""
        wrong = [part.mismatched for part in parts if part.mismatched is not None]
        return cls(
            added([part.answered for part in parts]),
            added(wrong) if len(wrong) == len(parts) else None,
            added([part.cancelled for part in parts]),
            sum(part.lost for part in parts),
        )


def percent(share: float) -> str:
    """A share such as `1.2 %`, with two digits."""
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %" if share == 1 else ">99 %"


def _cumulated(part: Sparse) -> tuple[Ints, Ints]:
    return part.indices, np.cumsum(part.counts)


def _of_rank(cumulated: tuple[Ints, Ints], rank: int) -> float:
    indices, counts = cumulated
    at = int(np.searchsorted(counts, rank))
    return float(highest_ns(indices[at : at + 1])[0]) / 1e9 if at < len(indices) else math.inf


def up_to(part: Sparse, seconds: float) -> int:
    """How many lie in buckets up to the one of this duration, which may be inf."""
    if seconds == math.inf:
        return int(part.counts.sum())
    last = int(bucket(nanoseconds([seconds]))[0])
    return int(part.counts[: np.searchsorted(part.indices, last, side="right")].sum())
