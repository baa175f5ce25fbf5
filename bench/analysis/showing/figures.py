"""Pictures of runs as matplotlib figures, for notebooks: `bench.plot`."""

from matplotlib.figure import Figure

from bench import BenchError
from bench.analysis.public import Runs, opened
from bench.analysis.showing.pictures import pictures
from bench.analysis.showing.plot import Picture, drawn
from bench.analysis.showing.report import report


def all_figures(runs: Runs) -> dict[str, Figure]:
    """Every picture that `bench plot` draws of these runs, by its name. Raises BenchError where there is no run."""
    return {picture.name: drawn(picture) for picture in _pictures(runs)}


def latency_by_percentile(runs: Runs) -> Figure:
    """Latency of all requests due by percentile, a curve for each condition."""
    return _first(runs, "latency-by-percentile")


def over_time(runs: Runs) -> Figure:
    """Latency and throughput by second: of one run, or a panel for each condition of several."""
    return _first(runs, "course")


def throughput_and_latency(runs: Runs) -> Figure:
    """p99 of latency against requests per second, a line for each server and a point for each load, of two and more."""
    return _first(runs, "p99-by-throughput")


def _pictures(runs: Runs) -> list[Picture]:
    return list(pictures(report(opened(runs))))


def _first(runs: Runs, name: str) -> Figure:
    pictures = _pictures(runs)
    for picture in pictures:
        if picture.name.startswith(name):
            return drawn(picture)
    known = ", ".join(picture.name for picture in pictures)
    raise BenchError(f"these runs give no picture of this kind; bench.plot.all_figures has {known or 'none'}")
