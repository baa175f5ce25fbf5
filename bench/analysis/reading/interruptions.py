"""Interruptions of a run: when there were no answers, failed, wrong or outdated ones, or a load process sent nothing.

Also what was noted while the run lasted: a disk that took no more, a stepped clock, connections that a server ended.

They are read from the single requests, since the counts know seconds only; runs that were recorded without them show
none. A stretch without answers counts where it is long beside the run's own gaps and requests were waiting in it:
pauses that a schedule has by plan or by chance are none.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import BenchError
from bench.analysis.reading.checks import printable
from bench.analysis.reading.load_generator import waits_of
from bench.analysis.reading.restarts import signs_of
from bench.analysis.reading.wrong_answers import version_may_change
from bench.extras import MissingExtra
from bench.runs.columns import UNKNOWN
from bench.runs.histogram import Floats
from bench.runs.recording import CLOCK_STEPPED, CONNECTION_ENDED, RECORDING_ENDED, WORKER_LOST
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_STATUS, outcome
from bench.runs.samples import Requests, joined
from bench.runs.thresholds import RUN_DELAY
from bench.wording import counted

LEAST: Final = 0.2
"""Seconds of the shortest gap that is named: garbage collection and a busy machine make shorter ones."""
RARE: Final = 30.0
"""A gap is named where it is so many times as long as those are in which a quarter of the run's time lies.

Of Poisson arrivals that quarter lies in gaps shorter than 0.96 of the mean: a longer one has the chance e^-28.
"""
QUARTER: Final = 0.25
FEWEST: Final = 50
"""Answers from which the run's own gaps are known."""
JOIN: Final = 0.25
"""Seconds between two failures, or wrong answers, of one interruption."""
EDGE: Final = 0.1
"""Share of a gap at its begin and end in which requests and answers of the time around it may lie."""
MOST_ROWS: Final = 5_000_000
"""Requests of a run that are looked at one by one: about 500 MB."""
_LOST: Final = {WORKER_LOST: "load process lost", RECORDING_ENDED: "recording ended"}
MOST: Final = 20
"""Interruptions that are named."""
OFTEN: Final = 5
"""Stretches in which connections end, requests fail or answers are wrong: where there are more, that is how the server is, and
they are named as one."""


class Interruption(NamedTuple):
    """A stretch of a run in which something else happened than before and after it."""

    kind: str
    """no answers, failed requests, wrong answers, outdated answers, load process paused, load process lost, recording ended,
    wall clock stepped, connection ended."""
    begin: float
    """Seconds of the run."""
    end: float
    requests: int
    """Those that failed, were wrong or had to wait."""
    text: str

    def __str__(self) -> str:
        took = self.end - self.begin
        when = f"at {self.begin:.2f} s" if took < 0.005 else f"from {self.begin:.2f} s to {self.end:.2f} s"
        return f"{self.kind} {when} ({took:.2f} s): {self.text}"


def interruptions(run: Run) -> list[Interruption]:
    """Those of the whole run, by their begin, MOST at the most. Raises BenchError where its counts are damaged."""
    whole = run.within(*run.seconds)
    named = list(_lost(run))
    rows = _requests(run) if _suspicious(whole) else None
    if rows is not None:
        silent = list(_silent(run, rows))
        named += silent
        named += _failed(run, rows, silent)
        named += _wrong(rows)
        named += _paused(run, rows)
        if run.manifest.target.version_asked is None and not version_may_change(run):
            named += _outdated(rows)
    named += _noted(run, CLOCK_STEPPED)
    ended = [each for each in _noted(run, CONNECTION_ENDED) if not _within(each, named)]
    named += [_together(ended)] if len(ended) > OFTEN else ended
    return sorted(named, key=lambda each: each.begin)[:MOST]


def _requests(run: Run) -> Requests | None:
    """The single requests; None where there are none, too many, or damaged ones: the counts say the rest."""
    parts: list[Requests] = []
    try:
        for part in run.requests_in_parts():
            parts.append(part)
            if sum(len(each.due) for each in parts) > MOST_ROWS:
                return None
    except MissingExtra:  # with it, the same folder would show more
        raise
    except BenchError:
        return None
    rows = joined(parts) if parts else None
    return rows if rows is not None and len(rows.due) else None


def _suspicious(whole: Run) -> bool:
    """Whether counts and histograms leave room for an interruption: of most runs no request is read."""
    versions: dict[str, set[int]] = {}
    for (key, _), tally in whole.tallies.items():
        if key.outcome != "OK" or tally.mismatched:
            return True
        if key.version is not None:
            versions.setdefault(key.name, set()).add(key.version)
    slowest = whole.histogram("latency", lambda _: True)
    return any(len(each) > 1 for each in versions.values()) or (
        slowest.count > 0 and slowest.percentile(100) > LEAST * (0.5 - EDGE)
    )


