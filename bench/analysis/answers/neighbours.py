"""Latency of one model while its neighbour on the same server is sent requests, and while it is not."""

from typing import Final

import numpy as np

from bench.analysis import quantities
from bench.analysis.answers.answer import Answer, medians, times, unpaired
from bench.analysis.metrics import supported_percentile
from bench.histogram import Histogram
from bench.run import Run
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
    return [
        _compared(steady, name, other, *found)
        for name in names
        for other in names
        if name != other and (found := _seconds(steady, name, other)) is not None
    ]


def _seconds(run: Run, name: str, other: str) -> tuple[set[int], set[int]] | None:
    """The seconds in which `name` is asked and `other` is, and is not; None where it is never the one or the other."""
    asked: dict[str, dict[int, int]] = {name: {}, other: {}}
    for (key, second), tally in run.tallies.items():
        if key.name in asked:
            counts = asked[key.name]
            counts[second] = counts.get(second, 0) + tally.requests
    usual = float(np.median(list(asked[other].values())))
    busy = {s for s in asked[name] if asked[other].get(s, 0) >= BUSY * usual}
    alone = asked[name].keys() - asked[other].keys()
    return (busy, set(alone)) if min(len(busy), len(alone)) >= FEWEST else None


def _compared(run: Run, name: str, other: str, busy: set[int], alone: set[int]) -> Answer:
    by_second = medians(run, name)
    change = unpaired(
        [value for second, value in by_second.items() if second in alone],
        [value for second, value in by_second.items() if second in busy],
    )
    p99_alone, p99_busy = (_p99(run, name, seconds) for seconds in (alone, busy))
    stretches = min(_stretches(busy), _stretches(alone))
    if change is None or stretches < STRETCHES:
        verdict = "cannot be compared (the neighbour came and went too seldom to tell it from drift)"
    elif change.low > 1:
        verdict = "is slower"
    elif change.high < 1:
        verdict = "is faster"
    else:
        verdict = "shows no difference"
    text = (
        f"{name} {verdict} while {other} is asked: median latency {times(change)}, "
        f"p99 {quantities.duration(p99_busy)} instead of {quantities.duration(p99_alone)} "
        f"({counted(len(busy), 'second')} with {other} in {_stretches(busy)} stretches, {len(alone)} without in {_stretches(alone)})"
    )
    values = {
        "p50_ratio": change.value if change else None,
        "p50_ratio_low": change.low if change else None,
        "p50_ratio_high": change.high if change else None,
        "p99_alone": p99_alone,
        "p99_beside": p99_busy,
    }
    return Answer(text, values)


def _stretches(seconds: set[int]) -> int:
    """Of seconds that follow each other."""
    return sum(second - 1 not in seconds for second in seconds)


def _p99(run: Run, name: str, seconds: set[int]) -> float:
    total = Histogram()
    for second, histogram in run.series("latency", lambda key: key.name == name and key.outcome == "OK"):
        if second in seconds:
            total.merge(histogram)
    return supported_percentile(total, 99.0)
