"""Tables for terminals, wide or narrow."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Drawing
from rich.text import Text

from bench.analysis.grouping.trials import FailedTrial
from bench.analysis.reading.doubt import Doubt
from bench.analysis.showing.report import Report, doubts_told, interruptions_told, labels
from bench.analysis.showing.split_table import TITLE, split_table
from bench.analysis.showing.table import Column, Table, table

MOST_LINES = 30
"""Warnings and unreadable runs that are shown one by one."""
MOST_SPLITS = 16
"""Rows of the table that says where the time goes; more are in the page and in --json."""


def show_report(console: Console, report: Report) -> None:
    """The table of a report, then the warnings and what could not be read."""
    drawn = table(report)
    if report.runs:
        show_table(console, drawn)
    for note in drawn.notes:
        console.print(Text(note, style="dim"))
    split = split_table(report)
    if split is not None and len(split.columns[0].texts) <= MOST_SPLITS:
        console.print(Text(TITLE))
        show_table(console, split)
        for note in split.notes:
            console.print(Text(note, style="dim"))
    for name, run in zip(labels(report.runs), report.runs, strict=True):
        for answer in run.answers:
            who = f"{name}: " if len(report.runs) > 1 else ""
            hanging(console, Text.assemble(("answer  ", "green"), (who, "bold"), answer.text))
    told = [Text.assemble(("interrupted  ", "yellow"), each) for each in interruptions_told(report)]
    told += [
        warning(doubt, f"{name}: " if len(report.runs) > 1 else "") for name, doubt in doubts_told(report)
    ]
    told += [Text.assemble((f"{word}  ", "red"), text) for word, text in report.missing]
    for text in told[:MOST_LINES]:
        hanging(console, text)
    if len(told) > MOST_LINES:
        console.print(
            Text(f"and {len(told) - MOST_LINES} more warnings or runs left out: see --json", style="yellow")
        )


def failed_trials(failed: Iterable[FailedTrial]) -> list[Text]:
    """A line for each failed trial, with its reason."""
    return [Text.assemble(("failed  ", "red"), str(each)) for each in failed]


def warning(doubt: Doubt, who: str = "", title: str = "warning") -> Text:
    """A warning as a line, with the name by which it is accepted."""
    remedy = (f"; {doubt.remedy}" if doubt.remedy else "", "dim")
    return Text.assemble((f"{title}  ", "yellow"), (who, "bold"), doubt.reason, remedy, f"  [{doubt.check}]")


def show_table(console: Console, drawn: Table) -> None:
    """One table where it fits; else what was measured first, and the numbers below, joined by a number."""
    if drawn.shared:
        _show_facts(console, drawn.shared)
    whole = _drawing(drawn.columns)
    unbounded = console.options.update(max_width=10_000)
    for drawing in (whole, _drawing(drawn.columns, tight=True)):
        if Measurement.get(console, unbounded, drawing).maximum <= console.width:
            console.print(drawing)
            return
    count = len(drawn.columns[0].texts)
    number = Column("#", True, [str(i) for i in range(1, count + 1)], [False] * count)
    identity = [column for column in drawn.columns if column.identity]
    measured = [column for column in drawn.columns if not column.identity]
    if identity and count > 1:
        measured = [number, *measured]
    numbers = _drawing(measured, tight=True)
    if Measurement.get(console, unbounded, numbers).maximum > console.width:
        _show_upright(console, drawn)
        return
    if identity and count > 1:
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
        title = column.title.replace(" ", "\n") if tight else column.title
        # a Text: in a str "[ms]" would be a style
        drawing.add_column(
            Text(title), justify="left" if column.identity else "right", no_wrap=not column.identity
        )
    for at in range(len(columns[0].texts)):
        drawing.add_row(*(Text(c.texts[at], style="yellow" if c.alarms[at] else "") for c in columns))
    return drawing


def hanging(console: Console, text: Text) -> None:
    """Wrapped lines are indented below the first word."""
    indent = text.plain.index("  ") + 2
    lines = text.wrap(console, max(20, console.width - indent))
    for at, line in enumerate(lines):
        line.rstrip()
        console.print(line if at == 0 else Text(" " * indent) + line)
