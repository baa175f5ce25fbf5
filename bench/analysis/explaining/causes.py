"""Causes of failed limits: what the runs of a judgement show of them, the most telling first."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Final

from bench import BenchError
from bench.analysis.explaining.beside import beside
from bench.analysis.explaining.stages import BEYOND, TOLERANCE, Differences, StageChange, differences
from bench.analysis.explaining.tail import Tail, cell_of, tail_of
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.compare import Match
from bench.analysis.judging.finding import Finding
from bench.analysis.judging.gate import Judgement
from bench.analysis.reading.metric import GOODPUT, GOODPUT_RATE
from bench.analysis.reading.population import Population
from bench.analysis.reading.reconciliation import Stage
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT

CLIENT: Final = (
    "client saturated",
    "client held up",
    "client paused",
    "stolen time",
    "behind",
    "not achieved",
    "near the ceiling",
)
"""Warnings by which the load generator is the cause."""
OF_ANSWERS: Final = ("accuracy", "mismatch_share", "agreement", GOODPUT, GOODPUT_RATE)
"""Metrics that wrong answers make worse."""
MOST_CELLS: Final = 4
"""Cells that are explained."""
MOST_OF_IT: Final = 0.5
"""Share of the difference in mean latency from which on a stage is the likely cause, though its interval does not show it."""
MOST_STRETCHES: Final = 6
"""Stretches of slow requests of which it is looked for what happened in them."""
MOST_MESSAGES: Final = 8
"""Messages of a pool that are named."""
MOST_EVENTS: Final = 2
"""Of these, kinds that are named."""


class Kind(StrEnum):
    """The kind of a cause."""

    FAILED_TRIALS = "failed trials"
    ERRORS = "errors"
    ANSWERS = "wrong answers"
    LOAD_GENERATOR = "load generator"
    EVENT = "event"
    SLOW_SECONDS = "slow seconds"
    LOAD_PROCESS = "load process"
    PAYLOAD = "payload"
    STAGE = "stage"


@dataclass(frozen=True)
class Cause:
    """One of the reasons for a verdict, with what is needed to state it."""

    kind: Kind
    what: str = ""
    """Of errors the outcome, of a stage its name, of an event what happened, of the load generator the warning."""
    tail: Tail | None = None
    differences: Differences | None = None
    stage: StageChange | None = None
    count: int = 0
    """Requests or answers."""
    of: int = 0
    """All of them."""
    text: str = ""
    """What the server or the warning reported."""
    sure: bool = True
    """False of a stage that holds most of a difference which its own interval does not show."""
    labelled: float | None = None
    """Share of the checked examples that were answered with their label, where a limit of it fails."""


@dataclass(frozen=True)
class Explained:
    """A cell in which limits fail."""

    identity: Identity | None
    """None: it was not measured."""
    findings: list[Finding]
    causes: list[Cause]
    trials: list[Trial] = field(default_factory=list, repr=False)
    match: Match | None = field(default=None, repr=False)
    differences: Differences | None = None
    tail: Tail | None = None


def explained(judged: Judgement) -> list[Explained]:
    """The cells in which limits fail, MOST_CELLS at the most; causes of what is inconclusive are not looked for."""
    by_cell: dict[Identity | None, list[Finding]] = {}
    for each in judged.findings:
        if each.outcome == "FAIL":
            by_cell.setdefault(each.identity, []).append(each)
    return [_explained(judged, *each) for each in list(by_cell.items())[:MOST_CELLS]]


def _explained(judged: Judgement, identity: Identity | None, findings: list[Finding]) -> Explained:
    trials = [trial for trial in judged.candidate.trials if trial.identity == identity]
    match = next((each for each in judged.matches if each.identity == identity), None)
    if not trials:
        return Explained(identity, findings, list(_answers(trials, findings)))
    split = None if match is None else differences(match)
    furthest = max(
        findings, key=lambda each: each.limit.metric.percentile.q if each.limit.metric.percentile else 0.0
    )
    threshold = slow_from(furthest, trials, match)
    tail = None if threshold is None else tail_of(trials, threshold)
    generator = list(_load_generator(trials, match))
    refuted = split is not None and _of_time(findings) and not _clients(split, trials)
    often = [each for each in generator if 2 * each.count > each.of and not refuted]
    causes = [
        *_errors(trials, findings, tail),
        *_answers(trials, findings),
        *often,
        *_slow(tail),
        *_stages(split, findings),
        # what disturbed a few trials, or another part of the latency, explains less than what is in all of them
        *(each for each in generator if each not in often),
    ]
    return Explained(identity, findings, causes, trials, match, split, tail)


def slow_from(finding: Finding, trials: Sequence[Trial], match: Match | None) -> float | None:
    """The latency in seconds from which on requests speak against a limit; None: there is none.

    Of a limit of a percentile its bound, of goodput the time within which it wants answers. Of others what the slowest
    hundredth of the baseline's requests took, or of the candidate's own.
    """
    limit, before = finding.limit, match.before if match is not None else []
    if limit.answered_within is not None:
        return limit.answered_within
    q = 99.0 if limit.metric.percentile is None else limit.metric.percentile.q
    bounded = limit.metric.percentile is not None or limit.metric.name == "max"
    if bounded and not limit.relative:
        return limit.bound
    usual = Population.sum([trial.due for trial in before or trials]).percentile(q)
    factor = finding.allowed if limit.relative and bounded and limit.metric.ratio else 1.0
    return usual * factor if math.isfinite(usual) and factor > 0 else None


def _errors(trials: Sequence[Trial], findings: Sequence[Finding], tail: Tail | None) -> Iterator[Cause]:
    """The outcome of most requests without an answer, where these are what a limit fails by."""
    outcomes: Counter[str] = Counter()
    texts: Counter[tuple[str, str]] = Counter()
    requests = 0
    for trial in trials:
        try:
            cell = cell_of(trial)
            rows = [] if cell is None else cell.run.errors
        except BenchError:
            continue
        if cell is None:
            continue
        requests += cell.requests
        outcomes.update(
            {name: n for name, n in cell.outcomes.items() if name not in ("OK", CANCELLED_BY_CLIENT)}
        )
        for row in rows:
            texts[str(row.get("outcome")), str(row.get("text"))] += int(row.get("count") or 0)
    lost = sum(outcomes.values())
    counted = any(each.limit.metric.name == "error_share" for each in findings)
    if not lost or not (counted or (tail is not None and 2 * lost >= tail.all.slow)):
        return
    name, count = outcomes.most_common(1)[0]
    text = next((text for (outcome, text), _ in texts.most_common() if outcome == name), "")
    yield Cause(Kind.ERRORS, name, count=count, of=requests, text=text)


def _answers(trials: Sequence[Trial], findings: Sequence[Finding]) -> Iterator[Cause]:
    if not any(each.limit.metric.name in OF_ANSWERS for each in findings):
        return
    wrong: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for trial in trials:
        for causes in trial.manifest.wrong_answers.values():
            for name, each in causes.items():
                wrong[name] += each.count
                examples.setdefault(name, each.example)
    answered = sum(trial.answered for trial in trials)
    limited = {each.limit.metric.name for each in findings}
    accuracies = [value for trial in trials if math.isfinite(value := trial.values["accuracy"])]
    labelled = sum(accuracies) / len(accuracies) if accuracies and "accuracy" in limited else None
    for name, count in wrong.most_common(1):
        yield Cause(Kind.ANSWERS, name, count=count, of=answered, text=examples[name], labelled=labelled)
    if not wrong and limited & {"accuracy", "agreement"}:
        yield Cause(Kind.ANSWERS, of=answered, labelled=labelled)


def _load_generator(trials: Sequence[Trial], match: Match | None) -> Iterator[Cause]:
    """What the candidate's runs are warned about and the baseline's are not."""
    usual = {
        warning.check for trial in (match.before if match is not None else []) for warning in trial.warnings
    }
    for check in CLIENT:
        warned = [warning for trial in trials for warning in trial.warnings if warning.check == check]
        if warned and check not in usual:
            yield Cause(Kind.LOAD_GENERATOR, check, count=len(warned), of=len(trials), text=warned[0].reason)
            return


def _clients(split: Differences, trials: Sequence[Trial]) -> bool:
    """Whether a late load process can have made MOST_OF_IT of the difference in mean latency.

    It sends late and reads responses late, the one as often as the other: in an open loop the network's stage has about
    as much of it as the client queue. A closed loop's requests are due when they are sent, so that it has all of it there.
    The server's own stages have none.
    """
    whole = split.after - split.before
    if whole <= TOLERANCE * split.before:
        return True
    size = {each.stage: max(0.0, each.change.size) for each in split.stages}
    sending, reading = size[Stage.CLIENT_QUEUE], size.get(Stage.WIRE, size.get(BEYOND, 0.0))
    if not all(trial.manifest.load.closed for trial in trials):
        reading = min(sending, reading)
    return sending + reading >= MOST_OF_IT * whole


def _of_time(findings: Sequence[Finding]) -> bool:
    """Whether a limit of latency, or of what latency decides, is among them."""
    return any(
        each.limit.metric.unit != "share" or each.limit.answered_within is not None for each in findings
    )


def _slow(tail: Tail | None) -> Iterator[Cause]:
    if tail is None or tail.everywhere:
        return
    if tail.workers:
        yield Cause(Kind.LOAD_PROCESS, ", ".join(map(str, sorted(tail.workers))), tail=tail)
    if tail.messages is not None:
        yield Cause(Kind.PAYLOAD, ", ".join(map(str, tail.messages.numbers[:MOST_MESSAGES])), tail=tail)
    if tail.stretches:
        events = _events(tail)
        yield Cause(Kind.EVENT if events else Kind.SLOW_SECONDS, "; ".join(events[:MOST_EVENTS]), tail=tail)


def _events(tail: Tail) -> list[str]:
    """What happened in the stretches, the most frequent first; the first text of each kind."""
    texts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for path, stretches in groupby(tail.stretches[:MOST_STRETCHES], key=lambda each: each.run):
        try:
            happened = beside(Run.open(path), list(stretches))
        except BenchError:
            continue
        counts.update(each.kind for each in happened)
        for each in happened:
            texts.setdefault(each.kind, each.text)
    order = {kind: number for number, kind in enumerate(texts)}
    return [texts[kind] for kind in sorted(texts, key=lambda kind: (-counts[kind], order[kind]))]


def _stages(split: Differences | None, findings: Sequence[Finding]) -> Iterator[Cause]:
    """Those that are named; else the one that holds most of the difference, where a limit of latency or rate fails."""
    if split is None:
        return
    for stage in split.named:
        yield Cause(Kind.STAGE, stage.stage, differences=split, stage=stage)
    whole = split.after - split.before
    if split.named or not _of_time(findings) or whole <= TOLERANCE * split.before:
        return
    largest = max(split.stages, key=lambda each: each.change.size)
    if largest.change.size >= MOST_OF_IT * whole:
        yield Cause(Kind.STAGE, largest.stage, differences=split, stage=largest, sure=False)
