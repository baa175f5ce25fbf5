"""Growth of latency and memory while the load stayed the same."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, independent, medians, times, unpaired, untold
from bench.analysis.statistics.distributions import stdtrit
from bench.analysis.statistics.intervals import Floats
from bench.runs.run import Run
from bench.runs.warmup import FEWEST, thinned, trend
from bench.wording import counted

CERTAIN: Final = 0.01
"""A trend is told when chance would make one like it less often."""
GROWTH: Final = 0.01
"""And when it makes a difference of so much within the run: caches fill up a little for long."""
MEGABYTE: Final = 1e6
HOURLY_SECONDS: Final = 600.0
"""What grew in less time than this is not extrapolated to an hour: caches and pools fill in the first minutes."""


def answer(run: Run) -> list[Answer]:
    """Latency of the last third of the steady part against its first, and the trend of each process's memory."""
    steady = run.steady
    series = list(medians(steady).values())
    third = len(series) // 3
    change = unpaired(series[:third], series[-third:]) if third else None
    if change is None:
        lost = "half of the requests got no answer in some seconds"
        short = f"{counted(len(series), 'second')} are too few, run longer (-t)"
        return [untold("the drift of the latency", short if all(map(math.isfinite, series)) else lost)]
    moved = "no drift found" if change.low <= 1 <= change.high else "rose" if change.value > 1 else "fell"
    answers = [
        Answer(
            f"median latency: {moved}, the last {third} seconds against the first {third} {times(change)}",
            {
                "p50_drift": change.value,
                "p50_drift_low": change.low,
                "p50_drift_high": change.high,
                "p50_growth": max(0.0, change.value - 1),
            },
        )
    ]
    return answers + [_memory(steady, source) for source in _sources(run)]


def _sources(run: Run) -> list[str]:
    """Processes whose memory was observed."""
    return list(dict.fromkeys(str(row["source"]) for row in run.telemetry if row.get("memory") is not None))


def growth(run: Run) -> Callable[[float], tuple[float, float]] | None:
    """The interval of `p50_growth` at each confidence; None: it cannot be told."""
    series = list(medians(run.steady).values())
    third = len(series) // 3
    before, after = series[:third], series[len(series) - third :]
    if unpaired(before, after) is None:
        return None

    def interval(confidence: float) -> tuple[float, float]:
        change = unpaired(before, after, confidence)
        return (
            (-math.inf, math.inf) if change is None else (max(0.0, change.low - 1), max(0.0, change.high - 1))
        )

    return interval


def memory_growth(run: Run) -> Callable[[float], tuple[float, float]] | None:
    """The interval of `memory_growth` at each confidence, of the process that grows most; None: it cannot be told."""
    steady = run.steady
    each = [np.array([memory for _, memory in _observed(steady, source)]) for source in _sources(run)]
    if not each or any(len(values) < FEWEST or not values.min() > 0 for values in each):
        return None

    def interval(confidence: float) -> tuple[float, float]:
        # of the greatest of several: each end holds for all of them together (Bonferroni)
        ends = [growth_ends(values, 1 - (1 - confidence) / len(each)) for values in each]
        return max(0.0, *(low for low, _ in ends)), max(0.0, *(high for _, high in ends))

    return interval


def growth_ends(memory: Floats, confidence: float) -> tuple[float, float]:
    """Ends of the growth over a series as a share of its beginning: of the Theil-Sen slope, by Kendall's S (Sen 1968).

    The variance of S is that of as many values as are independent (Yue and Wang 2004), and Student's t pays for how little
    so few show of it.
    """
    values = thinned(memory)
    count = len(values)
    later, earlier = np.tril_indices(count, -1)
    slopes = np.sort((values[later] - values[earlier]) / (later - earlier))
    slope = float(np.median(slopes))
    rest = values - slope * np.arange(count)
    certain = independent(rest)
    variance = count * (count - 1) * (2 * count + 5) / 18 * count / certain
    half = float(stdtrit(max(1.0, certain - 2), (1 + confidence) / 2)) * math.sqrt(variance)
    low, high = math.floor((len(slopes) - half) / 2), math.ceil((len(slopes) + half) / 2)
    over = (count - 1) / float(np.clip(np.median(rest), values.min(), values.max()))
    return (
        over * float(slopes[low]) if low >= 0 else -math.inf,
        over * float(slopes[high]) if high < len(slopes) else math.inf,
    )


def _observed(run: Run, source: str) -> list[tuple[float, float]]:
    """Instant and memory of a process, in the window of a run."""
    first, end = run.window or run.seconds
    return [
        (float(row["time"]), float(row["memory"]))
        for row in run.telemetry
        if row.get("source") == source and row.get("memory") is not None and first <= row["time"] <= end
    ]


def _memory(run: Run, source: str) -> Answer:
    rows = _observed(run, source)
    seen = trend([memory for _, memory in rows])
    if seen is None:
        text = f"memory of {source}: growth is unknown from {counted(len(rows), 'observation')}"
        return Answer(text, {"memory_growth": None})
    begun = rows[0][1]
    grown, lasting = seen.change * begun, rows[-1][0] - rows[0][0]
    certain = seen.p < CERTAIN and seen.change > GROWTH
    long_enough = lasting >= HOURLY_SECONDS
    hourly = (grown / lasting * 3600 if certain else 0.0) if long_enough else None
    calm = seen.change <= GROWTH
    growth = (
        f"grew by {formatting.significant(grown / MEGABYTE)} MB"
        if certain
        else f"no growth above {GROWTH:.0%} found"
        if calm
        else f"it varies too much: growth of {formatting.significant(grown / MEGABYTE)} MB or more is possible"
    )
    growth += f" in {lasting:.0f} s"
    if hourly:
        growth += f", {formatting.significant(hourly / MEGABYTE)} MB an hour at this rate"
    growth += f", {formatting.significant(begun / MEGABYTE)} MB after the warm-up"
    if not long_enough:
        growth += f"; whether it grows for hours cannot be estimated from less than {HOURLY_SECONDS:g} s (-t)"
    name = source.replace(" ", "_")
    return Answer(
        f"memory of {source}: {growth}",
        {
            f"{name}_memory_bytes": begun,
            f"{name}_memory_growth_per_hour": hourly,
            f"{name}_memory_trend_p": seen.p,
            "memory_growth": max(0.0, seen.change) if certain or calm else None,
        },
    )
