"""The remarks beside a report's tables: warnings, answers and interruptions, with the runs that they are of."""

from collections.abc import Iterable
from typing import TypeVar

from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.showing import capacity_text, tuning_text
from bench.analysis.showing.report import Report, labels
from bench.analysis.showing.verdict import sentences

T = TypeVar("T")


def warnings_of_runs(report: Report) -> list[tuple[str, RunWarning]]:
    """Each warning with the runs that it is about; what three runs share is one row, in the words of the first."""
    named = zip(labels(report.runs), report.runs, strict=True)
    return _shared((name, warning.check, warning) for name, run in named for warning in run.warnings)


def answers_of_runs(report: Report) -> list[tuple[str, str]]:
    """Each answer to the question of a scenario with its run; what three runs share is one row, in the words of the first."""
    named = zip(labels(report.runs), report.runs, strict=True)
    return _shared(
        (name, answer.subject or answer.text, answer.text) for name, run in named for answer in run.answers
    )


def _shared(rows: Iterable[tuple[str, str, T]]) -> list[tuple[str, T]]:
    """Names with what belongs to them, from rows of name, key, value; three names and more of one key are one row."""
    by_key: dict[str, list[tuple[str, T]]] = {}
    for name, key, value in rows:
        by_key.setdefault(key, []).append((name, value))
    shared = []
    for same in by_key.values():
        names = list(dict.fromkeys(name for name, _ in same))
        if len(names) < 3:
            shared += same
        else:
            shared.append((f"{names[0]} and {len(names) - 1} more runs", same[0][1]))
    return shared


def agreements_of(report: Report) -> list[str]:
    """How the answers of two conditions agree, in sentences."""
    several = len(report.agreements) > 1
    return [
        f"{folder.name}: {text}" if several else text
        for folder, answers_of_two in report.agreements
        for text in sentences(answers_of_two.after, [], answers_of_two)
    ]


def capacities_of(report: Report) -> list[str]:
    """What was found of each capacity, in sentences."""
    several = len(report.capacities) > 1
    return [
        f"{folder.name}: {text}" if several else text
        for folder, capacity in report.capacities
        for text in capacity_text.sentences(capacity)
    ]


def tunings_of(report: Report) -> list[str]:
    """What was found of each tuning, in sentences."""
    several = len(report.tunings) > 1
    return [
        f"{folder.name}: {text}" if several else text
        for folder, tuning in report.tunings
        for text in tuning_text.sentences(tuning)
    ]


def interruptions_of(report: Report) -> list[str]:
    """Each interruption as a line, with the run that it is of where there are several."""
    several = len(report.runs) > 1
    return [
        f"{name}: {each}" if several else str(each)
        for name, run in zip(labels(report.runs), report.runs, strict=True)
        for each in run.interruptions
    ]
