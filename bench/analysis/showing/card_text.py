"""Sentences of a verdict's card: limits, causes, sides and next steps."""

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from bench.analysis import formatting
from bench.analysis.explaining.causes import MOST_MESSAGES, Cause, Kind
from bench.analysis.explaining.tail import Tail
from bench.analysis.grouping.conditions import commit
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.compare import Match
from bench.analysis.judging.finding import Finding
from bench.analysis.reading.checks import printable
from bench.analysis.reading.population import percent
from bench.analysis.reading.reconciliation import Stage
from bench.analysis.showing.comparison_table import size_text, value_text
from bench.analysis.statistics.step import FEWEST
from bench.runs.recording import MANIFEST
from bench.wording import counted

PLOTTED: Final = (Kind.EVENT, Kind.SLOW_SECONDS, Kind.LOAD_PROCESS)
"""Causes that show in the course of a run."""
HASH: Final = 12
"""Characters of a commit's hash."""
ALL_OF, MOST_OF = 0.95, 1.5
"""Share of a difference that is all of it, and beyond which other stages have become shorter."""
LOOK_AT: Final = {
    Stage.CLIENT_QUEUE: "the load processes and their cores: requests were sent late",
    Stage.WIRE: "the network, proxies, TLS and the size of requests",
    Stage.SERVER: "the server's own work on a request: threads, decoding, logging",
    Stage.BATCHING_QUEUE: "batching parameters, and the rate against what the server sustains",
    Stage.RUNTIME: "the model, its threads and its device",
}


def headline(finding: Finding) -> str:
    """A limit with what was measured, and by how much it is missed."""
    metric, limit = finding.limit.metric, finding.limit
    if not math.isfinite(finding.measured):
        unknown = "change not known" if limit.relative else "not measured"
        value = formatting.NOT_REACHED if finding.measured == math.inf else unknown
        return f"{metric.name} {value}, {_bound(finding)} allowed"
    measured = size_text(metric, finding.measured) if limit.relative else value_text(metric, finding.measured)
    text = f"{metric.name} {measured}{' against the baseline' if limit.relative else ''}, {_bound(finding)} allowed"
    return f"{text}{_beyond(finding)}"


def _bound(finding: Finding) -> str:
    metric, limit = finding.limit.metric, finding.limit
    sign = "at most" if metric.better == "lower" else "at least"
    if limit.relative:
        if not math.isfinite(finding.measured):
            return f"at most {100 * limit.bound:g} % worse"
        return f"{sign} {size_text(metric, finding.allowed)}"
    return f"{sign} {value_text(metric, limit.bound)}"


def _beyond(finding: Finding) -> str:
    """How far the value is on the bad side of the limit, as a share of it; points of shares."""
    metric, allowed = finding.limit.metric, finding.allowed
    if finding.limit.relative:
        return ""  # both are changes already
    worse = finding.measured - allowed if metric.better == "lower" else allowed - finding.measured
    if worse <= 0:
        return ""
    way = "over" if metric.better == "lower" else "under"
    if metric.unit == "share" or allowed <= 0:
        return f": {formatting.difference(100 * worse)} points {way} it"
    return f": {formatting.significant(100 * worse / allowed)} % {way} it"


def cause_text(cause: Cause) -> str:
    """A cause in a sentence."""
    return _SENTENCES[cause.kind](cause)


def _errors(cause: Cause) -> str:
    reported = f': "{printable(cause.text)}"' if cause.text else ""
    return f"{percent(cause.count / cause.of) if cause.of else cause.count} of the requests got no answer: {cause.count:,} x {printable(cause.what)}{reported}"


def _answers(cause: Cause) -> str:
    text = "answers have other values or labels than before"
    if cause.labelled is not None:
        text = f"{percent(1 - cause.labelled)} of the examples were answered with another label than theirs"
    if not cause.what:
        return f"{text}; none has another version, shape or type"
    answers = f"{cause.count:,} of {counted(cause.of, 'answer')}"
    reason = f"{printable(cause.what)}: {printable(cause.text)}"
    return f"{answers} wrong: {reason}" if cause.labelled is None else f"{text}; {answers}: {reason}"


def _load_generator(cause: Cause) -> str:
    return f"the load generator itself in {cause.count} of {counted(cause.of, 'trial')}: {printable(cause.text)} [{cause.what}]"


def _event(cause: Cause) -> str:
    text = _held(cause)
    return (
        f"{text}; at that time: {printable(cause.what)}"
        if cause.what
        else f"{text}; nothing else was recorded then"
    )


def _held(cause: Cause) -> str:
    tail = cause.tail
    assert tail is not None  # noqa: S101 - for the type checker
    inside = tail.inside
    text = (
        f"{100 * tail.share:.0f} % of the {tail.all.slow:,} requests slower than {formatting.duration(tail.threshold)} were due in "
        f"{_moments(tail) if tail.tenths else _seconds(tail)}, which hold {percent(inside.requests / tail.all.requests)} of all requests"
    )
    if tail.without is not None and tail.without.count:
        text += f"; without them p99 is {formatting.duration(tail.without.percentile(99.0))}"
    return text


def _moments(tail: Tail) -> str:
    where = counted(len(tail.stretches), "stretch", "stretches")
    return f"{where} of {counted(tail.runs, 'run')}, together {tail.tenths / 10:.1f} s"