def _gaps(instants: Floats) -> list[tuple[float, float]]:
    """Begin and end of the steps that are long beside the others; instants in ascending order."""
    steps = np.diff(instants)
    if len(steps) < FEWEST:
        return []
    ordered = np.sort(steps)
    time, usual = np.cumsum(ordered), len(steps)
    while usual > FEWEST:  # the longest is compared with the others
        quarter = ordered[np.searchsorted(time[: usual - 1], QUARTER * time[usual - 2])]
        if ordered[usual - 1] < max(LEAST, RARE * quarter):
            break
        usual -= 1
    at = np.flatnonzero(steps > ordered[usual - 1])
    return [(float(instants[i]), float(instants[i + 1])) for i in at]


def _silent(run: Run, rows: Requests) -> Iterator[Interruption]:
    """Stretches in which nothing was answered although requests waited that had been sent."""
    due, sent, done, ok = rows.due, rows.sent, rows.done, rows.status == 0
    left = np.isfinite(sent)
    if not left.any():
        return
    usual = float(np.median((done - sent)[ok])) if ok.any() else 0.0  # the first answer cannot come sooner
    edges = (np.nanmin(sent) + usual, np.nanmax(done))
    for begin, end in _gaps(np.sort(np.concatenate(([edges[0]], done[ok], [edges[1]])))):
        first, middle, last = begin + EDGE * (end - begin), (begin + end) / 2, end - EDGE * (end - begin)
        inside = (due > first) & (due < last)
        going_on = left & (sent > first) & (sent < middle)
        kept_back = inside & left & (sent >= last)
        waited = left & (sent <= first) & (done >= end)
        stood_still = kept_back.any() and (not _held_back(run) or _loop_stood(run, begin, end))
        if not going_on.any() and (stood_still or not waited.any()):
            continue  # nothing was to be sent, or the load process stood still
        waiting = int((left & (sent < end) & (done >= begin)).sum())
        text = f"{counted(waiting, 'request')} waited or failed"
        if not going_on.any() and _loop_stood(run, begin, end):
            text += "; the load process stood still"
        elif (~ok & left & (done > begin) & (done < end)).any():
            text = "; ".join([text, *signs_of(run, None).certain])
        yield Interruption("no answers", begin, end, waiting, text + _starved(run, begin, end))


def _held_back(run: Run) -> bool:
    """Whether requests may have been sent late because they waited for a stream, a window or a connection."""
    return run.manifest.load.closed or bool(waits_of(run))


def _loop_stood(run: Run, begin: float, end: float) -> bool:
    """Whether the event loop of a load process was late by most of a stretch; of a closed loop only it says so."""
    return _most(run, "loop_delay_max", begin, end) > (end - begin) / 2


def _starved(run: Run, begin: float, end: float, source: str | None = None) -> str:
    """What is to be added where a load process itself had no core then: on its machine the server may have had none.

    source: of the process; None: any.
    """
    share = _most(run, "run_delay", begin, end, source)
    return f"; the load generator was CPU-starved {share:.0%} of the time" if share > RUN_DELAY else ""


def _most(run: Run, name: str, begin: float, end: float, source: str | None = None) -> float:
    """The largest value that load processes, or one of them, have observed in seconds that overlap a stretch."""
    return max(
        (
            float(row.get(name) or 0.0)
            for row in run.telemetry
            if begin <= float(row["time"]) <= end + 1.5
            and (row.get("source") == source if source else str(row.get("source", "")).startswith("worker"))
        ),
        default=0.0,
    )


def _stretches(rows: Requests) -> Iterator[Requests]:
    """The rows in the order of their end, those together that follow each other closely; MOST groups at the most."""
    order = np.argsort(rows.done, kind="stable")
    breaks = np.flatnonzero(np.diff(rows.done[order]) > JOIN) + 1
    for first, after in itertools.pairwise([0, *breaks, len(order)][: MOST + 1]):
        if after > first:
            yield rows.where(order[first:after])


def _spanning(kind: str, rows: Requests, text: str) -> Interruption:
    return Interruption(kind, float(rows.done[0]), float(rows.done[-1]), len(rows.done), text)


def _stretches_of(
    kind: str, rows: Requests, text: Callable[[int], str], outer: Sequence[Interruption] = ()
) -> list[Interruption]:
    """Stretches of requests that end soon after each other, without those within others; of more than OFTEN one for all.

    text: of so many requests.
    """
    done = np.sort(rows.done)
    breaks = (np.flatnonzero(np.diff(done) > JOIN) + 1).tolist()
    ends = [0, *breaks, len(done)] if len(done) else []
    parts = [
        Interruption(kind, float(done[first]), float(done[after - 1]), after - first, text(after - first))
        for first, after in itertools.pairwise(ends)
    ]
    parts = [each for each in parts if not _within(each, outer)]
    if len(parts) <= OFTEN:
        return parts
    requests = sum(each.requests for each in parts)
    return [_together([parts[0]._replace(text=text(requests)), *parts[1:]])._replace(requests=requests)]


