"""The lines of a report: one for each cell of each run."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import BenchError
from bench.analysis.answers.answer import Answer
from bench.analysis.answers.numbers import OLD_NAMES
from bench.analysis.answers.questions import answers
from bench.analysis.grouping.groups import Group, Member, groups
from bench.analysis.grouping.groups import plain as plain_group
from bench.analysis.grouping.identity import FailedTrial, Identity
from bench.analysis.grouping.journals import read_journals
from bench.analysis.grouping.metrics import reasons_of, values_of
from bench.analysis.grouping.trials import block_of, identity_of
from bench.analysis.reading.cells import Cell, cells, described, population
from bench.analysis.reading.checks import warnings_of
from bench.analysis.reading.interruptions import Interruption, interruptions
from bench.analysis.reading.interruptions import plain as plain_interruption
from bench.analysis.reading.load_generator import waits_of
from bench.analysis.reading.metric import PERCENTILES, label, share
from bench.analysis.reading.population import Population, Reason
from bench.analysis.reading.reconciliation import Split, split
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.showing.relative import metric_of
from bench.analysis.statistics.sample_size import samples_needed
from bench.runs.answers import Answers as AnswersOfTwo
from bench.runs.capacity import Capacity
from bench.runs.journal import experiment_of
from bench.runs.manifest import Manifest
from bench.runs.run import Experiment, Found, Run, Unreadable, WarmUp, broken
from bench.runs.tuning import Tuning


@dataclass(frozen=True)
class Line:
    """The measurements of one run for one request name, batch size and model version."""

    name: str
    version: int | None
    batch: int
    values: dict[str, float]
    """Every metric by name, in seconds, 1/s or as a share; nan: not measured, not determined, or too few samples; inf: a
    percentile that falls among requests without an answer."""
    requests: int
    """Requests due in the steady part."""
    answered: int
    outcomes: dict[str, int]
    due: Population = field(repr=False)
    """All requests due, by latency."""
    identity: Identity = field(repr=False)
    """What trials of the same have in common."""
    reasons: dict[str, Reason] = field(default_factory=dict)
    """Why percentiles are no numbers, by metric."""

    @property
    def unsupported(self) -> list[float]:
        """The percentiles that so few requests say nothing of."""
        return [q for q in PERCENTILES if 0 < self.requests < samples_needed(q)]


@dataclass(frozen=True)
class LeftOut:
    """The requests that were due in the warm-up of a run, all together."""

    requests: int
    p50: float
    p99: float
    """inf: more than 1 % of them got no answer; nan: nothing was answered, or it is not determined."""
    error_share: float


@dataclass(frozen=True)
class RunReport:
    """A run: what it was, its lines, and what speaks against it."""

    path: Path
    name: str
    started: str
    note: str | None
    finished: bool
    scenario: str
    server: str
    load: str
    seconds: float
    """Duration of the steady part."""
    warm_up: WarmUp
    left_out: LeftOut | None
    """What the warm-up was like; None where nothing is left out."""
    lines: list[Line]
    warnings: list[RunWarning]
    interruptions: list[Interruption]
    answers: list[Answer]
    """To the question that the scenario asks, where it asks one."""
    manifest: Manifest = field(repr=False)
    block: tuple[str, int] | None
    """The experiment that it is a trial of, and the block in it."""
    split: Split | None
    """Where the time of its requests went, if its server told."""
    retries: int | None
    """Further attempts by the transport; None: not known."""
    addresses: dict[str, int]
    """Requests sent, by the server's addresses where they are known."""
    waits: list[tuple[str, str]]
    """What kept requests from leaving at once, in words, and what can be done."""


