"""Latency of one model while its neighbour on the same server is sent requests, and while it is not."""

import math
from typing import Final

import numpy as np

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, medians, times, unpaired, untold
from bench.analysis.answers.windows import in_words, reached
from bench.analysis.reading.cells import by_second
from bench.analysis.reading.population import Population
from bench.analysis.statistics.sample_size import supported
from bench.runs.run import Run
from bench.wording import counted

BUSY: Final = 0.5
"""A second is the neighbour's when it is asked at least this share of what it is asked in its median second."""
FEWEST: Final = 3
STRETCHES: Final = 2
"""Times that the neighbour has to come and go: after a single change a drift of the machine looks the same."""


def answer(run: Run) -> list[Answer]:
    """Each kind of requests in the seconds in which another one is asked against those in which it is not."""
    steady = run.steady
    names = sorted({key.name for key, _ in steady.tallies})
    answers = [
        _compared(steady, name, other, *seconds)
        for name in names
        for other in names
        if name != other and (seconds := _seconds(steady, name, other)) is not None
    ]
    reason = f"no kind of requests was sent for {FEWEST} s with another one and for {FEWEST} s without"
    return answers or [untold("the effect of a neighbour", reason)]


def _seconds(run: Run, name: str, other: str) -> tuple[set[int], set[int]] | None:
    """The seconds in which `name` is asked and `other` is, and is not; None where it is never the one or the other."""
    per_second: dict[str, dict[int, int]] = {name: {}, other: {}}
    for (key, second), tally in run.tallies.items():
        if key.name in per_second:
            counts = per_second[key.name]
            counts[second] = counts.get(second, 0) + tally.requests
    usual = float(np.median(list(per_second[other].values())))
    busy = {s for s in per_second[name] if per_second[other].get(s, 0) >= BUSY * usual}
    alone = per_second[name].keys() - per_second[other].keys()
    return (busy, set(alone)) if min(len(busy), len(alone)) >= FEWEST else None


def _compared(run: Run, name: str, other: str, busy: set[int], alone: set[int]) -> Answer:
    median = medians(run, name)
    change = unpaired(
        [value for second, value in median.items() if second in alone],
        [value for second, value in median.items() if second in busy],
    )
    due = by_second(run, {key for key, _ in run.tallies if key.name == name})
    without, beside = (Population.sum([due[s] for s in sorted(seconds)]) for seconds in (alone, busy))
    p99_alone, p99_busy = _p99(without), _p99(beside)
    answered = [_p99(Population(part.answered)) for part in (without, beside)]
    stretches = min(_stretches(busy), _stretches(alone))
    if stretches < STRETCHES:
        verdict = "cannot be compared (the neighbour came and went too seldom to separate it from drift)"
    elif change is None:
        verdict = "cannot be compared (half of its requests got no answer in some seconds)"
    elif change.low > 1:
        verdict = "is slower"
    elif change.high < 1:
        verdict = "is faster"
    else:
        verdict = "shows no difference"
    text = (
        f"{name} {verdict} while {other} is under load: median latency {times(change)}, "
        f"p99 {in_words(p99_busy)} instead of {in_words(p99_alone)} without an interval "
        f"({counted(len(busy), 'second')} with {other} in {_stretches(busy)} stretches, {len(alone)} without in {_stretches(alone)})"
    )
    if without.unanswered or beside.unanswered:
        text += (
            f"; p99 of the answered requests alone {formatting.duration(answered[1])} instead of "
            f"{formatting.duration(answered[0])}"
        )
    values = {
        "p50_ratio": change.value if change else None,
        "p50_ratio_low": change.low if change else None,
        "p50_ratio_high": change.high if change else None,
        "p99_alone": reached(p99_alone),
        "p99_beside": reached(p99_busy),
        "answered_p99_alone": reached(answered[0]),
        "answered_p99_beside": reached(answered[1]),
    }
    return Answer(text, values)


def _stretches(seconds: set[int]) -> int:
    """Of seconds that follow each other."""
    return sum(second - 1 not in seconds for second in seconds)


def _p99(requests: Population) -> float:
    """nan where there are too few requests for it, or it is not determined."""
    return requests.percentile(99.0) if supported(99.0, requests.count) else math.nan
