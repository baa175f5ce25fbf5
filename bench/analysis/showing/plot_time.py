"""Drawing of runs over time with matplotlib."""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.analysis.formatting import NOT_REACHED, tick
from bench.analysis.reading.timeline import Timeline
from bench.analysis.showing.plot import BAD, INK, MOST_CURVES, SERIES, SHADE, legend_columns, time_axis

MOST_EVENTS: Final = 50
"""That are marked in a picture."""
_TITLES: Final = 54
"""Characters that the titles of panels side by side may have together."""


@dataclass(frozen=True)
class Trend:
    """A metric over the runs of a condition, in the order of time."""

    title: str
    seconds: bool
    """Whether it is a duration."""
    text: Callable[[float], str]
    """Of a value, for the axis."""
    values: Sequence[float]
    """A point each; inf: not reached, nan: not measured."""
    low: Sequence[float]
    """Least value of the trials of a point."""
    high: Sequence[float]
    changes: Sequence[tuple[int, bool]]
    """Points from which on it differs, and whether it is worse then."""
    levels: Sequence[tuple[int, int, float]]
    """First point, the one behind the last, and the level between two changes."""


MOST_LABELS: Final = 14
"""Points that are named on an axis."""


def trends(panels: Sequence[Trend], labels: Sequence[str]) -> Callable[[Figure], None]:
    """A panel for each metric over the same points; changes are vertical lines, levels horizontal ones.

    labels: of the points; a name that repeats stands at the first of its points.
    """

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=True):
            _draw_trend(axes, panel)
        last = grid.flat[-1]
        changes = {at for panel in panels for at, _ in panel.changes}
        shown = _named(labels, sorted(changes))
        last.set_xticks(shown, [labels[at] for at in shown], rotation=40, ha="right", rotation_mode="anchor")
        last.tick_params(axis="x", labelsize=9)
        last.set_xlim(-0.5, len(labels) - 0.5)

    return draw


def _named(labels: Sequence[str], first: Sequence[int]) -> list[int]:
    """Points that are named without one name over another: `first`, then those whose name differs from the one before."""
    apart = len(labels) / MOST_LABELS
    shown: list[int] = []
    for at in [*first, *(at for at, label in enumerate(labels) if at == 0 or labels[at - 1] != label)]:
        if all(abs(at - other) >= apart for other in shown):
            shown.append(at)
    return sorted(shown)


USUAL, FAR = 0.9, 3.0
"""Share of the points of a course that are usual, and times as much as these from which on one is named instead of drawn."""


def _draw_trend(axes: Axes, panel: Trend) -> None:
    at = np.arange(len(panel.values))
    values = np.asarray(panel.values, dtype=np.float64)
    axes.vlines(at, panel.low, panel.high, color=SERIES[0], linewidth=1.2, alpha=0.4)
    axes.plot(at, values, color=SERIES[0], marker="o", markersize=3.5, linewidth=0.8)
    for first, end, level in panel.levels:
        if math.isfinite(level):
            axes.hlines(level, first - 0.5, end - 0.5, color=SERIES[7], linewidth=1.4, alpha=0.8)
    for point, worse in panel.changes:
        colour = BAD if worse else SERIES[2]
        axes.axvline(point - 0.5, color=colour, linewidth=1.4, linestyle="--")
        _annotate(axes, "worse" if worse else "better", point - 0.5, 0.98, colour)
    reached = values[np.isfinite(values)]
    if len(reached) < len(values[~np.isnan(values)]):
        _annotate(axes, NOT_REACHED, float(at[np.isinf(values)][0]), 0.98, BAD)
    low, high = (float(end) for end in (reached.min(), reached.max())) if len(reached) else (0.0, 1.0)
    usual = float(np.quantile(reached, USUAL)) if len(reached) else high
    if high > FAR * usual > 0:  # the axis follows the others: on it a change of these would not show
        for far in np.flatnonzero(np.isfinite(values) & (values > FAR * usual)).tolist():
            _annotate(axes, f"↑ {panel.text(float(values[far]))}", float(far), 0.98, INK)
        high = float(reached[reached <= FAR * usual].max())
    # room for the words above; a metric that hardly varies does not fill its panel with noise
    spread = max(high - low, 0.1 * abs(high), 1e-12)
    axes.set_ylim(max(0.0, low - 0.2 * spread) if low >= 0 else low - 0.2 * spread, high + 0.45 * spread)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: panel.text(value)))
    axes.set_title(panel.title)


def over_time(seen: Timeline) -> Callable[[Figure], None]:
    """Rate, p50 and p99 of latency, and where it was observed the use of cores; warm-up and events are marked."""

    def draw(figure: Figure) -> None:
        heights = (2, 3, 2) if seen.cores else (2, 3)
        above, below, *rest = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        middle = seen.starts + seen.width / 2
        above.plot(middle, seen.answered, color=SERIES[0], label="answered")
        if np.nansum(seen.failed):
            above.plot(middle, seen.failed, color=BAD, label="failed")
            _legend_above(above)
        # with room for the names of what is marked
        above.set_ylim(0, 1.3 * float(np.nanmax(seen.answered, initial=1.0)))
        above.yaxis.set_major_locator(MaxNLocator(4))
        above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        above.set_title("requests per second")
        below.plot(middle, seen.p50, color=SERIES[0], label="p50")
        if np.isfinite(seen.p99).any():
            below.plot(middle, seen.p99, color=SERIES[1], label="p99")
        below.set_yscale("log")
        time_axis(below)
        _legend_above(below)
        below.set_title("latency of answered requests")
        for axes in rest:
            _draw_cores(axes, seen)
        (rest or [below])[-1].set_xlabel("seconds since the start of the run")
        for axes in (above, below, *rest):
            _mark(axes, seen, named=axes is above)

    return draw


