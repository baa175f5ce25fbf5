"""`bench history`: find the runs with which a metric changed."""

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from bench import BenchError, extras
from bench.analysis.capacity.recorded import CAPACITY
from bench.analysis.grouping.conditions import commit, stripped, without_copies
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trial, Trials, read_trials
from bench.analysis.judging.change import change
from bench.analysis.judging.history import FALSE_SHARE, ChangePoint, is_level, points_of
from bench.analysis.judging.history import history as find_changes
from bench.analysis.showing.comparison_table import metric_title, size_text, value_text
from bench.analysis.statistics.step import FEWEST
from bench.cli.baseline import find_apart
from bench.cli.metric_options import goodput_option, metrics_to_judge
from bench.cli.new_file import NewFile
from bench.cli.numbers import Share
from bench.cli.output import note
from bench.cli.tables import hanging
from bench.cli.terminal import console
from bench.runs.jsonl import json_text
from bench.wording import counted

ACROSS = ("version", "build", "server", "model")
"""What runs of one series may differ in."""
WATCHED = ("p50", "p99", "requests_per_second", "error_share", "accuracy", "cpu_per_request", CAPACITY)


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), default=(Path("results"),))
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Only this metric; may be repeated.")
@click.option(
    "--least",
    metavar="SHARE",
    type=Share(),
    help="Report changes above this size, such as 5%; default: the tolerance of each metric (2 % for p50).",
)
@click.option(
    "--across",
    type=click.Choice(ACROSS),
    multiple=True,
    help="Treat these as one series, to find the one at which a metric changed; may be repeated.",
)
@click.option(
    "--html",
    type=NewFile(),
    metavar="FILE",
    help="Write an HTML page: each condition over commits and versions.",
)
@goodput_option("Look at goodput too")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def history(
    *,
    paths: tuple[Path, ...],
    metrics: tuple[str, ...],
    least: float | None,
    across: tuple[str, ...],
    html: Path | None,
    answered_within: float | None,
    as_json: bool,
) -> int:
    """Find the runs at which a metric changed, over time, for each condition.

    PATHS: run folders, or folders that contain them. The trials of one experiment count as one point.
    """
    if html is not None:
        extras.need("matplotlib", f"--html {html}")
    judged = metrics_to_judge(metrics, WATCHED, answered_within)
    trials = without_copies(read_trials(find_apart(paths), answered_within))
    for word, text in trials.missing:
        note(f"{word}: {text}")
    if not trials.trials:
        raise BenchError(f"{', '.join(map(str, paths))}: no run in it; name a folder of runs")
    warned = _warned(trials.trials)
    for text in warned:
        note(text)
    groups = _series(trials, across)
    changes = find_changes(groups, judged, least=least)
    if html is not None:
        from bench.analysis.showing.history_page import render_history
        from bench.analysis.showing.page import write_page

        write_page(
            html,
            render_history(
                groups, changes, judged, [*trials.missing, *(("warning", text) for text in warned)]
            ),
        )
        click.echo(f"written: {html}", err=True)
    if as_json:
        click.echo(json_text([_plain(point) for point in changes]))
    else:
        _show(console(), changes, groups)
    return 0


def _warned(trials: list[Trial]) -> list[str]:
    """Which of the runs have warnings: a change since such a run may be what it warns of."""
    runs: dict[str, dict[str, None]] = {}
    for trial in trials:
        for warning in trial.warnings:
            runs.setdefault(warning.check, {})[trial.path.name] = None
    return [
        f"used despite the warning [{check}]: {counted(len(names), 'run')}{':' if len(names) == 1 else ', such as'} "
        f"{next(iter(names))}"
        for check, names in sorted(runs.items())
    ]


def _series(trials: Trials, across: tuple[str, ...]) -> dict[Identity, list[Trial]]:
    """Trials of each condition, in the order of time; `across`: what a condition may differ in."""
    by_condition: dict[Identity, list[Trial]] = {}
    for trial in trials.trials:
        parts = (*across, "load") if is_level(trial) else across
        by_condition.setdefault(stripped(trial.identity, parts), []).append(trial)
    return by_condition


def _plain(point: ChangePoint) -> dict[str, object]:
    return {
        "metric": point.metric.name,
        "cell": point.identity._asdict(),
        "first_run": str(point.first.path),
        "started": point.first.started,
        "before": point.before,
        "after": point.after,
        "worse": point.worse,
        "p": point.p,
    }


def _show(console: Console, changes: list[ChangePoint], groups: dict[Identity, list[Trial]]) -> None:
    trials = sum(map(len, groups.values()))
    few = sum(max(len(points_of(own, name)) for name in METRICS) < 2 * FEWEST for own in groups.values())
    console.print(
        Text(
            f"{counted(trials, 'trial')} of {counted(len(groups), 'cell')}, {counted(len(changes), 'change')}",
            style="bold",
        )
    )
    for point in changes:
        size = change(point.metric, [point.before], [point.after], paired=False).size
        verdict = ("worse   ", "red") if point.worse else ("better  ", "green")
        text = f"{metric_title(point.metric)} {size_text(point.metric, size)} "
        values = f"({value_text(point.metric, point.before)} to {value_text(point.metric, point.after)}) "
        parts = [part for part in ("server", "version", "batch", "load") if getattr(point.identity, part)]
        cell = point.identity.words(parts)
        known = commit(point.first)
        since = f"since {f'commit {known}, ' if known else ''}{point.first.path}: {cell}"
        hanging(console, Text.assemble(verdict, text, (values, "dim"), since))
    if changes:
        console.print(
            Text(
                f"of the series with a change, {FALSE_SHARE:.0%} are expected to be false alarms", style="dim"
            )
        )
    if few:
        console.print(
            Text(
                f"{counted(few, 'cell')} with fewer than {2 * FEWEST} measurements (an experiment counts once): too few to find a change",
                style="dim",
            )
        )
