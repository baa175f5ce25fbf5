"""Drawing of results with matplotlib.

Only this module and plot_time import matplotlib. Figures are made without its global state, and small: a page enlarges them,
and on a phone they are shown as they are. Colours stand for roles, so that a page may replace them by its own.
"""

import html
import io
import math
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench import escape
from bench.analysis.formatting import duration, tick
from bench.analysis.reading.population import Population
from bench.analysis.statistics.sample_size import samples_needed
from bench.runs.histogram import highest_ns

SERIES: Final = ("#0b6fb8", "#c2570c", "#0a8f68", "#a8458f", "#8a7300", "#3b8fc2", "#7a5bd0", "#6b6f76")
"""Distinguishable for the colour-blind (after Okabe and Ito), with contrast on white and on near-black."""
INK, BAD, SHADE = "#010203", "#c4314b", "#808790"
MOST_CURVES: Final = len(SERIES)
FEW_LINES, LONG_LABEL = 3, 20
"""Above so many lines the legend stands below the picture; above so many characters in one column."""
WIDTH, HEIGHT = 5.2, 3.3
"""Inches at 72 points."""

# the stubs list all keys as literals: a plain dict of them is Any
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "serving-bench",
    "font.size": 11.5,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SHADE,
    "axes.labelcolor": INK,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.grid": True,
    "grid.color": SHADE,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Points:
    """A line through measured points, over numbers or over words."""

    label: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    low: Sequence[float] | None = None
    """Ends of the intervals around y."""
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Picture:
    """A picture that can be drawn: its file name's stem, what it shows in a sentence, and how."""

    name: str
    caption: str
    draw: Callable[[Figure], None]
    height: float = HEIGHT
    course: bool = False
    """Whether it shows one run over time."""


def svg(picture: Picture) -> str:
    """An `<svg>` element with text as text and without a size: it fills the width that it is given."""
    raw = render(picture, "svg").decode()
    head, body = raw[raw.index("<svg") :].split(">", 1)
    resizable = re.sub(r' (?:width|height)="[^"]*"', "", head)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # names of groups are the same in every picture of a page
    return f'{resizable} role="img" aria-label="{html.escape(picture.caption)}">{body}'


LONGEST: Final = 90
"""Characters of a text in a picture: names may be anybody's, and longer ones leave no room to draw in."""


def drawn(picture: Picture) -> Figure:
    """The picture as a figure."""
    # the salt makes names inside an SVG differ between the pictures of one page, and equal whenever it is made
    with _style(picture):
        figure = Figure(figsize=(WIDTH, picture.height))
        picture.draw(figure)
        for text in figure.findobj(Text):
            shown = escape.lines(text.get_text())
            text.set_text(shown if len(shown) <= LONGEST else shown[:LONGEST] + "...")
    return figure


def render(picture: Picture, kind: str, *, dpi: int = 200) -> bytes:
    """The picture as the bytes of an SVG, PNG or PDF file."""
    figure, file = drawn(picture), io.BytesIO()
    with _style(picture):
        figure.savefig(
            file,
            format=kind,
            dpi=dpi,
            metadata={"Date": None} if kind == "svg" else None,
            transparent=kind == "svg",
        )
    return file.getvalue()


def _style(picture: Picture) -> AbstractContextManager[None]:
    return mpl.rc_context(_STYLE | {"svg.hashsalt": picture.name, "text.parse_math": False})