def _seconds(tail: Tail) -> str:
    """Where the stretches are: the same second of several runs once."""
    counts = Counter((each.first, each.last) for each in tail.stretches)
    words = [
        f"{next(s for s in tail.stretches if (s.first, s.last) == place)}"
        + (f" in {number} of {tail.runs} runs" if tail.runs > 1 else "")
        for place, number in counts.most_common(3)
    ]
    more = len(counts) - len(words)
    return ", ".join(words) + (f" and {counted(more, 'more stretch', 'more stretches')}" if more else "")


def _load_process(cause: Cause) -> str:
    tail = cause.tail
    assert tail is not None  # noqa: S101 - for the type checker
    slow = sum(each.slow for each in tail.workers.values())
    share = sum(each.requests for each in tail.workers.values()) / tail.all.requests
    return (
        f"{100 * slow / tail.all.slow:.0f} % of the {tail.all.slow:,} requests slower than {formatting.duration(tail.threshold)} "
        f"are of load process {cause.what}, which sent {percent(share)} of all"
    )


def _payload(cause: Cause) -> str:
    tail = cause.tail
    assert tail is not None and tail.messages is not None  # noqa: S101 - for the type checker
    held = tail.messages
    more = "" if len(held.numbers) <= MOST_MESSAGES else " and others"
    return (
        f"{100 * held.slow / held.known:.0f} % of the requests slower than {formatting.duration(tail.threshold)} whose payload was "
        f"recorded ({held.known:,}) send {len(held.numbers):,} of the {counted(held.of, 'message')} in the pool: numbers {cause.what}{more}"
    )


def _stage(cause: Cause) -> str:
    stage, split = cause.stage, cause.differences
    assert stage is not None and split is not None  # noqa: S101 - for the type checker
    change, whole = stage.change, split.after - split.before
    unit = [split.before, split.after]
    share = change.size / whole if whole > 0 else math.nan
    part = ""
    if share <= MOST_OF:
        part = f": {100 * share:.0f} % of the difference" if share < ALL_OF else ": all of the difference"
    unsure = "" if cause.sure else "; likely, but the trials differ too much to be sure"
    return (
        f"{stage.stage} {formatting.signed(change.size, unit)} in the mean ({formatting.signed(change.low, unit, name=False)} to {formatting.signed(change.high, unit)}), "
        f"{100 * split.share(stage):+.0f} % of the baseline's latency{part}{unsure}"
    )


def _failed(cause: Cause) -> str:
    return f"failed trials: {printable(cause.text)}"


_SENTENCES: Final = {
    Kind.FAILED_TRIALS: _failed,
    Kind.ERRORS: _errors,
    Kind.ANSWERS: _answers,
    Kind.LOAD_GENERATOR: _load_generator,
    Kind.EVENT: _event,
    Kind.SLOW_SECONDS: _event,
    Kind.LOAD_PROCESS: _load_process,
    Kind.PAYLOAD: _payload,
    Kind.STAGE: _stage,
}


def spread_text(tail: Tail) -> str:
    """Slow requests that have no place."""
    return (
        f"{percent(tail.all.slow / tail.all.requests)} of the requests took longer than {formatting.duration(tail.threshold)}, "
        f"spread over the {counted(tail.seconds, 'second')}: no second, load process or payload holds most of them"
    )


def facts_of(trials: Sequence[Trial]) -> str:
    """Commit, server, version and days of some trials."""
    commits = sorted({commit(trial) or "unknown" for trial in trials})
    servers = sorted({_server(trial) for trial in trials})
    versions = sorted({str(trial.identity.version) for trial in trials if trial.identity.version is not None})
    days = sorted({trial.started[:10] for trial in trials})
    parts = [
        f"commit {', '.join(commits[:3])}",
        ", ".join(servers[:3]),
        f"version {', '.join(versions[:4])}" if versions else "",
        f"{counted(len({trial.path for trial in trials}), 'run')} of {days[0] if len(days) == 1 else f'{days[0]} to {days[-1]}'}",
    ]
    return ", ".join(part for part in parts if part)


def _server(trial: Trial) -> str:
    target = trial.manifest.target
    name = trial.identity.server
    build = trial.identity.build or target.build or ""
    return printable(" ".join(dict.fromkeys(part for part in (name, build) if part)))


def next_steps(causes: Sequence[Cause], trials: Sequence[Trial], match: Match | None) -> Iterator[str]:
    """What to look at, and commands that show more."""
    run = shlex.quote(str(trials[-1].path))
    yield from dict.fromkeys(
        f"look at {LOOK_AT[Stage(cause.what)]}" for cause in causes if cause.what in LOOK_AT
    )
    if any(cause.kind in PLOTTED for cause in causes):
        yield f"bench plot {run}"
    yield f"bench report {run} --html report.html"
    if match is not None:
        old, new = ({_hash(trial) for trial in side} - {""} for side in (match.before, match.after))
        if len(old) == len(new) == 1 and old != new:
            yield f"git log --oneline {next(iter(old))}..{next(iter(new))}"
    place = trials[-1].path.parent
    if trials[-1].block is None and len(list(islice(place.glob(f"*/{MANIFEST}"), 2 * FEWEST))) == 2 * FEWEST:
        yield f"bench history {shlex.quote(str(place))} --html history.html"


def _hash(trial: Trial) -> str:
    text = trial.manifest.git.commit or ""
    return text[:HASH] if text.isalnum() else ""
