"""Accuracy, agreement and latency of versions that got the same examples in turn."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bench.analysis import formatting
from bench.analysis.answers.answer import CONFIDENCE, Answer, Interval, medians, ratio, times, untold
from bench.analysis.statistics.distributions import ndtri
from bench.runs.choices import UNSEEN, Choices, Ints
from bench.runs.run import Run


class Pair(NamedTuple):
    """Two models' classes of the examples that both were asked for."""

    examples: int
    right_before: int
    right_after: int
    only_before: int
    """Examples that the first alone has right."""
    only_after: int
    same: int
    """Examples given the same class by both, right or wrong."""


def answer(run: Run) -> list[Answer]:
    """Each kind of requests against the first one."""
    choices = Choices.of_run(run.path)
    if choices is None or len(choices.chosen) < 2:
        reason = (
            "the answers to each example were not recorded"
            if choices is None
            else "only one kind of requests was answered"
        )
        return [untold("the gain in accuracy", reason)]
    first, *others = choices.chosen
    return [_compared(run, choices, first, other) for other in others]


def compare(labels: Ints, before: Ints, after: Ints) -> Pair:
    """Counts over the examples that were answered by both; arrays [examples]."""
    both = (before != UNSEEN) & (after != UNSEEN)
    labels, before, after = labels[both], before[both], after[both]
    was, is_ = before == labels, after == labels
    counts = (was, is_, was & ~is_, is_ & ~was, before == after)
    return Pair(len(labels), *(int(np.count_nonzero(each)) for each in counts))


def least_gap(run: Run) -> Callable[[float], tuple[float, float]] | None:
    """The interval of `accuracy_gap` at each confidence, of the version that gains least; None: it cannot be told."""
    choices = Choices.of_run(run.path)
    if choices is None or len(choices.chosen) < 2:
        return None
    first, *others = choices.chosen
    pairs = [compare(choices.labels, choices.chosen[first], choices.chosen[other]) for other in others]
    if not all(pair.examples for pair in pairs):
        return None
    least = min(pairs, key=lambda pair: gap(pair).value)
    return lambda confidence: gap(least, confidence)[1:3]


def gap(pair: Pair, confidence: float = CONFIDENCE) -> Interval:
    """Difference of two accuracies on the same examples (after - before), with its interval.

    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine
    24 (2005): half an example is added to each cell of the table.
    """
    n = pair.examples + 2
    more, less = pair.only_after + 0.5, pair.only_before + 0.5
    middle = (more - less) / n
    margin = float(ndtri((1 + confidence) / 2)) * math.sqrt((more + less) - (more - less) ** 2 / n) / n
    value = (pair.only_after - pair.only_before) / pair.examples if pair.examples else math.nan
    return Interval(value, middle - margin, middle + margin)


def _compared(run: Run, choices: Choices, first: str, other: str) -> Answer:
    pair = compare(choices.labels, choices.chosen[first], choices.chosen[other])
    if not pair.examples:
        return Answer(f"{other} against {first}: no example was answered by both", {})
    difference = gap(pair)
    speed = ratio(medians(run.steady, first), medians(run.steady, other))
    was, is_ = pair.right_before / pair.examples, pair.right_after / pair.examples
    agreed = pair.same / pair.examples
    if difference.low <= 0 <= difference.high:
        verdict = "no difference in accuracy found"
    else:
        verdict = f"{'more' if difference.value > 0 else 'less'} accurate"
    text = (
        f"{other} against {first}, on the same {pair.examples:,} examples: {verdict}, {is_:.4f} against {was:.4f}: "
        f"{difference.value:+.4f} (95 %: {difference.low:+.4f} to {difference.high:+.4f}); same class for {formatting.share(agreed)} "
        f"of them; median latency {times(speed)}, called in turn by the same users: their requests per second are equal by design"
    )
    values = {
        "examples": float(pair.examples),
        "accuracy_gap": difference.value,
        "accuracy_gap_low": difference.low,
        "accuracy_gap_high": difference.high,
        "agreement": agreed,
        "p50_ratio": speed.value if speed else None,
        "p50_ratio_low": speed.low if speed else None,
        "p50_ratio_high": speed.high if speed else None,
    }
    return Answer(text, values)
