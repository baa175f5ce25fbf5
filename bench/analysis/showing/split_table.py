"""Latency breakdown (mean) as a table, by run or by cell.

The parts are those of `bench.analysis.reading.reconciliation`; trials of the same are one row, the mean of theirs.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Final

from bench.analysis import formatting
from bench.analysis.reading.reconciliation import Split
from bench.analysis.showing.report import Report, RunReport, labels
from bench.analysis.showing.table import Column, Table

TITLE: Final = "Latency breakdown (mean)"
NOTE: Final = (
    "means over whole runs, with the server's counters: client queue and batching queue are measured, the other parts "
    "are differences between the times that client and server measured"
)


def split_table(report: Report) -> Table | None:
    """A row for each cell whose server told its counters; None where none did."""
    rows: dict[tuple[str, ...], list[Split]] = {}
    for name, run in zip(labels(report.runs), report.runs, strict=True):
        if run.split is not None:
            identity_texts = (
                name if run.block is None else formatting.ABSENT,
                run.server,
                *_request(run),
                run.load,
            )
            rows.setdefault(identity_texts, []).append(run.split)
    if not rows:
        return None
    rows = dict(sorted(rows.items(), key=lambda row: [_number_or_text(text) for text in row[0]]))
    titles = ("run", "server", "request", "version", "batch", "load")
    identity = [
        Column(title, True, list(texts), [False] * len(rows))
        for title, texts in zip(titles, zip(*rows, strict=True), strict=True)
    ]
    splits = list(rows.values())
    return Table(
        [column for column in identity if len(set(column.texts)) > 1] + _measured(splits), [], [NOTE]
    )


def _number_or_text(text: str) -> tuple[int, str]:
    """A key by which 2 stands before 16."""
    return (int(text), "") if text.isdecimal() else (-1, text)


def _measured(rows: Sequence[Sequence[Split]]) -> list[Column]:
    means = [fmean(split.mean for split in splits) for splits in rows]
    unit = formatting.fitting_unit(means)

    def column(title: str, seconds: Sequence[float]) -> Column:
        # beyond a thousandth of the whole, digits are noise
        shown = [value if value > 1e-3 * mean else 0.0 for value, mean in zip(seconds, means, strict=True)]
        texts = [formatting.duration(value, unit) for value in shown]
        return Column(f"{title} {unit.name}", False, texts, [False] * len(rows))

    names = [part.stage for part in rows[0][0].parts]
    parts = [[fmean(split.seconds(name) for split in splits) for splits in rows] for name in names]
    return [column("mean", means), *(column(*each) for each in zip(names, parts, strict=True))]


def _request(run: RunReport) -> tuple[str, str, str]:
    """Request, version and batch of a run; a dash for what its lines do not share."""

    def shared(texts: set[str]) -> str:
        return texts.pop() if len(texts) == 1 else formatting.ABSENT

    return (
        shared({line.name for line in run.lines}),
        shared({formatting.ABSENT if line.version is None else str(line.version) for line in run.lines}),
        shared({str(line.batch) for line in run.lines}),
    )
