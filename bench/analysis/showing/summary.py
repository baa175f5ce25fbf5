"""Averages over the trials of each cell of an experiment, as a table."""

import math
from collections.abc import Sequence
from typing import Final

from bench.analysis import formatting
from bench.analysis.formatting import ABSENT, Unit
from bench.analysis.grouping.groups import CONFIDENCE, FEWEST, Group
from bench.analysis.grouping.identity import PARTS
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading.metric import COST
from bench.analysis.showing.relative import IN_WORDS, relatives
from bench.analysis.showing.table import Column, Table

SHOWN: Final = ("requests_per_second", "inferences_per_second", "p50", "p95", "p99", "max")
_WEIGHTS: Final = {"requests_per_second": 2, "inferences_per_second": 4, "p95": 6, "max": 5, COST: 1}
_TITLES: Final = {
    "requests_per_second": "requests/s",
    "inferences_per_second": "inferences/s",
    COST: "cost/1M",
}


def summary(rows: Sequence[Group], compared: str) -> Table:
    """A row for each group; `compared` is the metric of the column of ratios to the first row."""
    columns = [
        Column(part, True, [_text(getattr(row.identity, part)) for row in rows], [False] * len(rows))
        for part in PARTS
        if any(part in row.identity.telling for row in rows)
    ]
    experiments = [row.experiment for row in rows]
    if len(set(experiments)) > 1:
        columns.insert(0, Column("experiment", True, experiments, [False] * len(rows)))
    shared = [(c.title, c.same) for c in columns if c.same not in (None, ABSENT) and len(rows) > 1]
    shown = [column for column in columns if column.same is None or len(rows) == 1]
    trials = [str(len(row.trials)) for row in rows]
    shown.append(Column("trials", False, trials, [row.has_warnings for row in rows]))
    shown.append(_relative(rows, compared))
    names = [*SHOWN, *([COST] if any(row.known(COST) for row in rows) else [])]
    if all(row.identity.batch == 1 for row in rows):  # they are the requests
        names.remove("inferences_per_second")
    shown += [_measured(name, rows) for name in names]
    note = (
        f"geometric mean of the trials ± half of its {CONFIDENCE:.0%} interval (Student's t on logarithms); "
        f"with fewer than {FEWEST} trials (minimum … maximum)"
    )
    return Table(shown, [(title, text or "") for title, text in shared], [note])


def _measured(name: str, rows: Sequence[Group]) -> Column:
    estimates = [row.estimate(name) for row in rows]
    counts = [len(row.known(name)) for row in rows]
    durations = METRICS[name].unit == "s"
    unit = formatting.fitting_unit([mean for mean, _, _ in estimates]) if durations else None
    texts = [_shown(*each, unit, count) for each, count in zip(estimates, counts, strict=True)]
    title = _TITLES.get(name, name) + (f" [{unit.name}]" if unit else "")
    return Column(title, False, texts, [False] * len(texts), _WEIGHTS.get(name, 0))


def _relative(rows: Sequence[Group], compared: str) -> Column:
    texts = [each.text for each in relatives(rows, compared)]
    return Column(f"{IN_WORDS[compared]} relative", False, texts, [False] * len(texts))


def _shown(mean: float, low: float, high: float, unit: Unit | None, trials: int) -> str:
    def text(value: float) -> str:
        return formatting.duration(value, unit) if unit else formatting.rate(value)

    if not math.isfinite(high) or not math.isfinite(mean) or low <= 0:
        return text(mean)
    if trials < FEWEST:
        return f"{text(mean)} ({text(low)} … {text(high)})"
    return f"{text(mean)} ±{math.sqrt(high / low) - 1:.1%}"


def _text(value: object) -> str:
    return ABSENT if value in (None, "") else str(value)
