"""The number of requests that a claim about a percentile needs.

The claim is "at least p % of all requests, also of those not sent, are answered within the bound". Of n requests t
took longer. The claim is made if so few would be rare, were it just about false: if a binomial variable of n trials,
each with probability 1 - p/100, is at most t with a probability of at most 1 - confidence. This is the early-stopping
rule of MLPerf LoadGen (mlcommons/inference, loadgen/early_stopping.cc), which writes n as h + t. It takes the
requests for independent; see the warnings of a run for what speaks against that.
"""

from functools import lru_cache
from typing import Final

import numpy as np

from bench.analysis.statistics.distributions import bdtr, bdtrik
from bench.runs.histogram import nearest_rank

CONFIDENCE: Final = 0.99
"""What LoadGen asks for."""


@lru_cache
def samples_needed(percentile: float, exceedances: int = 0, confidence: float = CONFIDENCE) -> int:
    """Requests, the exceedances among them, from which on the claim can be made.

    percentile: in (0, 100). Raises ValueError for a percentile, count or confidence out of range.
    """
    _check(percentile, confidence)
    if exceedances < 0:
        raise ValueError(f"{exceedances} exceedances: expected a count")
    too_few = exceedances  # as many requests as exceedances support no claim
    enough = 2 * exceedances + 2
    while not _claimable(percentile, exceedances, enough, confidence):
        too_few, enough = enough, enough * 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _claimable(percentile, exceedances, middle, confidence):
            enough = middle
        else:
            too_few = middle
    return enough


def exceedances_allowed(percentile: float, samples: int, confidence: float = CONFIDENCE) -> int | None:
    """The most requests beyond a bound with which the claim can still be made; None: not even with none.

    Raises ValueError for a percentile or confidence out of range.
    """
    _check(percentile, confidence)
    # where the probability, continued between the counts, reaches 1 - confidence; the counts below are rarer
    reached = float(bdtrik(1 - confidence, samples, 1 - percentile / 100)) if samples else 0.0
    allowed = int(np.nan_to_num(reached)) + 1
    while allowed >= 0 and not _claimable(percentile, allowed, samples, confidence):
        allowed -= 1
    return None if allowed < 0 else allowed


def supported(percentile: float, samples: int, confidence: float = CONFIDENCE) -> bool:
    """Whether so many requests can support any claim about the percentile."""
    return samples >= samples_needed(percentile, 0, confidence)


def claimable_percentile(percentile: float, samples: int, confidence: float = CONFIDENCE) -> float | None:
    """The percentile of the sample that may be claimed as the percentile of all requests; above the asked one.

    Its value is the least bound for which the claim holds: LoadGen's early-stopping estimate, for which it
    leaves out one exceedance less than allowed. None where the samples are too few: LoadGen asks for one more than
    `samples_needed` of one exceedance does. In (0, 100], to be looked up by nearest rank.
    """
    allowed = exceedances_allowed(percentile, samples, confidence)
    if allowed is None or allowed < 1:
        return None
    rank = samples - allowed + 1
    return _percentile_of_rank(rank, samples)


def _percentile_of_rank(rank: int, samples: int) -> float:
    """A percentile whose nearest rank is this one: the middle between the rank and the one before."""
    percentile = 100 * (rank - 0.5) / samples
    if nearest_rank(percentile, samples) != rank:
        raise ValueError(f"rank {rank} of {samples} cannot be given by a percentile")
    return percentile


def _claimable(percentile: float, exceedances: int, samples: int, confidence: float) -> bool:
    if exceedances >= samples:
        return False
    beyond = 1 - percentile / 100
    chance = bdtr(float(exceedances), samples, beyond) if exceedances else (1 - beyond) ** samples
    return bool(chance <= 1 - confidence + np.finfo(float).eps)


def _check(percentile: float, confidence: float) -> None:
    if not 0 < percentile < 100:
        raise ValueError(f"percentile {percentile}: expected a number between 0 and 100")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: expected a number between 0 and 1")
