"""Drawing of a searched capacity: the levels, the service level and the interval."""

from collections.abc import Callable, Iterator
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.analysis.formatting import share, tick
from bench.analysis.showing.plot import BAD, SERIES, SHADE, Picture, time_axis
from bench.runs.capacity import Capacity, ConditionCapacity, MeasuredLevel

LEAST_SHARE: Final = 1e-4
"""Where levels without a miss are drawn."""
_POINTS: Final = {
    "req/s": "a level of the offered rate",
    "users": "a number of users that wait for their answers",
}
_BANDS: Final = {"req/s": "the capacity", "users": "the fewest users that are enough"}
PANEL: Final = 2.6
"""Inches of a panel."""


def capacity_pictures(capacity: Capacity, name: str) -> Iterator[Picture]:
    """One for each condition that has levels."""
    for number, condition in enumerate(capacity.conditions, 1):
        if condition.levels:
            several = f"-{number}" if len(capacity.conditions) > 1 else ""
            caption = (
                f"{condition.title}: each point is {_POINTS[capacity.counted]}; the dashed lines are the service level "
                f"({capacity.service_level}), the band is the interval of {_BANDS[capacity.counted]} ({capacity.confidence:.0%})."
            )
            yield Picture(f"{name}{several}", caption, _levels(condition, capacity), 2 * PANEL)


def _levels(condition: ConditionCapacity, capacity: Capacity) -> Callable[[Figure], None]:
    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True)
        levels = sorted(condition.levels, key=lambda level: level.rate)
        answered = [level for level in levels if level.percentile is not None]
        _points(upper, answered, [level.percentile or 0.0 for level in answered], capacity)
        upper.axhline(capacity.within, color=BAD, linestyle="--", linewidth=1)
        upper.set_yscale("log")
        time_axis(upper)
        upper.set_title(f"p{100 * capacity.share:g} of latency")
        missed = [max(LEAST_SHARE, level.missed / max(1, level.requests)) for level in levels]
        _points(lower, levels, missed, capacity)
        lower.axhline(1 - capacity.share, color=BAD, linestyle="--", linewidth=1)
        lower.set_yscale("log")
        lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value)))
        lower.minorticks_off()
        lower.set_title("requests that missed the service level")
        lower.set_xlabel("users" if capacity.counted == "users" else "offered requests per second")
        if capacity.counted == "users":
            lower.set_xscale("log", base=2)
        lower.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        for axes in (upper, lower):
            _interval(axes, condition)

    return draw


def _points(axes: Axes, levels: list[MeasuredLevel], values: list[float], capacity: Capacity) -> None:
    """Levels that keep the service level are filled."""
    passed = [level.missed <= (1 - capacity.share) * level.requests for level in levels]
    rates = [level.rate if level.users is None else level.users for level in levels]
    axes.scatter(
        rates,
        values,
        s=22,
        facecolors=[SERIES[0] if each else "none" for each in passed],
        edgecolors=[SERIES[0] if each else BAD for each in passed],
        linewidths=1.2,
        zorder=3,
    )


def _interval(axes: Axes, condition: ConditionCapacity) -> None:
    interval, knee = condition.capacity, condition.knee
    if interval is not None and interval.high is not None:
        axes.axvspan(interval.low, interval.high, color=SHADE, alpha=0.25, linewidth=0)
        axes.axvline(interval.value, color=SHADE, linewidth=1)
    elif knee is not None:
        axes.axvspan(knee.low, knee.high or knee.users, color=SHADE, alpha=0.25, linewidth=0)
        axes.axvline(knee.users, color=SHADE, linewidth=1)
    elif condition.passed is not None and condition.failed is not None:
        axes.axvspan(condition.passed, condition.failed, color=SHADE, alpha=0.12, linewidth=0)