@dataclass(frozen=True)
class Report:
    """All runs that were asked for."""

    runs: list[RunReport]
    unreadable: list[Unreadable]
    failed: list[FailedTrial] = field(default_factory=list)
    """Trials of experiments that gave no run, or one in which every request failed."""
    not_run: list[Identity] = field(default_factory=list)
    """What experiments planned and no trial of which has ended."""
    cut_short: list[str] = field(default_factory=list)
    """Experiments that ended before their plan did, and not because enough was known."""
    agreements: list[tuple[Path, AnswersOfTwo]] = field(default_factory=list)
    """How the answers of two conditions agree, of experiments that compared them."""
    capacities: list[tuple[Path, Capacity]] = field(default_factory=list)
    """Of experiments that searched them."""
    tunings: list[tuple[Path, Tuning]] = field(default_factory=list)
    """Of experiments that looked for the best settings."""

    @property
    def missing(self) -> list[tuple[str, str]]:
        """What was found and gave no line: a word for it, and which it is with the reason."""
        return [
            *(("failed", str(each)) for each in self.failed),
            *(("not run", each.words(each._fields)) for each in self.not_run),
            *(("left out", each.reason) for each in self.unreadable),
            *(("cut short", text) for text in self.cut_short),
        ]

    @property
    def unsupported(self) -> list[float]:
        """The percentiles that are missing in some line for want of samples."""
        return sorted({q for run in self.runs for line in run.lines for q in line.unsupported})

    @property
    def compared(self) -> str:
        """The metric in which conditions are compared at a glance."""
        return metric_of(closed=all(run.manifest.load.closed for run in self.runs))

    @property
    def groups(self) -> list[Group]:
        """The trials of each cell of experiments, taken together; none where nothing was measured twice."""
        return groups(
            Member(line.identity, run.block, line.values, bool(run.warnings))
            for run in self.runs
            for line in run.lines
        )


def report(entries: Iterable[Found], within: float | None = None) -> Report:
    """Read runs one after the other. What cannot be read is named, and keeps nothing else from being read.

    within: seconds within which goodput wants an answer.
    """
    runs: list[RunReport] = []
    unreadable: list[Unreadable] = []
    experiments: list[Experiment] = []
    known: dict[str, Path] = {}
    copies: dict[Path, list[tuple[Path, Path]]] = {}
    for run in entries:
        if isinstance(run, Unreadable):
            unreadable.append(run)
            continue
        if isinstance(run, Experiment):
            experiments.append(run)
            continue
        try:
            # opened anew, so that what is read of it is let go of before the next
            opened = Run.open(run.path)
            first = known.setdefault(opened.id, run.path)
            if first != run.path:
                copies.setdefault(run.path.parent, []).append((run.path, first))
                continue
            runs.append(_report(opened, within))
        except BenchError as error:
            unreadable.append(Unreadable(run.path, str(error)))
        except Exception as error:  # noqa: BLE001 - one run must not keep the others from being shown
            unreadable.append(Unreadable(run.path, broken(run.path, error)))
    unreadable += [_copies(folder, pairs) for folder, pairs in copies.items()]
    cells_run = [(run.path, run.manifest) for run in runs]
    journals = read_journals(experiments, cells_run)
    agreements, capacities, tunings = [], [], []
    folders = [*(each.path for each in experiments), *(f for r in runs if (f := experiment_of(r.path)))]
    for folder in sorted({path.absolute(): path for path in reversed(folders)}.values()):
        try:
            answers_of_two, capacity = AnswersOfTwo.read(folder), Capacity.read(folder)
            tuning = Tuning.read(folder)
        except BenchError as error:
            unreadable.append(Unreadable(folder, str(error)))
            continue
        if answers_of_two is not None:
            agreements.append((folder, answers_of_two))
        if capacity is not None:
            capacities.append((folder, capacity))
        if tuning is not None:
            tunings.append((folder, tuning))
    return Report(
        sorted(runs, key=lambda run: (run.started, run.name)),
        unreadable + journals.unreadable,
        journals.failed,
        journals.not_run,
        journals.cut_short,
        agreements,
        capacities,
        tunings,
    )


def _copies(folder: Path, pairs: list[tuple[Path, Path]]) -> Unreadable:
    """The copies in a folder, such as a baseline's, of runs that are shown: in one line, however many."""
    copy, first = pairs[0]
    if len(pairs) == 1:
        return Unreadable(copy, f"{copy}: a copy of {first}, which is shown")
    return Unreadable(folder, f"{folder}: copies of {len(pairs)} runs that are shown")


def _report(run: Run, within: float | None) -> RunReport:
    return RunReport(
        path=run.path,
        name=run.name,
        started=run.manifest.started,
        note=run.manifest.note,
        finished=run.finished,
        **described(run),
        seconds=run.steady.duration,
        warm_up=run.warm_up,
        left_out=_left_out(run.cut) if run.warm_up.seconds else None,
        lines=[_line(cell, run, within) for cell in cells(run)],
        warnings=warnings_of(run),
        interruptions=interruptions(run),
        answers=answers(run),
        manifest=run.manifest,
        block=block_of(run),
        split=split(run),
        retries=run.manifest.counts.retries,
        addresses=run.manifest.counts.addresses,
        waits=waits_of(run),
    )


