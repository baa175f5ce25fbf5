"""Tables for terminals, wide or narrow."""

import math
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Drawing
from rich.text import Text

from bench import BenchError
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.showing.best import conclusions
from bench.analysis.showing.remarks import (
    agreements_of,
    answers_of_runs,
    capacities_of,
    interruptions_of,
    tunings_of,
    warnings_of_runs,
)
from bench.analysis.showing.report import (
    Report,
    RunReport,
)
from bench.analysis.showing.split_table import TITLE, split_table
from bench.analysis.showing.summary import summary
from bench.analysis.showing.table import Column, Table, table
from bench.config.reading import nearest
from bench.wording import counted

MOST_LINES = 30
"""Warnings and unreadable runs that are shown one by one."""
MOST_RUNS = 20
"""Rows of the table of runs: more are no screen, and shown where they are asked for."""
MOST_SPLITS = 16
"""Rows of the table that says where the time goes; more are in the page and in --json."""


@dataclass(frozen=True)
class View:
    """The parts of a report that are shown."""

    wide: bool = False
    """All columns, trials and warnings, whatever the width."""
    trials: bool = False
    """Each trial of an experiment too, not only the conditions."""
    columns: tuple[str, ...] = ()
    """Titles of the columns of numbers to show; empty: as many as fit."""
    sort: str | None = None
    """A metric by which runs are ordered, the best first."""
    last: int | None = None
    """Only so many runs, the newest."""


def show_report(console: Console, report: Report, view: View | None = None) -> None:
    """Conditions of experiments, the table of runs, then the warnings and what could not be read."""
    view = view or View()
    _show_conditions(console, report, view)
    shown = _shown_runs(report, view)
    drawn = _chosen(table(shown), view)
    if shown.runs:
        show_table(console, drawn, wide=view.wide or bool(view.columns))
    hidden = len(report.runs) - len(shown.runs)
    if hidden:
        console.print(
            Text(f"{counted(hidden, 'run')} not in the table: --trials or --wide shows all", style="dim")
        )
    for note in drawn.notes:
        console.print(Text(note, style="dim"))
    split = split_table(report)
    if split is not None and len(split.columns[0].texts) <= MOST_SPLITS:
        console.print(Text(TITLE))
        show_table(console, split)
        for note in split.notes:
            console.print(Text(note, style="dim"))
    for name, answer in answers_of_runs(report):
        prefix = f"{name}: " if len(report.runs) > 1 else ""
        hanging(console, Text.assemble(("answer  ", "green"), (prefix, "bold"), answer))
    for each in agreements_of(report):
        hanging(console, Text.assemble(("answers  ", "green"), each))
    for each in capacities_of(report):
        hanging(console, Text.assemble(("capacity  ", "green"), each))
    for each in tunings_of(report):
        hanging(console, Text.assemble(("tuning  ", "green"), each))
    remarks = [Text.assemble(("interrupted  ", "yellow"), each) for each in interruptions_of(report)]
    remarks += [
        warning_text(warning, f"{name}: " if len(report.runs) > 1 else "")
        for name, warning in warnings_of_runs(report)
    ]
    remarks += [Text.assemble((f"{word}  ", "red"), text) for word, text in report.missing]
    most = len(remarks) if view.wide else MOST_LINES
    for text in remarks[:most]:
        hanging(console, text)
    if len(remarks) > most:
        console.print(
            Text(
                f"and {len(remarks) - most} more warnings or runs left out: --wide shows all", style="yellow"
            )
        )


def _show_conditions(console: Console, report: Report, view: View) -> None:
    """The conditions of experiments, averaged over their trials, and the conclusion."""
    groups = report.groups
    if not groups:
        return
    cells = summary(groups, report.compared)
    show_table(console, cells, wide=view.wide)
    for note in cells.notes:
        console.print(Text(note, style="dim"))
    for text in conclusions(report):
        hanging(console, Text.assemble(("answer  ", "green"), text))
    console.print()


def _shown_runs(report: Report, view: View) -> Report:
    """The runs that the table shows: those that are no trial of a condition shown above it, unless all are asked for."""
    runs = report.runs
    if report.groups and not (view.trials or view.wide or view.last):
        averaged = {(group.experiment, group.identity) for group in report.groups}
        runs = [
            run
            for run in runs
            if run.block is None
            or any((Path(run.block[0]).name, line.identity) not in averaged for line in run.lines)
            or not run.lines
        ]
    if view.last is not None:
        runs = runs[-view.last :]
    if view.sort is not None:
        metric = METRICS[view.sort]
        worst = math.inf if metric.better == "lower" else -math.inf
        best = [_best(run, view.sort, worst) for run in runs]
        order = sorted(range(len(runs)), key=lambda at: best[at], reverse=metric.better == "higher")
        runs = [runs[at] for at in order]
    if not (view.trials or view.wide or view.last):
        runs = runs[-MOST_RUNS:] if view.sort is None else runs[:MOST_RUNS]
    return replace(report, runs=runs)


