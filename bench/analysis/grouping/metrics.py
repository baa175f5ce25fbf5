"""The table of all metrics."""

import math
from collections.abc import Mapping
from typing import Final

from bench.analysis.agreement.recorded import AGREEMENT, agreement_of
from bench.analysis.answers import numbers
from bench.analysis.capacity.recorded import CAPACITY, CAPACITY_RATIO, capacity_of, capacity_ratio_of
from bench.analysis.reading.cells import Cell
from bench.analysis.reading.metric import CELL_METRICS, COST, Metric, goodput
from bench.analysis.reading.population import Reason

METRICS: Final[dict[str, Metric]] = (
    CELL_METRICS
    | {
        each.name: Metric(each.name, each.unit, each.better, numbers.of(each), each.text)
        for each in numbers.NUMBERS
    }
    | {
        AGREEMENT: Metric(
            AGREEMENT,
            "share",
            "higher",
            agreement_of,
            "share of the examples that both conditions of `bench ab` answer alike",
        ),
        CAPACITY: Metric(
            CAPACITY,
            "1/s",
            "higher",
            capacity_of,
            "requests per second that a condition sustains within a service level, as `bench capacity` finds it",
        ),
        CAPACITY_RATIO: Metric(
            CAPACITY_RATIO,
            "ratio",
            "higher",
            capacity_ratio_of,
            "capacity of a condition by that of the one that `bench capacity` compared it with",
        ),
    }
)
"""All metrics by name: the only place that knows which way is better."""
JUDGED: Final = (
    "p50",
    "p90",
    "p99",
    "p999",
    "service_p50",
    "service_p90",
    "service_p99",
    "service_p999",
    "requests_per_second",
    "inferences_per_second",
    "error_share",
    "accuracy",
    "cpu_per_request",
    COST,
)
"""What a comparison looks at, unless told otherwise."""


def values_of(cell: Cell, within: float | None = None) -> dict[str, float]:
    """Every metric of a cell by name; goodput is of the requests answered rightly within so many seconds."""
    values = {name: metric.of(cell) for name, metric in METRICS.items()}
    return values if within is None else values | goodput(cell.due, cell.duration, within)


def reasons_of(cell: Cell, values: Mapping[str, float]) -> dict[str, Reason]:
    """Why percentiles and goodput of a cell are no numbers, by their names."""
    reasons = {}
    for name, metric in METRICS.items():
        value = values.get(name, math.nan)
        if metric.percentile is not None and not math.isfinite(value):
            reasons[name] = metric.percentile.why_not(cell)
    return reasons
