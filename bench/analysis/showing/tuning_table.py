"""A tuning as tables: its settings, what each parameter did, and the plan of its rounds."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis import formatting
from bench.analysis.showing.table import Column, Table
from bench.analysis.tuning.race import Round
from bench.runs.tuning import TunedSetting, Tuning


def settings_table(tuning: Tuning) -> Table | None:
    """All settings that were measured, those that came farthest first, and of these the best."""
    measured = [each for each in tuning.settings if each.blocks or each.reason]
    if not measured:
        return None
    default = tuning.settings[0].name
    rows = sorted(measured, key=lambda each: (each.name != default, -each.round, -(each.score or 0.0)))
    parameters = dict.fromkeys(name for each in rows for name in each.values)
    calm = [False] * len(rows)
    unit = formatting.fitting_unit([each.p99 for each in rows if each.p99 is not None])
    columns = [
        Column("setting", True, [each.name + (" *" if each.pareto else "") for each in rows], calm),
        *(Column(name, True, [_value(each, name) for each in rows], calm) for name in parameters),
        Column("blocks", False, [str(each.blocks) for each in rows], calm),
        Column("examples/s", False, [formatting.rate(each.throughput) for each in rows], calm),
        Column(f"p99 {unit.name}", False, [formatting.duration(each.p99, unit) for each in rows], calm),
    ]
    if any(each.load != rows[0].load for each in rows):
        columns.insert(-3, Column("load", True, [each.load or formatting.ABSENT for each in rows], calm))
    if tuning.service_level:
        late = [each.in_time is not None and each.score is not None and _misses(each) for each in rows]
        columns.append(Column("in time", False, [formatting.share(each.in_time) for each in rows], late))
    if any(each.cost_per_million is not None for each in rows):
        costs = [formatting.significant(each.cost_per_million) for each in rows]
        columns.append(Column("cost/1M", False, costs, calm))
    if any(each.reason for each in rows):
        failed = [bool(each.reason) for each in rows]
        columns.append(Column("", False, ["failed" if each else "" for each in failed], failed))
    # what the default does not name is not what all others have
    alike = [c for c in columns if c.identity and len(rows) > 1 and len(set(c.texts)) == 1]
    shared = [(column.title, column.texts[0]) for column in alike]
    shown = [column for column in columns if column not in alike]
    note = (
        "* no other setting has more throughput and a lower p99; means over all blocks, the last ones first"
    )
    return Table(shown, shared, [note])


def _misses(setting: TunedSetting) -> bool:
    """Whether it counts by less than its throughput."""
    return (setting.score or 0.0) < 0.999 * (setting.throughput or 0.0)


def _value(setting: TunedSetting, name: str) -> str:
    if name not in setting.values:
        return formatting.ABSENT
    value = setting.values[name]
    return value if isinstance(value, str) else json.dumps(value)


def effects_table(tuning: Tuning) -> Table | None:
    """What each value of a parameter did, relative to the first one."""
    rows = tuning.effects
    if not rows:
        return None
    calm = [False] * len(rows)
    columns = [
        Column("parameter", True, [each.parameter for each in rows], calm),
        Column("value", True, [json.dumps(each.value) for each in rows], calm),
        Column("effect", False, [_percent(each.ratio) for each in rows], calm),
        Column(
            f"{100 * tuning.effect_confidence:g} % interval",
            False,
            [f"{_percent(each.low)} … {_percent(each.high)}" for each in rows],
            calm,
        ),
    ]
    of = f"1/p{tuning.percentile:g}" if tuning.percentile is not None else "the score"
    note = f"change of {of} from the first value of a parameter, all else equal, over the first round"
    return Table(columns, [], [note])


def _percent(ratio: float | None) -> str:
    if ratio is None or not math.isfinite(ratio):
        return formatting.ABSENT
    return f"{100 * (ratio - 1):+,.1f} %" if ratio < 10 else f"x {ratio:,.0f}"


def space_table(settings: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """The settings of a plan."""
    parameters = dict.fromkeys(name for _, values in settings for name in values)
    calm = [False] * len(settings)
    columns = [Column("setting", True, [name for name, _ in settings], calm)]
    for parameter in parameters:
        texts = [
            json.dumps(values[parameter]) if parameter in values else formatting.ABSENT
            for _, values in settings
        ]
        columns.append(Column(parameter, True, texts, calm))
    return Table(columns, [], [])


def rounds_table(rounds: Sequence[Round], trials: Sequence[int], times: Sequence[str]) -> Table:
    """The rounds of a plan, the last one of which is the comparison."""
    calm = [False] * len(rounds)
    last = len(rounds) - 1
    columns = [
        Column(
            "round",
            True,
            [f"{at + 1}" if at < last else f"{at + 1}, comparison" for at in range(len(rounds))],
            calm,
        ),
        Column("settings", False, [f"{each.settings} and the default" for each in rounds], calm),
        Column("blocks", False, [str(each.blocks) for each in rounds], calm),
        Column("trials", False, [str(each) for each in trials], calm),
        Column("time", False, list(times), calm),
    ]
    return Table(columns, [], [])
