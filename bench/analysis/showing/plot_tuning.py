"""Drawing of a tuning: throughput against p99 of all settings, and its Pareto front."""

from typing import Final

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.analysis.formatting import tick
from bench.analysis.showing.plot import BAD, INK, SERIES, SHADE, Picture, time_axis
from bench.runs.tuning import TunedSetting, Tuning

HEIGHT: Final = 3.6


def tuning_picture(tuning: Tuning, name: str) -> Picture | None:
    """None where less than two settings have both."""
    known = [each for each in tuning.settings if each.throughput and each.p99 and not each.reason]
    if len(known) < 2:
        return None
    level = f" with {tuning.service_level}" if tuning.service_level else ""
    caption = (
        f"Throughput{level} against p99 of each setting, means over its blocks; the line joins those that no other one beats "
        "in both."
    )

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        front = sorted((each for each in known if each.pareto), key=lambda each: each.throughput or 0.0)
        axes.plot(*_places(front), color=SHADE, linewidth=1, zorder=1)
        axes.scatter(*_places(known), s=18, color=SERIES[0], zorder=2)
        named = [tuning.settings[0].name, *([tuning.best] if tuning.best else [])]
        for each in known:
            if each.name in named:
                of_default = each.name == named[0]
                axes.scatter(*_places([each]), s=46, color=BAD if of_default else SERIES[2], zorder=3)
                axes.annotate(
                    each.name, (each.throughput or 0.0, each.p99 or 0.0), xytext=(6, 5), textcoords="offset points",
                    color=INK, fontsize=10,
                )  # fmt: skip
        axes.margins(0.12)
        axes.set_yscale("log")
        time_axis(axes)
        axes.set_title("p99 of latency")
        axes.set_xlabel("inferences per second")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))

    return Picture(name, caption, draw, HEIGHT)


def _places(settings: list[TunedSetting]) -> tuple[list[float], list[float]]:
    return [each.throughput or 0.0 for each in settings], [each.p99 or 0.0 for each in settings]
