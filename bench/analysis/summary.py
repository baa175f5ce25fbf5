"""What did each cell of an experiment give, over all its trials, and how sure is that?

The geometric mean over the trials with the 95 % interval of Student's t on logarithms: the unit of replication is the
trial.
"""

import math
from collections.abc import Sequence
from typing import Final

from bench.analysis import quantities
from bench.analysis.intervals import alone
from bench.analysis.metrics import METRICS
from bench.analysis.quantities import ABSENT, Unit
from bench.analysis.table import Column, Table
from bench.analysis.trials import PARTS, Identity, Trial, Trials, known

CONFIDENCE: Final = 0.95
SHOWN: Final = ("requests_per_second", "inferences_per_second", "p50", "p99")
_TITLES: Final = {"requests_per_second": "requests/s", "inferences_per_second": "inferences/s"}


def mean_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of positive values and the ends of its interval; nan and infinite ends where unknown."""
    if not values or min(values) <= 0:
        return math.nan, -math.inf, math.inf
    estimate = alone([math.log(value) for value in values])
    low, high = estimate.interval(CONFIDENCE)
    return math.exp(estimate.mean), math.exp(low), math.exp(high) if math.isfinite(high) else math.inf


def repeated(found: Trials) -> bool:
    """Whether there is anything that was measured more than once in an experiment."""
    return any(
        sum(1 for trial in trials if trial.block is not None) > 1 for trials in found.by_identity().values()
    )


def summary(found: Trials) -> Table:
    """A row for each thing that trials of experiments measured, in the order of its parts."""
    groups = {
        identity: own
        for identity, trials in found.by_identity().items()
        if (own := [trial for trial in trials if trial.block is not None])
    }
    rows = sorted(groups, key=_order)
    columns = [
        Column(part, True, [_text(getattr(identity, part)) for identity in rows], [False] * len(rows))
        for part in PARTS
    ]
    shared = [(c.title, c.same) for c in columns if c.same not in (None, ABSENT) and len(rows) > 1]
    kept = [column for column in columns if column.same is None or len(rows) == 1]
    trials = [str(len(groups[identity])) for identity in rows]
    doubted = [any(trial.doubts for trial in groups[identity]) for identity in rows]
    kept.append(Column("trials", False, trials, doubted))
    for name in SHOWN:
        kept.append(_measured(name, [groups[identity] for identity in rows]))
    note = f"geometric mean over the trials, ± half the {CONFIDENCE:.0%} interval (Student's t on logarithms)"
    return Table(kept, [(title, text or "") for title, text in shared], [note])


def _measured(name: str, groups: list[list[Trial]]) -> Column:
    found = [mean_and_interval(known(trials, name)) for trials in groups]
    durations = METRICS[name].unit == "s"
    unit = quantities.fitting_unit([mean for mean, _, _ in found]) if durations else None
    texts = [_shown(mean, low, high, unit) for mean, low, high in found]
    title = _TITLES.get(name, name) + (f" [{unit.name}]" if unit else "")
    return Column(title, False, texts, [False] * len(texts))


def _shown(mean: float, low: float, high: float, unit: Unit | None) -> str:
    text = quantities.duration(mean, unit) if unit else quantities.rate(mean)
    if not math.isfinite(high) or not math.isfinite(mean) or low <= 0:
        return text
    return f"{text} ±{math.sqrt(high / low) - 1:.1%}"


def _order(identity: Identity) -> tuple[tuple[bool, object], ...]:
    return tuple(
        (value is not None, value if isinstance(value, int) else str(value or "")) for value in identity
    )


def _text(value: object) -> str:
    return ABSENT if value in (None, "") else str(value)
