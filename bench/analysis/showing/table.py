"""Columns of the report's table and the text of each of its cells.

Terminal, Markdown, HTML and CSV show the same table; only how it is drawn differs.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench import escape
from bench.analysis import formatting
from bench.analysis.formatting import Unit
from bench.analysis.reading.metric import COST, GOODPUT, GOODPUT_RATE, PERCENTILES, label
from bench.analysis.reading.population import NOT_DETERMINED, NOT_REACHED, percent
from bench.analysis.showing.remarks import (
    agreements_of,
    answers_of_runs,
    capacities_of,
    interruptions_of,
    tunings_of,
    warnings_of_runs,
)
from bench.analysis.showing.report import (
    Line,
    Report,
    RunReport,
    labels,
    plain,
)
from bench.analysis.statistics.sample_size import samples_needed
from bench.runs.sample import CANCELLED_BY_CLIENT
from bench.wording import counted


@dataclass(frozen=True)
class Column:
    """A column: its title, whether it tells what was measured or what came out, and its text in each row."""

    title: str
    identity: bool
    texts: list[str]
    alarms: list[bool]
    """Rows in which the text is bad news."""
    weight: int = 0
    """0: always shown; else a narrow terminal leaves out those of the greatest weight first."""

    @property
    def same(self) -> str | None:
        """The text of all rows that have one; None where they differ."""
        texts = set(self.texts) - {formatting.ABSENT} or set(self.texts)
        return texts.pop() if len(texts) == 1 else None


@dataclass(frozen=True)
class Table:
    """A table as columns of equal length, with what all rows share taken out."""

    columns: list[Column]
    shared: list[tuple[str, str]]
    """Title and text of the columns that would say the same in every row."""
    notes: list[str]
    """What the table leaves out, and why."""


MOST_UNANSWERED: Final = 4
"""Lines with unanswered requests that have a note each."""

PARTS: Final = {"service time": "service", "send delay": "lag"}
"""Parts of latency by their title: the prefix of their metrics."""

Row = tuple[RunReport, Line]

NO_LINE: Final = Line("–", None, 0, {}, 0, 0, {}, due=None, identity=None)  # type: ignore[arg-type]  # stands for a run without requests; neither is ever asked for


def table(report: Report) -> Table:
    """Throughput, latency, errors and accuracy; a run without requests has a row of dashes."""
    return _table(report, _measured, brief=False)


def parts_table(report: Report) -> Table:
    """Latency of the answered requests, and its parts of the sent ones; of a single line a row for each."""
    lines = [line for run in report.runs for line in run.lines]
    return _parts_of(lines[0]) if len(lines) == 1 else _table(report, _parts, brief=True)


def _table(report: Report, measured: Callable[[list[Row]], list[Column]], *, brief: bool) -> Table:
    rows = [(run, line) for run in report.runs for line in run.lines or [NO_LINE]]
    names = dict(zip((id(run) for run in report.runs), labels(report.runs), strict=True))
    of_run = {
        "run": lambda run, line: names[id(run)],
        "scenario": lambda run, line: run.scenario,
        "server": lambda run, line: run.server,
        "load": lambda run, line: run.load,
    }
    of_line = {
        "request": lambda run, line: line.name,
        "version": lambda run, line: _version(line),
        "batch": lambda run, line: str(line.batch or formatting.ABSENT),
    }
    order = ["run", "scenario", "server", "request", "version", "batch", "load"]
    texts: dict[str, Callable[[RunReport, Line], str]] = of_run | of_line
    columns = [
        Column(title, True, [texts[title](*row) for row in rows], [False] * len(rows)) for title in order
    ]
    shared = [(c.title, c.same) for c in columns if c.same is not None and c.title != "run"] if rows else []
    left_out = {title for title, _ in shared}
    if len(report.runs) == 1:
        left_out.add("run")
    if brief:  # what tells the lines of one run apart is enough beside the run's name
        left_out |= {"scenario", "server", "load"}
        if all(len(run.lines) <= 1 for run in report.runs):
            left_out |= set(of_line)
    shown = [column for column in columns if column.title not in left_out]
    return Table(shown + measured(rows), shared, [] if brief else _notes(report))


def _version(line: Line) -> str:
    """A failed request names no version: where several versions answered, such requests have a line of their own."""
    if line.version is not None:
        return str(line.version)
    return "no answer" if line.requests and not line.answered else formatting.ABSENT


def _measured(rows: list[Row]) -> list[Column]:
    unit = formatting.fitting_unit(line.values.get("p50", float("nan")) for _, line in rows)
    rates = {
        (line.values.get("requests_per_second"), line.values.get("inferences_per_second")) for _, line in rows
    }
    alike = all(requests == inferences for requests, inferences in rates)
    columns = [
        _column("req/s", rows, lambda line: formatting.rate(line.values.get("requests_per_second"))),
        _column(
            "inf/s",
            rows,
            lambda line: formatting.rate(line.values.get("inferences_per_second")),
            weight=9 if alike else 2,
        ),
        *(_percentile(q, rows, unit) for q in PERCENTILES),
        _column(f"max {unit.name}", rows, _metric_text("max", unit), weight=1),
        _column(
            "errors",
            rows,
            lambda line: formatting.share(line.values.get("error_share")),
            lambda line: line.values.get("error_share", 0.0) > 0,
        ),
        _column("accuracy", rows, lambda line: formatting.accuracy(line.values.get("accuracy")), weight=1),
    ]
    if any(not math.isnan(line.values.get(GOODPUT, math.nan)) for _, line in rows):
        columns += [
            _column("goodput", rows, lambda line: formatting.share(line.values.get(GOODPUT))),
            _column("good/s", rows, lambda line: formatting.rate(line.values.get(GOODPUT_RATE))),
        ]
    if any(not math.isnan(line.values.get(COST, math.nan)) for _, line in rows):
        columns.append(
            _column("cost/1M", rows, lambda line: formatting.significant(line.values.get(COST)), weight=1)
        )
    warnings = [str(len(run.warnings)) if run.warnings else "none" for run, _ in rows]
    return [*columns, Column("warnings", False, warnings, [bool(run.warnings) for run, _ in rows])]


def _parts(rows: list[Row]) -> list[Column]:
    unit = formatting.fitting_unit(line.values.get("mean", float("nan")) for _, line in rows)
    columns = [
        _column(f"{name} {unit.name}", rows, _metric_text(name, unit)) for name in ("mean", "std", "min")
    ]
    for title, kind in PARTS.items():
        unit = formatting.fitting_unit(line.values.get(f"{kind}_p50", float("nan")) for _, line in rows)
        columns += [
            _column(f"{title} p{q:g} {unit.name}", rows, _metric_text(f"{kind}_{label(q)}", unit))
            for q in (50, 99)
        ]
    return columns


def _parts_of(line: Line) -> Table:
    """A row for each part and a column for each percentile; mean and spread are known of the latency alone."""
    parts = {"latency, of answered requests": "answered"}
    parts |= {f"{title}, of sent requests": kind for title, kind in PARTS.items()}
    columns = [Column("part", True, list(parts), [False] * len(parts))]
    names = {f"p{q:g}": [f"{kind}_{label(q)}" for kind in parts.values()] for q in PERCENTILES}
    names |= {name: [name] for name in ("mean", "std", "min", "max")}
    for title, metrics in names.items():
        texts = [formatting.duration(line.values.get(name)) for name in metrics]
        texts += [""] * (len(parts) - len(texts))
        columns.append(Column(title, False, texts, [False] * len(parts)))
    return Table(columns, [], [])


def _metric_text(name: str, unit: Unit) -> Callable[[Line], str]:
    return lambda line: formatting.duration(line.values.get(name), unit)


def _percentile(q: float, rows: list[Row], unit: Unit) -> Column:
    return _column(
        f"p{q:g} {unit.name}",
        rows,
        lambda line: formatting.duration(line.values.get(label(q)), unit),
        weight=0 if q in (50, 99) else int(abs(q - 95) + 2),
    )


def _column(
    title: str,
    rows: list[Row],
    text: Callable[[Line], str],
    alarm: Callable[[Line], bool] = lambda line: False,
    *,
    weight: int = 0,
) -> Column:
    return Column(title, False, [text(line) for _, line in rows], [alarm(line) for _, line in rows], weight)


def _notes(report: Report) -> list[str]:
    notes = []
    if report.unsupported:
        needs = ", ".join(f"p{q:g} needs {samples_needed(q):,}" for q in report.unsupported)
        notes.append(f"{formatting.ABSENT} too few requests for the percentile: {needs}")
    notes += _unanswered(report) + warm_ups(report)
    cancelled = sum(line.outcomes.get(CANCELLED_BY_CLIENT, 0) for run in report.runs for line in run.lines)
    if cancelled:
        notes.append(f"cancelled by the load generator, in no error share: {counted(cancelled, 'request')}")
    for name, run in zip(labels(report.runs), report.runs, strict=True):
        notes += [f"{name}: {text}" if len(report.runs) > 1 else text for text in _attempts(run)]
    return notes


def _attempts(run: RunReport) -> list[str]:
    """How the requests reached the server, where that is not plain."""
    texts = []
    if run.retries:
        texts.append(
            f"{counted(run.retries, 'time')} the transport sent a request again that the server had given back; "
            "the latency includes it"
        )
    texts += [f"{text}; the latency includes it" for text, _ in run.waits]
    if len(run.addresses) > 1:
        each = ", ".join(f"{address} {count:,}" for address, count in run.addresses.items())
        texts.append(f"requests by address: {each}")
    return texts


def warm_ups(report: Report) -> list[str]:
    """What is left out as warm-up, and what it was like: of several runs the most of each."""
    left_out = [(run.warm_up.seconds, run.left_out) for run in report.runs if run.left_out is not None]
    if not left_out:
        return []
    seconds = [each for each, _ in left_out]
    span = (
        f"{min(seconds):g} s" if min(seconds) == max(seconds) else f"{min(seconds):g} to {max(seconds):g} s"
    )
    runs = f" of {counted(len(left_out), 'run')}" if len(report.runs) > 1 else ""
    most = " at most" if len(left_out) > 1 else ""
    p99 = max(
        (part.p99 for _, part in left_out if part is not None and not math.isnan(part.p99)), default=math.nan
    )
    errors = max(
        (part.error_share for _, part in left_out if part is not None and not math.isnan(part.error_share)),
        default=math.nan,
    )
    return [
        f"warm-up left out: the first {span}{runs}; its p99{most} {formatting.duration(p99)}, "
        f"its errors{most} {formatting.share(errors)}"
    ]


def _unanswered(report: Report) -> list[str]:
    """Which percentiles are no numbers for want of answers, and what those of the answered requests alone are."""
    lines = []
    for name, run in zip(labels(report.runs), report.runs, strict=True):
        for line in run.lines:
            lost = line.requests - line.answered - line.outcomes.get(CANCELLED_BY_CLIENT, 0)
            why = {each.text for each in (line.reasons.get(label(q)) for q in PERCENTILES)
                   if each is not None and each.reason in (NOT_REACHED, NOT_DETERMINED)}  # fmt: skip
            if not lost and not why:
                continue
            prefix = f"{name}: " if len(report.runs) > 1 else f"{line.name}: " if len(run.lines) > 1 else ""
            texts = sorted(why) or [
                f"{percent(lost / line.requests)} got no answer and count as slower than any"
            ]
            answered = formatting.duration(line.values["answered_p99"])
            lines.append(f"{prefix}{'; '.join(texts)}; p99 of the answered requests alone: {answered}")
    more = [f"the same for {len(lines) - MOST_UNANSWERED} more"] if len(lines) > MOST_UNANSWERED else []
    return lines[:MOST_UNANSWERED] + more


def markdown(report: Report, together: Table | None = None, split: Table | None = None) -> str:
    """The table, the warnings and what could not be read, in GitHub's Markdown.

    `together`: trials taken together, told first; `split`: where the time went.
    """
    parts = _in_markdown(together) if together is not None else []
    parts += _in_markdown(table(report))
    parts += _in_markdown(split) if split is not None else []
    answered = [
        f"- {escape.markdown(f'{name}: ' if len(report.runs) > 1 else '')}{escape.markdown(text)}"
        for name, text in answers_of_runs(report)
    ]
    texts = agreements_of(report) + capacities_of(report) + tunings_of(report)
    answered += [f"- {escape.markdown(each)}" for each in texts]
    if answered:
        parts.append("Answers:\n\n" + "\n".join(answered))
    warned = warnings_of_runs(report)
    if warned:
        lines = [
            f"- **{escape.markdown(name)}**: {escape.markdown(str(warning))}" for name, warning in warned
        ]
        parts.append("Warnings:\n\n" + "\n".join(lines))
    interrupted = interruptions_of(report)
    if interrupted:
        parts.append("Interruptions:\n\n" + "\n".join(f"- {escape.markdown(each)}" for each in interrupted))
    if report.missing:
        lines = [f"- **{word}**: {escape.markdown(text)}" for word, text in report.missing]
        parts.append("Not measured:\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _in_markdown(drawn: Table) -> list[str]:
    """Paragraphs: what all rows share, the table, its notes."""
    parts = []
    if drawn.shared:
        parts.append(" · ".join(f"{title} **{escape.markdown(text)}**" for title, text in drawn.shared))
    if drawn.columns[0].texts:
        parts.append(rows_in_markdown(drawn.columns))
    return parts + [escape.markdown(note) for note in drawn.notes]


def rows_in_markdown(columns: Sequence[Column]) -> str:
    """A table in GitHub's Markdown."""
    rule = "|" + "|".join(" --- " if column.identity else " ---: " for column in columns) + "|"
    head = "| " + " | ".join(column.title for column in columns) + " |"
    rows = zip(*(column.texts for column in columns), strict=True)
    return "\n".join([head, rule, *("| " + " | ".join(map(escape.markdown, row)) + " |" for row in rows)])


def as_csv(report: Report) -> str:
    """A row for each line of the report: all numbers, unrounded, durations in seconds; nothing where none is known.

    inf: a percentile that falls among requests without an answer, so that nobody averages the others alone.
    """
    lines = [
        {
            **{k: v for k, v in run.items() if not isinstance(v, dict | list)},
            "doubts": len(run["doubts"]),
            **line,
            **{k: "inf" for k, why in line.get("reasons", {}).items() if why["reason"] == NOT_REACHED},
        }
        for run in plain(report)["runs"]
        for line in run["lines"] or [{}]
    ]
    file = io.StringIO()
    titles = list(
        dict.fromkeys(
            title
            for line in lines
            for title in line
            if title not in ("outcomes", "unsupported", "split", "reasons")
        )
    )
    writer = csv.DictWriter(file, titles, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({title: escape.csv_cell(value) for title, value in line.items()} for line in lines)
    return file.getvalue()
