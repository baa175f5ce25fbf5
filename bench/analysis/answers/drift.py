"""Growth of latency and memory while the load stayed the same."""

import math
from collections.abc import Callable
from typing import Final

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, medians, times, unpaired, untold
from bench.runs.run import Run
from bench.runs.warmup import trend
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
    found = [
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
    sources = dict.fromkeys(str(row["source"]) for row in run.telemetry if row.get("memory") is not None)
    return found + [_memory(steady, source) for source in sources]


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


def _memory(run: Run, source: str) -> Answer:
    first, end = run.window or run.seconds
    rows = [
        (float(row["time"]), float(row["memory"]))
        for row in run.telemetry
        if row.get("source") == source and row.get("memory") is not None and first <= row["time"] <= end
    ]
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
    told = (
        f"grew by {formatting.significant(grown / MEGABYTE)} MB"
        if certain
        else f"no growth above {GROWTH:.0%} found"
        if calm
        else f"it varies too much: growth of {formatting.significant(grown / MEGABYTE)} MB or more is possible"
    )
    told += f" in {lasting:.0f} s"
    if hourly:
        told += f", {formatting.significant(hourly / MEGABYTE)} MB an hour at this rate"
    told += f", {formatting.significant(begun / MEGABYTE)} MB after the warm-up"
    if not long_enough:
        told += f"; whether it grows for hours cannot be estimated from less than {HOURLY_SECONDS:g} s (-t)"
    name = source.replace(" ", "_")
    return Answer(
        f"memory of {source}: {told}",
        {
            f"{name}_memory_bytes": begun,
            f"{name}_memory_growth_per_hour": hourly,
            f"{name}_memory_trend_p": seen.p,
            "memory_growth": max(0.0, seen.change) if certain or calm else None,
        },
    )