def _left_out(cut: Run) -> LeftOut | None:
    requests = population(cut, {key for key, _ in cut.tallies})
    if not requests.count:
        return None
    cancelled = int(requests.cancelled.counts.sum())
    return LeftOut(
        requests.count,
        requests.percentile(50),
        requests.percentile(99),
        share(requests.lost, requests.count - cancelled),
    )


def _line(cell: Cell, run: Run, within: float | None) -> Line:
    values = values_of(cell, within)
    return Line(
        name=cell.name,
        version=cell.version,
        batch=cell.batch,
        values=values,
        requests=cell.requests,
        answered=cell.answered.requests,
        outcomes=cell.outcomes,
        due=cell.due,
        identity=identity_of(cell, run),
        reasons=reasons_of(cell, values),
    )


def labels(runs: list[RunReport]) -> list[str]:
    """A short name for each run, unlike those of the others: its note, else the time at which it started."""
    notes = [run.note for run in runs]
    short = [note if note and notes.count(note) == 1 else "" for note in notes]
    times = [run.started[11:19] or run.name for run in runs]
    if len({run.started[:10] for run in runs}) > 1:
        times = [f"{run.started[5:10]} {time}" for run, time in zip(runs, times, strict=True)]
    named = [note or time for note, time in zip(short, times, strict=True)]
    return [name if named.count(name) == 1 else run.name for name, run in zip(named, runs, strict=True)]


def plain(report: Report) -> dict[str, Any]:
    """Every number of the report for programs: durations in seconds, nan as None."""
    return {
        "schema": 1,
        "units": {"durations": "s", "rates": "1/s", "shares": "0 to 1", "energies": "J"},
        "runs": [_plain_run(run) for run in report.runs],
        "cells": [plain_group(group) for group in report.groups],
        "failed_trials": [
            {**each.identity._asdict(), "reason": each.reason, "path": str(each.path)}
            for each in report.failed
        ],
        "agreements": [
            {"path": str(folder), "answers": answers_of_two.model_dump(by_alias=True)}
            for folder, answers_of_two in report.agreements
        ],
        "capacities": [
            {"path": str(folder), "capacity": capacity.model_dump(by_alias=True)}
            for folder, capacity in report.capacities
        ],
        "tunings": [
            {"path": str(folder), "tuning": tuning.model_dump(by_alias=True)}
            for folder, tuning in report.tunings
        ],
        "not_run": [identity._asdict() for identity in report.not_run],
        "cut_short": report.cut_short,
        "unreadable": [{"path": str(each.path), "reason": each.reason} for each in report.unreadable],
    }


def _plain_run(run: RunReport) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "run": run.name,
        "started": run.started,
        "note": run.note,
        "finished": run.finished,
        "state": run.manifest.state,
        "scenario": run.scenario,
        "server": run.server,
        "load": run.load,
        "seconds": run.seconds,
        "warm_up": run.warm_up._asdict() | _plain_left_out(run.left_out),
        "doubts": [warning._asdict() for warning in run.warnings],
        "interruptions": [plain_interruption(each) for each in run.interruptions],
        "answers": [{"text": answer.text, "values": answer.values} for answer in run.answers],
        "split": None if run.split is None else _plain_split(run.split),
        "retries": run.retries,
        "addresses": run.addresses,
        "waited": run.manifest.counts.waited,
        "lines": [_plain_line(line) for line in run.lines],
    }


def _plain_left_out(left_out: LeftOut | None) -> dict[str, Any]:
    if left_out is None:
        return {}
    return {
        name: value if math.isfinite(value) else None
        for name, value in (
            ("requests", left_out.requests),
            ("p50", left_out.p50),
            ("p99", left_out.p99),
            ("error_share", left_out.error_share),
        )
    }


def _plain_split(split: Split) -> dict[str, Any]:
    parts = {part.stage.value: part.seconds for part in split.parts}
    return {
        "requests": split.requests,
        "server_requests": split.server_requests,
        "mean": split.mean,
        "parts": parts,
    }


def _plain_line(line: Line) -> dict[str, Any]:
    values = {name: value if math.isfinite(value) else None for name, value in line.values.items()}
    return {
        "name": line.name,
        "version": line.version,
        "batch": line.batch,
        "requests": line.requests,
        "answered": line.answered,
        "outcomes": line.outcomes,
        "unsupported": [label(q) for q in line.unsupported],
        "reasons": {name: why._asdict() for name, why in line.reasons.items()},
        **values,
        **{old: values.get(name) for old, name in OLD_NAMES.items()},
    }