def percentile_curves(curves: Sequence[tuple[str, Population]]) -> Callable[[Figure], None]:
    """Latency over percentile of all requests due, as 1 / (1 - q) on a logarithmic axis, as far as samples support it."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        furthest = 10.0
        for (label, requests), colour in zip(curves, SERIES, strict=False):
            rank, latency = _curve(requests)
            if len(rank):
                axes.step(rank, latency, where="post", label=label, color=colour)
                furthest = max(furthest, float(rank[-1]))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(1, furthest * 1.05)
        shown = [q for q in (0, 50, 90, 99, 99.9, 99.99, 99.999) if 100 / (100 - q) <= furthest * 1.05]
        axes.set_xticks([100 / (100 - q) for q in shown], [f"{q:g}" for q in shown])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        time_axis(axes)
        axes.set_xlabel("percentile of requests")
        axes.set_title("latency by percentile")
        _legend(figure, axes, [label for label, _ in curves][:MOST_CURVES])

    return draw


BEYOND: Final = 1.5
"""Factor by which a logarithmic axis reaches beyond its points."""


def against(
    lines: Sequence[Points],
    *,
    title: str,
    over: str,
    seconds: bool,
    logarithmic: bool = False,
    ordered: bool = True,
) -> Callable[[Figure], None]:
    """A metric over batch size, version, server or rate: one line for each of what else differs.

    seconds: y is a duration. ordered: what lies between two x has a meaning.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        words = list(dict.fromkeys(str(x) for line in lines for x in line.x if isinstance(x, str)))
        shown = lines[:MOST_CURVES]
        for at, (line, colour, marker) in enumerate(zip(shown, SERIES, "osD^vPX*", strict=False)):
            x = _places(line.x, words, at, len(shown))
            between = "-" if ordered else "none"  # between two servers, or two versions, there is nothing
            axes.plot(
                x,
                line.y,
                linestyle=between,
                marker=marker,
                markersize=5,
                linewidth=1.6,
                color=colour,
                label=line.label,
            )
            if line.low is not None and line.high is not None:
                axes.vlines(x, line.low, line.high, color=colour, linewidth=1.4, alpha=0.7)
        axes.set_title(title)
        axes.set_xlabel(over)
        if words:
            axes.set_xticks(range(len(words)), words)
            axes.set_xlim(-0.5, len(words) - 0.5)
        if logarithmic:
            axes.set_xscale("log", base=2)
            ticks = sorted({float(x) for line in lines for x in line.x})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        # the axis follows the points: the interval of few trials may reach over many powers of ten
        least, most = (end((y for line in shown for y in line.y), default=1.0) for end in (min, max))
        if seconds:
            axes.set_yscale("log")
            axes.set_ylim(least / BEYOND, most * BEYOND)
            time_axis(axes)
        else:
            axes.set_ylim(0, 1.15 * most)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        _legend(figure, axes, [line.label for line in shown])

    return draw


def _places(
    values: Sequence[float] | Sequence[str], words: Sequence[str], line: int, lines: int
) -> list[float]:
    """Where points stand: words beside each other, the lines of one word a little apart, so that intervals show."""
    apart = (line - (lines - 1) / 2) * min(0.08, 0.6 / lines)
    return [words.index(x) + apart if isinstance(x, str) else float(x) for x in values]


def _curve(requests: Population) -> tuple[Any, Any]:
    """1 / (1 - q) and latency in seconds of each step of the distribution that the samples support.

    Requests without an answer are slower than any: the curve ends before them.
    """
    answered = requests.answered
    cumulative = np.cumsum(answered.counts)
    if not len(cumulative):
        return np.empty(0), np.empty(0)
    count = requests.count
    before = np.concatenate(([0], cumulative[:-1]))
    rank = count / (count - before)
    # beyond 1 - q = 4.6 / n not even the slowest answer is a bound (see sample_size)
    furthest = count / samples_needed(99) * 100
    # points closer than an eightieth of a decade are one on paper
    apart = np.diff(np.floor(np.log10(rank) * 80), prepend=-1) > 0
    shown = (rank <= max(furthest, 1.0)) & apart
    return rank[shown], highest_ns(answered.indices[shown]) / 1e9


def time_axis(axes: Axes) -> None:
    """Durations with their units on a logarithmic axis, some ticks even where it spans less than a power of ten."""
    low, high = axes.get_ylim()
    ratio = high / low if low > 0 else math.inf
    subs = range(1, 10) if ratio < 4 else (1, 2, 5) if ratio < 150 else (1,)
    axes.yaxis.set_major_locator(LogLocator(10, subs=tuple(subs)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _round_duration(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _round_duration(seconds: float) -> str:
    return re.sub(r"\.0+(?= )|(?<=\.\d)0+(?= )", "", duration(seconds))


def _legend(figure: Figure, axes: Axes, labels: Sequence[str]) -> None:
    """Inside for few lines, else below: a legend over the lines hides what it explains."""
    if 1 < len(labels) <= FEW_LINES:
        axes.legend(loc="best")
    elif len(labels) > FEW_LINES:
        figure.legend(loc="outside lower center", ncols=legend_columns(labels), fontsize=10)


def legend_columns(labels: Sequence[str]) -> int:
    """Columns of a legend with these labels."""
    return 2 if max(map(len, labels)) <= LONG_LABEL else 1


def height_for(labels: Sequence[str]) -> float:
    """Inches of a picture with a legend of these lines."""
    shown = labels[:MOST_CURVES]
    rows = math.ceil(len(shown) / legend_columns(shown)) if len(shown) > FEW_LINES else 0
    return HEIGHT + 0.24 * rows