def _failed(run: Run, rows: Requests, silent: list[Interruption]) -> Iterator[Interruption]:
    """Stretches of failures with one status, without those of a time in which nothing was answered."""
    failed = ~np.isin(rows.status, (0, UNKNOWN, CANCELLED_STATUS)) & np.isfinite(rows.done)
    for code in np.unique(rows.status[failed]):
        name = outcome(int(code))
        example = next(
            (printable(str(row.get("text"))) for row in run.errors if row.get("outcome") == name), ""
        )

        def text(count: int, name: str = name, example: str = example) -> str:
            return f"{name}, {counted(count, 'request')}" + (example and f': "{example}"')

        yield from _stretches_of("failed requests", rows.where(failed & (rows.status == code)), text, silent)


def _within(each: Interruption, others: Sequence[Interruption]) -> bool:
    """Whether it is a part of one of the others."""
    return any(outer.begin - JOIN <= each.begin and each.end <= outer.end + JOIN for outer in others)


def _together(each: list[Interruption]) -> Interruption:
    """Those of one kind as one."""
    first = each[0]
    text = f"{first.text}; {counted(len(each), 'time')} in all"
    return Interruption(first.kind, first.begin, max(part.end for part in each), 0, text)


def _noted(run: Run, kind: str) -> list[Interruption]:
    """What was noted as it happened; in several load processes at once it is one."""
    rows = [
        Interruption(
            kind,
            float(row["time"]),
            float(row["time"]) + (row.get("lasting") or 0.0),
            0,
            printable(str(row.get("text"))),
        )
        for row in run.events
        if row.get("kind") == kind
    ]
    merged: list[Interruption] = []
    for row in sorted(rows, key=lambda each: each.begin):
        last = merged[-1] if merged else None
        if last is None or row.begin > last.end + JOIN:
            merged.append(row)
        else:
            texts = dict.fromkeys([*last.text.split("; "), row.text])
            merged[-1] = last._replace(end=max(last.end, row.end), text="; ".join(list(texts)[:MOST]))
    return merged


def _wrong(rows: Requests) -> list[Interruption]:
    return _stretches_of(
        "wrong answers",
        rows.where(rows.mismatched),
        lambda count: f"{counted(count, 'answer')} wrong or different from before",
    )


def _outdated(rows: Requests) -> Iterator[Interruption]:
    """Answers by a version older than one that had answered before."""
    for code in range(len(rows.names)):
        same = rows.where((rows.name == code) & (rows.version != UNKNOWN))
        same = same.where(np.argsort(same.done, kind="stable"))
        newest = np.maximum.accumulate(same.version)
        older: NDArray[np.bool_] = same.version < newest
        for part in _stretches(same.where(older)):
            versions = ", ".join(map(str, np.unique(part.version)))
            text = f"{counted(len(part.done), 'answer')} by version {versions} after one by {newest.max()}"
            yield _spanning("outdated answers", part, text)


def _paused(run: Run, rows: Requests) -> Iterator[Interruption]:
    """Stretches in which a load process sent nothing although requests were due."""
    left = np.isfinite(rows.sent)
    for worker in np.unique(rows.worker[left]):
        its = rows.where(left & (rows.worker == worker))
        due, sent = its.due, its.sent
        for begin, end in _gaps(np.sort(sent)):
            late = int(((due > begin) & (due < end) & (sent >= end)).sum())
            if _held_back(run) and not _loop_stood(run, begin, end):
                continue
            if ((due > begin) & (due < (begin + end) / 2) & (sent >= end)).any():
                text = f"load process {worker} sent nothing; {counted(late, 'request')} sent late"
                text += _starved(run, begin, end, f"worker {worker}")
                yield Interruption("load process paused", begin, end, late, text)


def _lost(run: Run) -> Iterator[Interruption]:
    """Load processes, or a disk, that were there no more before the load ended: from then to its end."""
    for row in run.events:
        kind = _LOST.get(str(row.get("kind")))
        if kind is not None:
            at = float(row["time"])
            yield Interruption(
                kind, at, max(at, run.manifest.stopped or at), 0, printable(str(row.get("text")))
            )


def plain(each: Interruption) -> dict[str, Any]:
    """For programs: instants and length in seconds."""
    return each._asdict() | {"seconds": each.end - each.begin}
