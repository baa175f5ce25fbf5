"""The page of a history: changes first, then each condition over its commits and versions."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np

from bench import __version__
from bench.analysis import formatting
from bench.analysis.grouping.identity import PARTS, Identity
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.change import change
from bench.analysis.judging.history import FALSE_SHARE, ChangePoint, tells
from bench.analysis.reading.metric import Metric
from bench.analysis.showing.comparison_table import metric_title, size_text, value_text
from bench.analysis.showing.page import figure, rendered, rows_of
from bench.analysis.showing.plot import Picture
from bench.analysis.showing.plot_time import Trend, trends
from bench.analysis.showing.table import Column, Table
from bench.analysis.statistics.step import FEWEST
from bench.wording import counted

MOST_PICTURES: Final = 12
"""Conditions that are drawn: those with changes first, then those with most points."""
PANEL, AXIS = 1.25, 0.9
"""Inches of a metric, and of the names below."""
HASH: Final = 7
"""Characters of a commit on an axis."""

Groups = Mapping[Identity, Sequence[Trial]]


class Series(NamedTuple):
    """A condition over time."""

    identity: Identity
    points: list[list[Trial]]
    """The trials of one experiment are one point."""
    changes: list[ChangePoint]

    @property
    def servers(self) -> int:
        """Servers and builds that it holds."""
        return len({(point[0].identity.server, point[0].identity.build) for point in self.points})

    def at(self, trial: Trial) -> int:
        """The number of the point that a trial is in."""
        return next(at for at, point in enumerate(self.points) if any(each is trial for each in point))


def render_history(
    groups: Groups,
    points: Sequence[ChangePoint],
    metrics: Sequence[str],
    missing: Sequence[tuple[str, str]] = (),
) -> str:
    """The page as text. groups: trials by what is one condition; points: its changes; metrics: that were looked at."""
    series = [
        Series(identity, _points(trials), [each for each in points if each.identity == identity])
        for identity, trials in groups.items()
    ]
    differ = [part for part in PARTS if len({getattr(each.identity, part) for each in series}) > 1]
    drawn = sorted(series, key=lambda each: (-len(each.changes), -len(each.points)))[:MOST_PICTURES]
    trials = [trial for own in groups.values() for trial in own]
    few = sum(len(each.points) < 2 * FEWEST for each in series)
    notes = []
    if few:
        notes.append(
            f"{counted(few, 'condition')} of {len(series)} measured fewer than {2 * FEWEST} times (an experiment counts once): "
            "too few to find a change"
        )
    if len(series) > len(drawn):
        notes.append(
            f"{len(drawn)} of {counted(len(series), 'condition')} are drawn; the tables below hold all"
        )
    return rendered(
        "history.html",
        title=f"{_heading(series, points)} · serving-bench",
        heading=_heading(series, points),
        subtitle=_subtitle(trials),
        changes=_sentences(series, differ),
        notes=notes,
        missing=missing,
        figures=[figure(picture) for each in drawn if (picture := _picture(each, metrics, differ)) is not None],
        tables=[
            (_title(each.identity, differ), table, rows_of(table))
            for each in series
            for table in [_table(each, metrics)]
        ],
        methods=[
            ("change", "a shift of a metric that is clearer than chance makes it in noise in which neighbouring runs resemble "
                       "each other, and larger than the metric's tolerance; all series are judged together"),
            ("false alarms", f"of the series with a change, {FALSE_SHARE:.0%} are expected to be none"),
            ("points", "medians of the trials of an experiment, or single runs; bars reach from the least to the greatest trial"),
            ("levels", "horizontal lines: the median between two changes"),
        ],
    )  # fmt: skip


def _points(trials: Sequence[Trial]) -> list[list[Trial]]:
    """In the order of time, those without a value too."""
    by_experiment: dict[str, list[Trial]] = {}
    for trial in trials:
        by_experiment.setdefault(trial.block[0] if trial.block else str(trial.path), []).append(trial)
    return list(by_experiment.values())


def _heading(series: Sequence[Series], points: Sequence[ChangePoint]) -> str:
    worse = sum(each.worse for each in points)
    names = sorted({each.identity.scenario for each in series} - {""})
    title = ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
    changes = f"{counted(len(points), 'change')}, {worse} to the worse" if points else "no change"
    return f"{title or 'History'}: {changes}"


def _subtitle(trials: Sequence[Trial]) -> str:
    days = sorted({trial.started[:10] for trial in trials})
    commits = {trial.manifest.git.commit for trial in trials} - {None}
    parts = [days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}", counted(len(trials), "trial")]
    if commits:
        parts.append(counted(len(commits), "commit"))
    return " · ".join([*parts, f"serving-bench {__version__}"])


def _sentences(series: Sequence[Series], differ: Sequence[str]) -> list[dict[str, Any]]:
    """What changed with which run, in the order of time: all metrics of a condition that changed with it together."""
    texts: list[tuple[str, dict[str, Any]]] = []
    for own in series:
        for (run, worse), changes in groupby(own.changes, key=lambda each: (each.first.path, each.worse)):
            together = list(changes)
            first, at = together[0].first, own.at(together[0].first)
            label = _label(first, server=own.servers > 1)
            before = _label(own.points[at - 1][0], server=own.servers > 1) if at else ""
            after = f", after {before}" if before and before != label else ""
            title = f"{_title(own.identity, differ)}: " if len(series) > 1 else ""
            text = (
                f"{title}{', '.join(map(_size, together))} since {label}{after} ({first.started[:10]}, {run})"
            )
            texts.append((first.started, {"worse": worse, "text": text}))
    return [text for _, text in sorted(texts, key=lambda each: each[0])]


def _size(each: ChangePoint) -> str:
    size = change(each.metric, [each.before], [each.after], paired=False).size
    values = f"{value_text(each.metric, each.before)} to {value_text(each.metric, each.after)}"
    return f"{metric_title(each.metric)} {size_text(each.metric, size)} ({values})"


def _title(identity: Identity, differ: Sequence[str]) -> str:
    return identity.words(
        [part for part in differ if getattr(identity, part) not in (None, "")]
    ) or identity.words([part for part in ("server", "batch", "load") if getattr(identity, part)])


def _label(trial: Trial, *, server: bool = False) -> str:
    """A point on the axis: commit (its day where none is known), version and, where these differ, the server's build."""
    git, identity = trial.manifest.git, trial.identity
    parts = [f"{git.commit[:HASH]}{'+' if git.dirty else ''}" if git.commit else trial.started[5:10]]
    if identity.version is not None:
        parts.append(f"v{identity.version}")
    if server:
        parts.append(identity.build or identity.server)
    return " ".join(parts)