def _best(run: RunReport, metric: str, worst: float) -> float:
    value = run.lines[0].values.get(metric, math.nan) if run.lines else math.nan
    return worst if math.isnan(value) else value


def _chosen(drawn: Table, view: View) -> Table:
    """The table with the columns of numbers that were named. Raises BenchError for one that there is not."""
    if not view.columns:
        return drawn
    known = {column.title.split(" ")[0]: column for column in drawn.columns if not column.identity}
    for name in view.columns:
        if name not in known:
            raise BenchError(
                f"--columns {name}: no such column{nearest(name, known)}; valid names: {', '.join(known)}"
            )
    identity = [column for column in drawn.columns if column.identity]
    return replace(drawn, columns=[*identity, *(known[name] for name in view.columns)])


def warning_text(warning: RunWarning, prefix: str = "", title: str = "warning") -> Text:
    """A warning as a line, with the name by which it is accepted."""
    remedy = (f"; {warning.remedy}" if warning.remedy else "", "dim")
    return Text.assemble(
        (f"{title}  ", "yellow"), (prefix, "bold"), warning.reason, remedy, f"  [{warning.check}]"
    )


def show_table(console: Console, drawn: Table, *, wide: bool = False) -> None:
    """One table, without the columns of least weight where the terminal is narrow, unless it is to be wide.

    A wide one is as wide as it has to be. Where even the others do not fit: what was measured first, and the numbers below, joined by a
    number, or a line for each column where there is one row.
    """
    if drawn.shared:
        _show_facts(console, drawn.shared)
    unbounded = console.options.update(max_width=10_000)
    columns = drawn.columns
    left_out: list[str] = []
    while True:
        for tight in (False, True):
            drawing = _drawing(columns, tight=tight)
            if Measurement.get(console, unbounded, drawing).maximum <= console.width:
                console.print(drawing)
                if left_out:
                    console.print(Text(f"columns left out: {', '.join(left_out)} (--wide)", style="dim"))
                return
        if wide:  # lines are longer than the terminal then, for `less -S` and for files
            drawing = _drawing(columns)
            console.width = Measurement.get(console, unbounded, drawing).maximum
            console.print(drawing)
            return
        heaviest = max(column.weight for column in columns)
        if not heaviest:
            break
        left_out += [column.title for column in columns if column.weight == heaviest]
        columns = [column for column in columns if column.weight < heaviest]
    count = len(drawn.columns[0].texts)
    number = Column("#", True, [str(i) for i in range(1, count + 1)], [False] * count)
    if left_out:
        console.print(Text(f"columns left out: {', '.join(left_out)} (--wide)", style="dim"))
    identity = [column for column in columns if column.identity]
    measured = [column for column in columns if not column.identity]
    if identity and count > 1:
        measured = [number, *measured]
    numbers = _drawing(measured, tight=True)
    if (identity and count == 1) or Measurement.get(console, unbounded, numbers).maximum > console.width:
        _show_upright(console, drawn)
        return
    if identity:
        console.print(_drawing([number, *identity]))
    console.print(numbers)


def _show_facts(console: Console, facts: list[tuple[str, str]]) -> None:
    """Title and text of each, as many in a line as fit."""
    line = Text()
    for title, text in facts:
        fact = Text.assemble((f"{title} ", "dim"), (text, "bold"))
        if line and len(line) + 2 + len(fact) > console.width:
            console.print(line)
            line = Text()
        line.append("  " if line else "").append(fact)
    console.print(line)


def _show_upright(console: Console, drawn: Table) -> None:
    """For very narrow terminals: a block for each row, a line for each column."""
    for at in range(len(drawn.columns[0].texts)):
        block = Drawing.grid(padding=(0, 2))
        for column in drawn.columns:
            style = "yellow" if column.alarms[at] else ""
            block.add_row(Text(column.title, style="dim"), Text(column.texts[at], style=style))
        console.print(block, Text(""), sep="\n", end="")


def _drawing(columns: list[Column], *, tight: bool = False) -> Drawing:
    drawing = Drawing(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0) if tight else (0, 1), pad_edge=False, header_style="dim"
    )
    for column in columns:
        # no wider than what stands below it, or its longest word
        longest = max(map(len, (*column.texts, *column.title.split())))
        title = "\n".join(textwrap.wrap(column.title, longest)) if tight else column.title
        # a Text: in a str "[ms]" would be a style
        drawing.add_column(
            Text(title), justify="left" if column.identity else "right", no_wrap=not column.identity
        )
    for at in range(len(columns[0].texts)):
        drawing.add_row(*(Text(c.texts[at], style="yellow" if c.alarms[at] else "") for c in columns))
    return drawing


def hanging(console: Console, text: Text, indent: int | None = None) -> None:
    """Wrapped lines are indented below the first word, or by so many characters."""
    indent = text.plain.index("  ") + 2 if indent is None else indent
    head, body = text.divide([indent])
    for line in body.wrap(console, max(20, console.width - indent)):
        line.rstrip()
        console.print(head + line)
        head = Text(" " * indent)
