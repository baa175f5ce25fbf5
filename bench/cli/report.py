"""`bench report`: show what runs measured."""

from pathlib import Path

import click

from bench import BenchError, extras
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.showing.report import Report, plain
from bench.analysis.showing.report import report as read_report
from bench.cli.metric_options import goodput_option
from bench.cli.new_file import NewFile
from bench.cli.output import note
from bench.runs.jsonl import json_text
from bench.runs.run import find_runs


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), default=(Path("results"),))
@click.option(
    "--html",
    type=NewFile(),
    metavar="FILE",
    help="Write an HTML page with charts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every number as JSON, durations in seconds.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--csv", "as_table", is_flag=True, help="Print every number as CSV, durations in seconds.")
@click.option("--trials", is_flag=True, help="List each trial of an experiment too, not only its conditions.")
@click.option(
    "--wide", is_flag=True, help="Show all columns, trials and warnings, however wide the terminal is."
)
@click.option(
    "--columns",
    callback=lambda _context, _parameter, value: tuple(value.split(",")) if value else (),
    metavar="NAME,...",
    help="Show these columns, such as req/s,p50,p99,max.",
)
@click.option(
    "--sort",
    type=click.Choice(list(METRICS)),
    metavar="METRIC",
    help="Order runs by a metric, the best first.",
)
@click.option("--last", type=click.IntRange(1), metavar="N", help="Show the newest N runs only.")
@goodput_option("Show goodput too")
def report(
    *,
    paths: tuple[Path, ...],
    html: Path | None,
    as_json: bool,
    as_markdown: bool,
    as_table: bool,
    trials: bool,
    wide: bool,
    columns: tuple[str, ...],
    sort: str | None,
    last: int | None,
    answered_within: float | None,
) -> int:
    """Show what runs measured. PATHS: run folders, or folders that contain them (default: results).

    Numbers are those of the steady part: the warm-up is left out. Latency is done - due, of all requests that were
    due: one without an answer counts as slower than any. A percentile that the number of requests cannot support is
    not shown. Exit code 0, or 2 if nothing could be read.
    """
    if as_json + as_markdown + as_table > 1:
        raise BenchError("--json, --markdown and --csv each print to standard output: give one of them")
    if html is not None:
        extras.need("matplotlib", f"--html {html}")
    results = read_report(find_runs(paths), answered_within)
    _refuse_nothing(results, paths)
    if html is not None:
        from bench.analysis.showing.page import render_page, write_page

        write_page(html, render_page(results))
        click.echo(f"written: {html}", err=True)
    # what draws is imported where it is needed: the end of each run, which reads JSON, need not wait for it
    if as_json:
        click.echo(json_text(plain(results)))
    elif as_markdown:
        from bench.analysis.showing.split_table import split_table
        from bench.analysis.showing.summary import summary
        from bench.analysis.showing.table import markdown

        together = summary(results.groups, results.compared) if results.groups else None
        click.echo(markdown(results, together, split_table(results)), nl=False)
    elif as_table:
        from bench.analysis.showing.table import as_csv

        click.echo(as_csv(results), nl=False)
    else:
        from bench.cli.tables import View, show_report
        from bench.cli.terminal import console

        show_report(console(), results, View(wide, trials, columns, sort, last))
        return 0
    for word, text in results.missing:
        note(f"{word}: {text}")
    return 0


def _refuse_nothing(results: Report, paths: tuple[Path, ...]) -> None:
    if results.runs or results.agreements:
        return
    if results.unreadable:
        more = f" (and {len(results.unreadable) - 1} more)" if len(results.unreadable) > 1 else ""
        raise BenchError(results.unreadable[0].reason + more)
    if not results.failed:
        listed = ", ".join(map(str, paths))
        raise BenchError(f"{listed}: no run in it; record one with bench scenario mnist")
