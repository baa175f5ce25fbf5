"""Rates of wrong and missed comparisons on this machine.

Recorded trials of one thing are compared with each other: whatever is found is false. Then the same with a change
put into one side: whatever is not found is missed. Trials that follow each other form the pairs, as interleaved trials
of an experiment do, so drift and related noise of the real machine are in it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.judging.change import change
from bench.analysis.reading.metric import Metric
from bench.analysis.statistics import intervals

INJECTED: Final = (1.0, 1.02, 1.05, 1.10)
"""Ratios put into the candidate, to the bad side."""
PAIRS: Final = (4, 6, 10, 16)
CAMPAIGNS: Final = 1000


@dataclass(frozen=True)
class Outcomes:
    """Verdicts on many comparisons of the same kind."""

    metric: Metric
    injected: float
    pairs: int
    verdicts: Counter[str]

    @property
    def campaigns(self) -> int:
        """How many comparisons."""
        return self.verdicts.total()

    def share(self, verdict: str) -> tuple[float, float, float]:
        """Share of a verdict, and the 95 % interval of it (Clopper and Pearson)."""
        count = self.verdicts[verdict]
        return (count / self.campaigns, *intervals.proportion(count, self.campaigns, 0.95))


def replay(
    metric: str,
    values: Sequence[float],
    *,
    injected: float,
    pairs: int,
    campaigns: int = CAMPAIGNS,
    seed: int = 1,
) -> Outcomes:
    """Compare trials with their neighbours, again and again.

    values: a metric of trials of one thing, in the order in which they were run; at least 2 * pairs, better many more.
    injected: the ratio by which the candidate is made worse.
    """
    if len(values) < 2 * pairs:
        raise ValueError(f"{len(values)} trials are too few for {pairs} pairs of neighbours")
    how, rng = METRICS[metric], np.random.default_rng(seed)
    known = np.asarray(values, dtype=np.float64)
    factor = injected if how.better == "lower" else 1 / injected
    verdicts: Counter[str] = Counter()
    for _ in range(campaigns):
        first = _neighbours(len(known), pairs, rng)
        turned = rng.integers(0, 2, pairs)
        before, after = known[first + turned], known[first + 1 - turned] * factor
        verdicts[change(how, before.tolist(), after.tolist(), paired=True).verdict] += 1
    return Outcomes(how, injected, pairs, verdicts)


def simulated(trials: int, *, noise: float = 0.01, drift: float = 0.05, seed: int = 1) -> list[float]:
    """Durations of trials of a machine that drifts slowly and has this noise between trials."""
    rng = np.random.default_rng(seed)
    slow = 1 + drift * np.sin(np.linspace(0, 4 * np.pi, trials))
    return [float(value) for value in 0.002 * slow * np.exp(noise * rng.standard_normal(trials))]


def _neighbours(
    count: int, pairs: int, rng: np.random.Generator
) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """First positions of some pairs of neighbours that share no trial, drawn evenly."""
    # choosing pairs among count places without overlap is choosing places among count - pairs
    places = np.sort(rng.choice(count - pairs, pairs, replace=False))
    return (places + np.arange(pairs)).astype(np.int64)
