"""The answer of a report in a few sentences: the best in each respect, where its trials show that."""

import math
from collections.abc import Callable
from typing import Any, Final

from bench.analysis import formatting
from bench.analysis.grouping.groups import Group, Member
from bench.analysis.grouping.identity import PARTS
from bench.analysis.judging.ranking import shown_worse
from bench.analysis.showing.relative import conclusion
from bench.analysis.showing.remarks import agreements_of, answers_of_runs, capacities_of, tunings_of
from bench.analysis.showing.report import Line, Report, RunReport, labels

BEST: Final[tuple[tuple[str, str, Any, Callable[[float], str]], ...]] = (
    ("Most inferences per second", "inferences_per_second", max, formatting.rate),
    ("Lowest median latency", "p50", min, formatting.duration),
    ("Lowest p99 of latency", "p99", min, formatting.duration),
)
"""Title, metric, which is best, and how it is written."""
MOST_LOADS: Final = 3
"""Of more loads, the table and the pictures tell."""
MOST_ALIKE: Final = 3
"""Conditions that are named as no worse, besides their number."""


def best_answers(report: Report) -> list[str]:
    """To the questions of the scenarios; else which of several lines is best in what, one with warnings named as such."""
    rows = [(n, r, line) for n, r in zip(labels(report.runs), report.runs, strict=True) for line in r.lines]
    agreed = agreements_of(report) + capacities_of(report) + tunings_of(report)
    answers = [f"{name}: {text}" if len(report.runs) > 1 else text for name, text in answers_of_runs(report)]
    if answers or len(rows) < 2:
        return agreed + answers
    return agreed + (conclusions(report) if report.groups else _best_lines(rows))


def conclusions(report: Report) -> list[str]:
    """On the conditions of experiments: how much they differ, then the best in each respect.

    Not of searches: their levels, and their settings, have answers of their own.
    """
    searched = {folder.name for folder, _ in [*report.capacities, *report.tunings]}
    groups = [group for group in report.groups if group.experiment not in searched]
    sentence = conclusion(groups, report.compared) if groups else None
    return [*([sentence] if sentence else []), *best_cells(groups)]


def _best_lines(rows: list[tuple[str, RunReport, Line]]) -> list[str]:
    """Of single runs, by their values alone, under one load."""
    if len({run.load for _, run, _ in rows}) > 1:
        return []
    texts = []
    for title, metric, choose, text in BEST:
        known = [(line.values[metric], name, run, line) for name, run, line in rows]
        known = [row for row in known if math.isfinite(row[0])]
        if len(known) > 1:
            value, name, run, line = choose(known, key=lambda row: row[0])
            remark = ", with warnings" if run.warnings else ""
            texts.append(
                f"{title} in one run each: {text(value)}, {name} ({_in_words(run, line)}){remark}; other runs may differ"
            )
    return texts


def best_cells(cells: list[Group]) -> list[str]:
    """The best mean of trials under each load, and those that do not differ significantly from it."""
    loads = list(dict.fromkeys(cell.identity.load for cell in cells))
    texts = []
    for load in loads if len(loads) <= MOST_LOADS else ():
        under = [cell for cell in cells if cell.identity.load == load]
        texts += [f"{line} at {load}" if len(loads) > 1 else line for line in _best_under_a_load(under)]
    return texts


def _best_under_a_load(cells: list[Group]) -> list[str]:
    parts = [part for part in PARTS if len({getattr(cell.identity, part) for cell in cells}) > 1]
    texts = []
    for title, metric, choose, text in BEST:
        known = [(cell.estimate(metric)[0], cell) for cell in cells]
        known = [row for row in known if math.isfinite(row[0])]
        if len(known) < 2:
            continue
        value, best = choose(known, key=lambda row: row[0])
        others = [cell for _, cell in known if cell is not best]
        alike = [
            cell
            for cell in others
            if not shown_worse(_with(best, metric), _with(cell, metric), metric, len(known))
        ]
        remark = ", some of them with warnings" if best.has_warnings else ""
        words = best.identity.words(parts)
        line = f"{title}: {text(value)}, mean of {len(best.known(metric))} trials ({words}){remark}"
        if len(alike) == len(others):
            line += "; not significantly different from any other"
        elif alike:
            line += (
                f"; not significantly different from {_few([cell.identity.words(parts) for cell in alike])}"
            )
        texts.append(line)
    return texts


def _few(names: list[str]) -> str:
    """Such as `batch 4, batch 8, batch 16 and 3 others`."""
    if len(names) > MOST_ALIKE + 1:
        names = [*names[:MOST_ALIKE], f"{len(names) - MOST_ALIKE} others"]
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _with(cell: Group, metric: str) -> list[Member]:
    return [trial for trial in cell.trials if math.isfinite(trial.values.get(metric, math.nan))]


def _in_words(run: RunReport, line: Line) -> str:
    version = "" if line.version is None else f", version {line.version}"
    return f"{run.server}{version}, batch {line.batch}, {run.load}"
