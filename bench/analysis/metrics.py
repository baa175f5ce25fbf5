"""What can be said of a cell in one number, in which unit, and which way is better?"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from bench.analysis.answers import numbers
from bench.analysis.cells import Cell, cpu_cores, observations
from bench.analysis.sample_size import supported
from bench.histogram import Histogram

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
TOLERANCE: Final = {50.0: 0.02, 90.0: 0.03, 99.0: 0.05, 99.9: 0.10}
"""By percentile: the further out, the less do equal trials agree."""


@dataclass(frozen=True)
class Metric:
    """A number of a cell."""

    name: str
    unit: Literal["s", "1/s", "share"]
    better: Literal["lower", "higher"]
    of: Callable[[Cell], float]
    """nan: not measured, or not supported by the number of samples."""
    text: str
    tolerance: float = 0.02
    """A change by this share is called none, unless a limit says otherwise; of shares, by so many points."""

    @property
    def ratio(self) -> bool:
        """Whether changes are told as ratios; shares that are often 0 are told as differences."""
        return self.unit != "share" or self.better == "higher"


def supported_percentile(histogram: Histogram, q: float) -> float:
    """The percentile in seconds; nan where the samples cannot support it."""
    return histogram.percentile(q) if supported(q, histogram.count) else math.nan


def per_second(count: int, cell: Cell) -> float:
    """A count as a rate over the steady part; nan without a duration."""
    return count / cell.duration if cell.duration > 0 else math.nan


def share(part: int, whole: int) -> float:
    """part / whole; nan of nothing."""
    return part / whole if whole else math.nan


def cpu_per_request(cell: Cell) -> float:
    """Seconds of the server's CPU time for each answered request of the run; nan where it was not observed."""
    busy = [
        cores for rows in observations(cell.run, "server").values() if (cores := cpu_cores(rows)) is not None
    ]
    answered = sum(tally.requests for (key, _), tally in cell.run.tallies.items() if key.outcome == "OK")
    return sum(busy) / per_second(answered, cell) if busy and answered else math.nan


def _latency(q: float) -> Callable[[Cell], float]:
    return lambda cell: supported_percentile(cell.latency, q)


def _service(q: float) -> Callable[[Cell], float]:
    return lambda cell: supported_percentile(cell.service, q)


def _lag(q: float) -> Callable[[Cell], float]:
    return lambda cell: supported_percentile(cell.lag, q)


def label(q: float) -> str:
    """p50, p99, p999 (for 99.9)."""
    return f"p{q:g}".replace(".", "")


METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        *(
            Metric(label(q), "s", "lower", _latency(q), f"latency, {q:g}th percentile", TOLERANCE[q])
            for q in PERCENTILES
        ),
        *(
            Metric(
                f"service_{label(q)}",
                "s",
                "lower",
                _service(q),
                f"service time, {q:g}th percentile",
                TOLERANCE[q],
            )
            for q in PERCENTILES
        ),
        Metric("mean", "s", "lower", lambda cell: cell.latency.mean, "latency, mean"),
        Metric(
            "requests_per_second",
            "1/s",
            "higher",
            lambda cell: per_second(cell.answered.requests, cell),
            "requests answered OK per second",
        ),
        Metric(
            "inferences_per_second",
            "1/s",
            "higher",
            lambda cell: per_second(cell.answered.examples, cell),
            "examples answered OK per second",
        ),
        Metric(
            "error_share",
            "share",
            "lower",
            lambda cell: share(cell.failed, cell.requests - cell.cancelled),
            "share of the requests due that were not answered OK, without those that this client cancelled",
            0.001,
        ),
        Metric(
            "accuracy",
            "share",
            "higher",
            lambda cell: share(cell.answered.correct, cell.answered.checked),
            "share of the checked examples answered with their label",
            0.005,
        ),
        Metric(
            "mismatch_share",
            "share",
            "lower",
            lambda cell: share(cell.answered.mismatched, cell.answered.requests),
            "share of the answers by another model or version, or of another shape, than asked for",
            0.0,
        ),
        *(
            Metric(f"lag_{label(q)}", "s", "lower", _lag(q), f"lag of the generator, {q:g}th percentile")
            for q in PERCENTILES
        ),
        Metric("cpu_per_request", "s", "lower", cpu_per_request, "CPU time of the server per request", 0.05),
        *(Metric(each.name, each.unit, each.better, numbers.of(each), each.text) for each in numbers.NUMBERS),
    )
}
"""All metrics by name: the only place that knows which way is better."""
