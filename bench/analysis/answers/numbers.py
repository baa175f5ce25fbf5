"""The numbers of the answers on which a limit may be set.

They are of a whole run; each of its cells has the same. An answer may read all samples of a run, so it is kept.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple

from bench.analysis.answers.windows import WINDOW
from bench.analysis.reading.cells import Cell
from bench.analysis.statistics.clustered import normal
from bench.runs.run import Run


class Number(NamedTuple):
    """A number of an answer, as a metric."""

    name: str
    unit: Literal["s", "1/s", "share"]
    better: Literal["lower", "higher"]
    question: str
    text: str


NUMBERS: Final = (
    Number(
        "unattributed_share", "share", "lower", "rollout", "rollout: share of the answers without a version"
    ),
    Number("until_all", "s", "lower", "rollout", "rollout: until the new version answers everything, median"),
    Number(
        "excursion_height_max",
        "s",
        "lower",
        "rollout",
        "rollout: highest p99 of 0.1 s after a change of version",
    ),
    Number(
        "excursion_seconds_max", "s", "lower", "rollout", "rollout: longest that latency rose after a change"
    ),
    Number("cold_start", "s", "lower", "rollout", "rollout: slowest of a version's first answers, median"),
    Number("accuracy_gap", "share", "higher", "versions", "versions: least gain in accuracy over the first"),
    Number("recovery_seconds", "s", "lower", "spike", "spike: until requests are as quick as before it"),
    Number("p50_growth", "share", "lower", "drift", "drift: growth of the median latency within the run"),
    Number("memory_growth", "share", "lower", "drift", "drift: growth of a process's memory in the run"),
    Number(
        "sustained_rate", "1/s", "higher", "overload", "overload: highest rate answered within the deadline"
    ),
    Number("inference", "s", "lower", "overhead", "overhead: the model's part of the median service time"),
    Number("outside", "s", "lower", "overhead", "overhead: network, kernel and HTTP/2, mean"),
)


NAMES: Final = frozenset(number.name for number in NUMBERS)
EVENT_SPREAD: Final = 0.2
"""Standard deviation by which what an event does is taken to differ from one event to the next.

A run has one spike, or a few changes of version: too few to show it.
"""
EVENTS: Final = {
    "until_all": 0.0,
    "excursion_height_max": 0.0,
    "excursion_seconds_max": WINDOW,
    "cold_start": 0.0,
    "recovery_seconds": WINDOW,
}
"""Numbers of single events, with the seconds to which they are resolved."""

OLD_NAMES: Final = {"borne_rate": "sustained_rate"}
"""Names of 0.1: still read in limits files and options, and written beside the new ones, for one release."""


def of(number: Number) -> Callable[[Cell], float]:
    """The number in the answer of a cell's run; nan where the run does not ask its question, or has no answer."""

    def value(cell: Cell) -> float:
        if cell.run.manifest.question != number.question:
            return math.nan
        return _values(cell.run.path, cell.run.manifest.started, cell.run.manifest.whole).get(
            number.name, math.nan
        )

    return value


def interval(cell: Cell, name: str, confidence: float) -> tuple[float, float] | None:
    """The interval of a number, of the run's own spread or of what events differ by; None of those of which it is not known."""
    manifest = cell.run.manifest
    if not any(name == number.name and manifest.question == number.question for number in NUMBERS):
        return None
    run = cell.run.path, manifest.started, manifest.whole
    known = _interval(*run, name)
    if known is not None:
        return known(confidence)
    value = _values(*run).get(name, math.nan)
    return of_event(name, value, confidence) if name in EVENTS and math.isfinite(value) else None


def of_event(name: str, value: float, confidence: float) -> tuple[float, float]:
    """The interval of a number of a single event, by EVENT_SPREAD and its resolution."""
    factor, resolution = math.exp(EVENT_SPREAD * normal(confidence)), EVENTS[name]
    return max(0.0, value / factor - resolution), value * factor + resolution


@lru_cache(maxsize=64)
def _interval(
    path: Path, started: str, finished: bool, name: str
) -> Callable[[float], tuple[float, float]] | None:
    from bench.analysis.answers import drift, overhead, overload, spike, versions  # as below

    known = {
        "p50_growth": drift.growth,
        "memory_growth": drift.memory_growth,
        "sustained_rate": overload.sustained,
        "recovery_seconds": spike.not_recovered,
        "accuracy_gap": versions.least_gap,
        "inference": overhead.part_of_the_model,
    }
    return known[name](Run.open(path)) if name in known else None


@lru_cache(maxsize=64)
def _values(path: Path, started: str, finished: bool) -> dict[str, float]:
    """Of several answers that have a number of the same name, the worst counts.

    started, finished: of the run, so that one that goes on, or is replaced by another, is read anew.
    """
    from bench.analysis.answers.questions import (
        answers,
    )  # its modules need the metrics, of which these numbers are some

    better = {number.name: number.better for number in NUMBERS}
    values: dict[str, float] = {}
    for answer in answers(Run.open(path)):
        for name, value in answer.values.items():
            if name not in better:
                continue
            worst = max if better[name] == "lower" else min
            known = math.nan if value is None else value
            values[name] = known if name not in values or math.isnan(known) else worst(values[name], known)
    return values
