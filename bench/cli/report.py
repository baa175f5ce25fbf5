"""`bench report`: show what runs measured."""

from pathlib import Path

import click
from rich.console import Console

from bench import BenchError
from bench.analysis.showing.report import Report, plain
from bench.analysis.showing.report import report as read_report
from bench.analysis.showing.split_table import split_table
from bench.analysis.showing.summary import summary
from bench.analysis.showing.table import as_csv, markdown
from bench.cli.metric_options import goodput_option
from bench.cli.output import note
from bench.cli.tables import show_report, show_table
from bench.cli.terminal import console
from bench.runs.jsonl import json_text
from bench.runs.run import find_runs


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), default=(Path("results"),))
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page with pictures.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every number as JSON, durations in seconds.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--csv", "as_table", is_flag=True, help="Print every number as CSV, durations in seconds.")
@goodput_option("Show goodput too:")
def report(
    *,
    paths: tuple[Path, ...],
    html: Path | None,
    as_json: bool,
    as_markdown: bool,
    as_table: bool,
    answered_within: float | None,
) -> int:
    """Show what runs measured. PATHS: run folders, or folders of them (default: results).

    Numbers are those of the steady part: the warm-up is left out. Latency is done - due, of all requests that were
    due: one without an answer counts as slower than any. A percentile that the number of requests cannot support is
    not shown. Exit code 0, or 2 where nothing could be read.
    """
    if as_json + as_markdown + as_table > 1:
        raise BenchError("--json, --markdown and --csv each print to standard output: give one of them")
    found = read_report(find_runs(paths), answered_within)
    _refuse_nothing(found, paths)
    if html is not None:
        from bench.analysis.showing.page import write_page

        write_page(html, found)
        click.echo(f"written: {html}", err=True)
    if as_json:
        click.echo(json_text(plain(found)))
    elif as_markdown:
        together = summary(found.groups) if found.groups else None
        click.echo(markdown(found, together, split_table(found)), nl=False)
    elif as_table:
        click.echo(as_csv(found), nl=False)
    else:
        screen = console()
        _show_experiments(screen, found)
        show_report(screen, found)
        return 0
    for word, text in found.missing:
        note(f"{word}: {text}")
    return 0


def _show_experiments(console: Console, found: Report) -> None:
    """The cells of experiments, their trials taken together, where there are any."""
    if found.groups:
        cells = summary(found.groups)
        show_table(console, cells)
        for note in cells.notes:
            console.print(note, style="dim")
        console.print()


def _refuse_nothing(found: Report, paths: tuple[Path, ...]) -> None:
    if found.runs:
        return
    if found.unreadable:
        more = f" (and {len(found.unreadable) - 1} more)" if len(found.unreadable) > 1 else ""
        raise BenchError(found.unreadable[0].reason + more)
    if not found.failed:
        given = ", ".join(map(str, paths))
        raise BenchError(f"{given}: no run in it; record one with locust -f scenarios/mnist.py")
