"""The answer of a tuning: the gains of the last settings over the default, in blocks that had no part in choosing them."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from bench.analysis.statistics.intervals import ERROR_RATE, Estimate, paired
from bench.analysis.statistics.needed import trials_needed
from bench.runs.tuning import Gain, Outcome
from bench.wording import counted

TOLERANCE: Final = 0.02
"""Gains up to this are none."""
OPEN: Final = 20.0
"""Logarithm of the end of an interval beyond which it says nothing."""
FEWEST: Final = 2
"""Blocks that show how trials differ."""


class Pairs(NamedTuple):
    """A setting and the default in the same blocks."""

    setting: str
    default: list[float]
    """Scores."""
    other: list[float]
    later: list[bool]
    """Whether the default was measured before it."""
    reason: str = ""
    """Why nothing can be concluded; empty: it can."""


def confidence(finalists: int) -> float:
    """Of the interval of each of so many gains, so that all hold together (Bonferroni): the best of them is chosen afterwards."""
    return 1 - 2 * ERROR_RATE / max(1, finalists)


def gain(pairs: Pairs, finalists: int) -> Gain:
    """The gain of a setting with its interval."""
    reason = pairs.reason or _no_answer(pairs)
    if reason:
        return Gain(setting=pairs.setting, blocks=len(pairs.other), reason=reason)
    logs = [[math.log(value) for value in side] for side in (pairs.default, pairs.other)]
    estimate = paired(*logs, later=pairs.later, robust=True)
    sure, alone = confidence(finalists), confidence(1)
    together, small = (_gain(pairs.setting, estimate, each) for each in (sure, alone))
    # that none of several gains is one needs no correction: it is claimed only if it is shown of each
    if _beats(together) or not _small(small):
        needed = {} if _beats(together) else _needed(estimate, sure)
        return together.model_copy(update=needed)
    return small


def _gain(setting: str, estimate: Estimate, sure: float) -> Gain:
    low, high = estimate.interval(sure)
    return Gain(
        setting=setting,
        blocks=estimate.trials,
        ratio=math.exp(estimate.mean),
        low=math.exp(low),
        high=math.exp(high) if high < OPEN else None,
        confidence=sure,
    )


def _no_answer(pairs: Pairs) -> str:
    if len(pairs.other) < FEWEST:
        return f"{counted(len(pairs.other), 'block')} in common; {FEWEST} and more show how trials differ"
    for side, title in ((pairs.default, "the default"), (pairs.other, pairs.setting)):
        if min(side) <= 0:
            return f"{title} answered nothing in time in {sum(value <= 0 for value in side)} of {len(side)} blocks"
    return ""


def _needed(estimate: Estimate, sure: float) -> dict[str, int | None]:
    needed = trials_needed(estimate, [math.log1p(TOLERANCE)], sure)
    return {} if needed is None else {"needed_low": needed.least, "needed_high": needed.most}


def _beats(each: Gain) -> bool:
    """Whether it gains more than the tolerance for sure."""
    return each.low is not None and each.low > 1 + TOLERANCE


def _small(each: Gain) -> bool:
    """Whether it gains no more than the tolerance for sure."""
    return each.high is not None and each.high <= 1 + TOLERANCE


def best_of(gains: Sequence[Gain]) -> Gain | None:
    """The one with the highest gain; None where none is known."""
    known = [each for each in gains if each.ratio is not None]
    return max(known, key=lambda each: each.ratio or 0.0, default=None)


def outcome(gains: Sequence[Gain], limited: Mapping[str, str], default: str) -> tuple[Outcome, str]:
    """What the gains show, and why there is no answer. limited: setting -> why the load generator was its limit.

    Who waits for a slow load generator is as fast as it: a gain is then one at least, and no gain is none at all.
    """
    best = best_of(gains)
    if best is not None and _beats(best):
        return "gain", ""
    reasons = [limited[name] for name in (default, *(each.setting for each in gains)) if name in limited]
    if reasons:
        return "load generator", reasons[0]
    return ("none", "") if gains and all(map(_small, gains)) else ("undecided", "")


def limited_by_generator(limits: Collection[str]) -> str:
    """Why most of some trials show what the load generator can do; empty: they do not. limits: of each trial, or empty."""
    held = [each for each in limits if each]
    return held[0] if 2 * len(held) > len(limits) else ""
