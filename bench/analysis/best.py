"""What is the answer of a report in a few sentences: which is best in what?"""

import math
from collections.abc import Callable
from typing import Any, Final

from bench.analysis import quantities
from bench.analysis.groups import Group
from bench.analysis.report import Line, Report, RunReport, labels
from bench.analysis.trials import PARTS

BEST: Final[tuple[tuple[str, str, Any, Callable[[float], str]], ...]] = (
    ("Most inferences per second", "inferences_per_second", max, quantities.rate),
    ("Lowest median latency", "p50", min, quantities.duration),
    ("Lowest p99 of latency", "p99", min, quantities.duration),
)
"""Title, metric, which is best, and how it is written."""


def best_answers(report: Report) -> list[str]:
    """To the questions of the scenarios; else which of several lines is best in what, a doubted one named as such."""
    rows = [(n, r, line) for n, r in zip(labels(report.runs), report.runs, strict=True) for line in r.lines]
    given = [
        f"{name}: {answer.text}" if len(report.runs) > 1 else answer.text
        for name, run in zip(labels(report.runs), report.runs, strict=True)
        for answer in run.answers
    ]
    if given or len(rows) < 2:
        return given
    return _best_cells(report.groups) if report.groups else _best_lines(rows)


def _best_lines(rows: list[tuple[str, RunReport, Line]]) -> list[str]:
    found = []
    for title, metric, choose, text in BEST:
        known = [(line.values[metric], name, run, line) for name, run, line in rows]
        known = [row for row in known if math.isfinite(row[0])]
        if known:
            value, name, run, line = choose(known, key=lambda row: row[0])
            doubted = ", with warnings" if run.doubts else ""
            found.append(f"{title}: {text(value)}, {name} ({_in_words(run, line)}){doubted}")
    return found


def _best_cells(cells: list[Group]) -> list[str]:
    """The best of the means of trials: the best single trial would be the luckiest."""
    parts = [part for part in PARTS if len({getattr(cell.identity, part) for cell in cells}) > 1]
    found = []
    for title, metric, choose, text in BEST:
        known = [(cell.estimate(metric)[0], cell) for cell in cells]
        known = [row for row in known if math.isfinite(row[0])]
        if known:
            value, cell = choose(known, key=lambda row: row[0])
            doubted = ", some of them with warnings" if cell.doubted else ""
            words = cell.identity.words(parts)
            found.append(
                f"{title}: {text(value)}, mean of {len(cell.known(metric))} trials ({words}){doubted}"
            )
    return found


def _in_words(run: RunReport, line: Line) -> str:
    version = "" if line.version is None else f", version {line.version}"
    return f"{run.server}{version}, batch {line.batch}, {run.load}"
