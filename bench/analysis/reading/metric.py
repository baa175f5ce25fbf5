"""A metric of one cell: its value, its unit and which direction is better."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from bench.analysis.reading.cells import Cell, server_cores, shares_its_server
from bench.analysis.reading.cost import cost_of, cpu_per_thousand, gpu_per_thousand, joules_per_thousand
from bench.analysis.reading.population import TOO_FEW, Population, Reason
from bench.analysis.statistics.sample_size import samples_needed, supported
from bench.runs.histogram import Histogram
from bench.runs.sample import UNSENT

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
TOLERANCE: Final = {50.0: 0.02, 90.0: 0.03, 95.0: 0.04, 99.0: 0.05, 99.9: 0.10}
"""By percentile: the further out, the less do equal trials agree."""

GOODPUT: Final = "goodput"
GOODPUT_RATE: Final = "goodput_rate"
COST: Final = "cost_per_million"


class Counted(NamedTuple):
    """The outcomes that a percentile counts."""

    kind: str
    """Of the histograms."""
    recorded: Callable[[str], bool]
    """Whether a request with this outcome took as long as is recorded; others that are counted are slower than any."""
    all: Callable[[str], bool]
    """Whether it is counted at all."""


class Percentile(NamedTuple):
    """The duration of which a percentile is one."""

    of: Callable[[Cell], Population]
    q: float
    counted: Counted

    @property
    def kind(self) -> str:
        """Of the histograms."""
        return self.counted.kind

    def value(self, cell: Cell) -> float:
        """In seconds; inf where it falls among requests without an answer, nan where there is none."""
        return supported_percentile(self.of(cell), self.q)

    def why_not(self, cell: Cell) -> Reason:
        """Why `value` is inf or nan."""
        requests = self.of(cell)
        if requests.count and not supported(self.q, requests.count):
            needed = samples_needed(self.q)
            return Reason(TOO_FEW, f"{requests.count:,} requests do not support p{self.q:g}, {needed:,} do")
        return requests.why_not(self.q)


Unit = Literal["s", "1/s", "share", "ratio", "J", "price"]
"""Seconds, per second, from 0 to 1, a ratio, joules, or money in the currency of `price_per_hour`."""


@dataclass(frozen=True)
class Metric:
    """A number of a cell."""

    name: str
    unit: Unit
    better: Literal["lower", "higher"]
    of: Callable[[Cell], float]
    """nan: not measured, not determined, or not supported by the number of samples; inf: a percentile that falls among
    requests without an answer."""
    text: str
    tolerance: float = 0.02
    """A change by this share is called none, unless a limit says otherwise; of shares, by so many points."""
    percentile: Percentile | None = None

    @property
    def ratio(self) -> bool:
        """Whether changes are told as ratios; shares that are often 0 are told as differences."""
        return self.unit != "share" or self.better == "higher"


def goodput(due: Population, duration: float, within: float) -> dict[str, float]:
    """Share, and rate over so many seconds, of the requests due that were answered rightly within a bound.

    nan where it is not determined: where cancelled requests, or wrong answers of old run folders, might be among them.
    """
    right = due.right_within(within)
    if right is None or right[0] != right[1] or not due.count:
        return {GOODPUT: math.nan, GOODPUT_RATE: math.nan}
    return {
        GOODPUT: right[0] / due.count,
        GOODPUT_RATE: right[0] / duration if duration > 0 else math.nan,
    }


def supported_percentile(requests: Population, q: float) -> float:
    """The percentile in seconds; nan where the samples cannot support it."""
    return requests.percentile(q) if supported(q, requests.count) else math.nan


def per_second(count: int, cell: Cell) -> float:
    """A count as a rate over the steady part; nan without a duration."""
    return count / cell.duration if cell.duration > 0 else math.nan


def share(part: int, whole: int) -> float:
    """part / whole; nan of nothing."""
    return part / whole if whole else math.nan


def cpu_per_request(cell: Cell) -> float:
    """Seconds of the server's CPU time for each answered request; nan where it was not observed, or is another run's too."""
    busy = None if shares_its_server(cell.run) else server_cores(cell.run)
    answered = sum(tally.requests for (key, _), tally in cell.run.tallies.items() if key.outcome == "OK")
    return busy / per_second(answered, cell) if busy is not None and answered else math.nan


def label(q: float) -> str:
    """p50, p99, p999 (for 99.9)."""
    return f"p{q:g}".replace(".", "")


_DUE: Final = Counted("latency", lambda outcome: outcome == "OK", lambda _: True)
_SENT: Final = Counted("service", lambda outcome: outcome == "OK", lambda outcome: outcome != UNSENT)
_ANSWERED: Final = Counted("latency", lambda outcome: outcome == "OK", lambda outcome: outcome == "OK")
_LAG: Final = Counted("lag", lambda outcome: outcome != UNSENT, lambda _: True)


def _percentiles(
    prefix: str, of: Callable[[Cell], Population], counted: Counted, text: str
) -> Iterator[Metric]:
    for q in PERCENTILES:
        percentile = Percentile(of, q, counted)
        yield Metric(
            prefix + label(q),
            "s",
            "lower",
            percentile.value,
            f"{text}, {q:g}th percentile",
            TOLERANCE[q],
            percentile,
        )


def _answered(name: str, of: Callable[[Histogram], float], text: str) -> Metric:
    return Metric(name, "s", "lower", lambda cell: of(cell.latency), text)


CELL_METRICS: Final = {
    metric.name: metric
    for metric in (
        *_percentiles("", lambda cell: cell.due, _DUE, "latency of all requests due"),
        *_percentiles(
            "service_", lambda cell: cell.sent_services, _SENT, "service time of all requests sent"
        ),
        *_percentiles(
            "answered_",
            lambda cell: cell.answers,
            _ANSWERED,
            "latency of requests answered OK",
        ),
        _answered("mean", lambda latency: latency.mean, "latency of requests answered OK, mean"),
        _answered("std", lambda latency: latency.standard_deviation, "the same, standard deviation"),
        _answered("min", lambda latency: latency.percentile(0), "the same, least"),
        _answered("max", lambda latency: latency.percentile(100), "the same, greatest"),
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
            "inferences per second: examples of the requests answered OK",
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
            "share of the answers by another model or version, or of another shape, than requested",
            0.0,
        ),
        Metric(
            GOODPUT,
            "share",
            "higher",
            lambda cell: math.nan,
            "share of the requests due that were answered rightly within a bound",
            0.005,
        ),
        Metric(
            GOODPUT_RATE,
            "1/s",
            "higher",
            lambda cell: math.nan,
            "requests per second that were answered rightly within a bound",
        ),
        *_percentiles("lag_", lambda cell: cell.lags, _LAG, "lag of the generator"),
        Metric("cpu_per_request", "s", "lower", cpu_per_request, "CPU time of the server per request", 0.05),
        Metric(
            "cpu_per_thousand",
            "s",
            "lower",
            cpu_per_thousand,
            "CPU time of the server per thousand predictions (examples answered OK)",
            0.05,
        ),
        Metric(
            "gpu_per_thousand",
            "s",
            "lower",
            gpu_per_thousand,
            "time in which the GPUs that the server uses computed per thousand predictions (NVML)",
            0.05,
        ),
        Metric(
            "joules_per_thousand",
            "J",
            "lower",
            joules_per_thousand,
            "energy of the processors (RAPL) of the server's machine, with that of a load from there, and of the GPUs that the server uses, per thousand predictions",
            0.05,
        ),
        Metric(
            COST,
            "price",
            "lower",
            cost_of,
            "cost of a million predictions, by the server's `price_per_hour`",
        ),
    )
}
"""The metrics of a cell's own counts by name."""