def _picture(series: Series, metrics: Sequence[str], differ: Sequence[str]) -> Picture | None:
    own = [name for name in metrics if tells(series.points[0], name)]
    every = [panel for name in own if (panel := _trend(series, METRICS[name])) is not None]
    panels = [panel for panel in every if len(set(panel.values)) > 1 or len(panel.values) == 1]
    if not panels:
        return None
    labels = [_label(point[0], server=series.servers > 1) for point in series.points]
    title = _title(series.identity, differ)
    caption = f"{title}: {counted(len(series.points), 'point')}, {counted(len(series.changes), 'change')}."
    constant = [f"{each.title} {each.text(each.values[0])}" for each in every if each not in panels]
    if constant:
        caption += f" The same at every point: {', '.join(constant)}."
    name = "-".join(part for part in (series.identity.request, title) if part)
    return Picture(
        f"history-{name}", caption, trends(panels, labels), AXIS + PANEL * len(panels), course=True
    )


def _trend(series: Series, metric: Metric) -> Trend | None:
    """None where no point has a value."""
    own = [[trial.values[metric.name] for trial in point] for point in series.points]
    known = [[value for value in values if not math.isnan(value)] for values in own]
    if not any(math.isfinite(value) for values in known for value in values):
        return None
    medians = [float(np.median(values)) if values else math.nan for values in known]
    finite = [[value for value in values if math.isfinite(value)] for values in known]
    changes = [each for each in series.changes if each.metric is metric]
    starts = [series.at(each.first) for each in changes]
    ends = [*starts, len(series.points)]
    levels = [changes[0].before, *(each.after for each in changes)] if changes else []
    return Trend(
        title=metric_title(metric),
        seconds=metric.unit == "s",
        text=lambda value: value_text(metric, value),
        values=medians,
        low=[min(values) if values else math.nan for values in finite],
        high=[max(values) if values else math.nan for values in finite],
        changes=[(at, each.worse) for at, each in zip(starts, changes, strict=True)],
        levels=list(zip([0, *starts], ends, levels, strict=True)) if changes else [],
    )


def _table(series: Series, metrics: Sequence[str]) -> Table:
    points = series.points
    calm = [False] * len(points)
    changed = {(series.at(each.first), each.metric.name) for each in series.changes if each.worse}
    columns = [
        Column("began", True, [point[0].started[:16].replace("T", " ") for point in points], calm),
        Column("commit", True, [_label(point[0], server=series.servers > 1) for point in points], calm),
        Column("trials", False, [str(len(point)) for point in points], calm, weight=1),
    ]
    for name in metrics:
        if not tells(points[0], name):
            continue
        values = [
            [trial.values[name] for trial in point if not math.isnan(trial.values[name])] for point in points
        ]
        if any(values):
            texts = [
                value_text(METRICS[name], float(np.median(of))) if of else formatting.ABSENT for of in values
            ]
            columns.append(
                Column(
                    metric_title(METRICS[name]),
                    False,
                    texts,
                    [(at, name) in changed for at in range(len(points))],
                )
            )
    columns.append(Column("run", True, [point[0].path.name for point in points], calm))
    return Table(columns, [], [])