def courses(panels: Sequence[tuple[str, Sequence[Timeline]]]) -> Callable[[Figure], None]:
    """p50 and p99 over time, a panel for each condition and a thin line for each trial, on common axes."""

    def draw(figure: Figure) -> None:
        columns = min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (label, trials) in zip(grid.flat, panels, strict=False):
            for seen in trials:
                middle = seen.starts + seen.width / 2
                axes.plot(middle, seen.p50, color=SERIES[0], linewidth=0.9, alpha=0.8)
                axes.plot(middle, seen.p99, color=SERIES[1], linewidth=0.9, alpha=0.8)
            axes.set_title(textwrap.fill(label, _TITLES // columns), fontsize=10)
            axes.set_yscale("log")
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        time_axis(grid[0][0])
        supported = any(np.isfinite(seen.p99).any() for _, trials in panels for seen in trials)
        for name, colour in (("p50", SERIES[0]), ("p99", SERIES[1]))[: 1 + supported]:
            grid[0][0].plot([], [], color=colour, label=name)
        figure.legend(loc="outside upper right", ncols=2, fontsize=10)
        figure.supxlabel("seconds since the start of the run", fontsize=10)

    return draw


def by_version(rates: Sequence[tuple[str, Sequence[float]]], seen: Timeline) -> Callable[[Figure], None]:
    """Answers per second of each model version, one upon the other, with events marked.

    rates: label and requests answered in each interval of the timeline, per second.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        edges = np.append(seen.starts, seen.starts[-1] + seen.width)
        below = np.zeros(len(seen.starts))
        for at, (label, values) in enumerate(rates):
            top = below + np.asarray(values)
            colour = SERIES[at % len(SERIES)]
            axes.stairs(top, edges, baseline=below, fill=True, color=colour, alpha=0.85, label=label)
            below = top
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        axes.set_title("requests answered per second, by model version")
        axes.set_xlabel("seconds since the start of the run")
        _mark(axes, seen, named=False)
        if len(rates) <= MOST_CURVES:
            labels = [label for label, _ in rates]
            figure.legend(loc="outside lower center", ncols=legend_columns(labels), fontsize=10)

    return draw


def _draw_cores(axes: Axes, seen: Timeline) -> None:
    for (name, (instants, cores)), colour in zip(seen.cores.items(), SERIES[2:], strict=False):
        axes.plot(instants, cores, color=colour, label=name)
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    _legend_above(axes)
    axes.set_title("cores busy")


def heatmap(seen: Timeline) -> Callable[[Figure], None]:
    """How many answers had which latency when: several modes, stalls and their ends show here."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ends = np.append(seen.starts, seen.starts[-1] + seen.width)
        if not seen.heat.any():
            axes.set_title("latency over time: no answers in the histograms")
            return
        counts = np.ma.masked_equal(seen.heat, 0)
        mesh = axes.pcolormesh(
            ends, seen.heat_edges, counts, norm="log", cmap=_heat_colours(), rasterized=True
        )
        axes.set_yscale("log")
        time_axis(axes)
        axes.grid(False)
        axes.set_xlabel("seconds since the start of the run")
        axes.set_title("latency over time; colour: answers")
        bar = figure.colorbar(mesh, ax=axes, pad=0.01)
        bar.outline.set_visible(False)
        bar.ax.minorticks_off()
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        _mark(axes, seen, named=False)

    return draw


def _heat_colours() -> Colormap:
    """Viridis without its darkest part, which would vanish on a dark page."""
    return ListedColormap(mpl.colormaps["viridis"](np.linspace(0.18, 1.0, 256)))


def _mark(axes: Axes, seen: Timeline, *, named: bool) -> None:
    axes.set_xlim(seen.starts[0], seen.starts[-1] + seen.width)
    if seen.warm_up > seen.starts[0]:
        axes.axvspan(seen.starts[0], seen.warm_up, color=SHADE, alpha=0.2, linewidth=0)
        if named:
            _annotate(axes, "warm-up", seen.starts[0], 0.98, SHADE)
    for event in seen.events[:MOST_EVENTS]:
        time = float(event.get("time", 0.0))
        axes.axvline(time, color=BAD, linewidth=1, linestyle=":")
        if named:
            _annotate(axes, str(event.get("kind", "")), time, 0.16, BAD)


def _annotate(axes: Axes, text: str, x: float, y: float, colour: str) -> None:
    """Words right of an instant, at a share of the axes' height."""
    place = axes.get_xaxis_transform()
    axes.annotate(text, (x, y), (3, 0), place, "offset points", va="top", fontsize=10, color=colour)


def _legend_above(axes: Axes) -> None:
    """Right of the title: in the picture it would hide lines or the names of events."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=2, borderaxespad=0.0)
