"""`bench history`: since when is it slower?"""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from bench import BenchError
from bench.analysis.change import change
from bench.analysis.comparison_table import size_text, value_text
from bench.analysis.history import FEWEST, ChangePoint
from bench.analysis.history import history as find_changes
from bench.analysis.metrics import METRICS
from bench.analysis.trials import Trials, read_trials
from bench.cli.tables import hanging
from bench.config.reading import nearest
from bench.run import find_runs

WATCHED = ("p50", "p99", "requests_per_second", "error_share", "accuracy", "cpu_per_request")


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), default=(Path("results"),))
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Look only at this; may be given again."
)
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def history(*, paths: tuple[Path, ...], metrics: tuple[str, ...], as_json: bool) -> int:
    """Find the runs with which a metric changed, over runs of the same thing in the order of time.

    PATHS: run folders, or folders of them.
    """
    for name in metrics:
        if name not in METRICS:
            raise BenchError(
                f"--metric {name}: unknown{nearest(name, METRICS)}; known are {', '.join(METRICS)}"
            )
    trials = read_trials(find_runs(paths))
    for each in trials.unreadable:
        click.echo(f"bench: left out: {each.reason}", err=True)
    if not trials.trials:
        raise BenchError(f"{', '.join(map(str, paths))}: no run in it; name a folder of runs")
    found = find_changes(trials.by_identity(), metrics or WATCHED)
    if as_json:
        click.echo(json.dumps([_plain(point) for point in found], indent=1))
    else:
        _show(Console(file=sys.stdout, highlight=False), found, trials)
    return 0


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


def _show(console: Console, found: list[ChangePoint], trials: Trials) -> None:
    groups = trials.by_identity()
    few = sum(len(own) < 2 * FEWEST for own in groups.values())
    console.print(
        Text(f"{len(trials.trials)} trials of {len(groups)} cells, {len(found)} changes", style="bold")
    )
    for point in found:
        size = change(point.metric, [point.before], [point.after], paired=False).size
        verdict = ("worse   ", "red") if point.worse else ("better  ", "green")
        text = f"{point.metric.name} {size_text(point.metric, size)} "
        values = f"({value_text(point.metric, point.before)} to {value_text(point.metric, point.after)}) "
        cell = point.identity.words(("server", "version", "batch", "load"))
        hanging(console, Text.assemble(verdict, text, (values, "dim"), f"since {point.first.path}: {cell}"))
    if few:
        console.print(Text(f"{few} cells with fewer than {2 * FEWEST} trials tell nothing", style="dim"))
