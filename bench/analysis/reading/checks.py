"""Checks of a run: warnings with their remedies.

Each check looks for one reason not to; what it finds is a warning with the remedy. No check needs more than the
manifest, the counts, the histograms and the telemetry of one run. (What only shows beside another run, such as
another machine, is `bench.analysis.reading.environment`.)
"""

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from bench import escape
from bench.analysis.reading import (
    attendance,
    exporters,
    load_generator,
    reconciliation,
    stalls,
    wrong_answers,
)
from bench.analysis.reading.cells import Cell, cells, population
from bench.analysis.reading.error_remedies import remedy
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.statistics.sample_size import samples_needed
from bench.runs import sealing
from bench.runs.journal import experiment_of
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT
from bench.runs.thresholds import EARLY_SECONDS, ERROR_SHARE
from bench.runs.warmup import Part, excess, trend
from bench.wording import duration

TREND_P: Final = 0.002
TREND_CHANGE: Final = 0.10
"""A trend has a warning when it is no chance and moves rate or median latency by this share of the median."""
STEADY_SECONDS: Final = 2.5
"""A shorter steady part shows neither a trend nor the pauses that come every few seconds."""
CLOCKS_APART: Final = timedelta(hours=1)
"""By which the clock of a machine that measures may be ahead of that of one that reads."""
TEXT_LENGTH: Final = 200
"""Characters of an error's text in a warning."""


def warnings_of(run: Run, percentiles: Iterable[float] = ()) -> list[RunWarning]:
    """Every warning about a run: those noted while it lasted, then what the checks find.

    `percentiles` are those that a claim rests on: too few samples for one of them is a warning. Raises BenchError
    where the run's files are damaged.
    """
    noted = [RunWarning(each.check, each.reason, each.remedy) for each in run.manifest.doubts]
    checked = [warning for check in CHECKS for warning in check(run)] + _too_few_samples(run, percentiles)
    known = {warning.check for warning in noted}
    return noted + [warning for warning in checked if warning.check not in known]


def _unfinished(run: Run) -> list[RunWarning]:
    lasted, planned = run.manifest.stopped, run.manifest.planned_end
    if run.finished:
        if lasted is None or planned is None or lasted >= planned - EARLY_SECONDS:
            return []
        text = f"the load ended after {lasted:.1f} s and was to last {planned:.1f} s"
        return [RunWarning("interrupted", text, "run it again, to its end")]
    if run.manifest.whole:
        after = "" if lasted is None else f" after {lasted:.1f} s"
        return [RunWarning("interrupted", f"the run was interrupted{after}", "run it again, to its end")]
    return [
        RunWarning(
            "unfinished",
            "the run was not finished: its load process was killed or still runs",
            "run it again",
        )
    ]


def _altered(run: Run) -> list[RunWarning]:
    home, experiment = experiment_of(run.path), run.manifest.experiment
    beside = [] if home is None else sealing.altered(home, expected=bool(experiment and experiment.folder))
    texts = {
        "files are not as they were when the run ended": run.altered,
        "files of its experiment are not as they were when it ended": beside,
    }
    return [
        RunWarning(
            "files changed",
            f"{text}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}",
            "restore the folder from where it was copied, or run it again",
        )
        for text, names in texts.items()
        if names
    ]


def _unidentified(run: Run) -> list[RunWarning]:
    """Without an id a copy is not told from a new measurement, and without checksums a change is not seen."""
    if run.manifest.run_id or not run.manifest.whole:
        return []
    text = "the run has no run_id: whether it is a copy, and whether its files were changed, is unknown"
    return [
        RunWarning("unidentified", text, "run it again; serving-bench gives each run an id and checksums")
    ]


def _undated(run: Run) -> list[RunWarning]:
    """The newest run is found by the time of its start, and so is the order of a history."""
    remedy = "correct the clock of the machine, and run it again"
    try:
        began = datetime.fromisoformat(run.manifest.started)
    except ValueError:
        return [RunWarning("clocks", f"its start, {run.manifest.started!r}, is not a time", remedy)]
    if (began if began.utcoffset() is not None else began.replace(tzinfo=UTC)) <= datetime.now(
        UTC
    ) + CLOCKS_APART:
        return []
    return [RunWarning("clocks", f"its start, {run.manifest.started}, is in the future", remedy)]


def _empty(run: Run) -> list[RunWarning]:
    if run.tallies:
        return []
    return [
        RunWarning("empty", "no request was recorded", "see the log of the load processes for the reason")
    ]


def _incomplete(run: Run) -> list[RunWarning]:
    """Requests sent, recorded and found in the run must be the same number."""
    if not run.manifest.whole:
        return []
    counts = run.manifest.counts
    sent, recorded = counts.sent, counts.recorded
    whole = run.within(*run.seconds)
    counted_requests = sum(t.requests for (key, _), t in whole.tallies.items() if key.outcome != UNSENT)
    unsent = sum(t.requests for (key, _), t in whole.tallies.items() if key.outcome == UNSENT)
    # what failed before a byte left, as while the server is down, has an outcome of its own and was not sent
    failed_here = 0 if counts.unsent is None else counts.unsent - unsent
    warnings = []
    if sent is None:
        text = "its manifest lacks the number of requests sent: whether all of them are recorded is unknown"
        warnings.append(RunWarning("incomplete", text, "run it again"))
    elif sent + failed_here != counted_requests:
        warnings.append(
            RunWarning(
                "incomplete",
                f"{sent:,} requests were sent and {counted_requests - failed_here:,} are recorded",
                "run it again with fewer requests per load process; samples were lost on their way",
            )
        )
    if (
        not warnings
        and recorded is not None
        and recorded not in (counted_requests, counted_requests + unsent)
    ):
        warnings.append(
            RunWarning(
                "incomplete",
                f"{recorded:,} requests were recorded and {counted_requests + unsent:,} are in the run's files",
                "the files were damaged or changed: run it again",
            )
        )
    held = whole.histogram("latency", lambda _: True).count
    if held != counted_requests:
        warnings.append(
            RunWarning(
                "damaged",
                f"the histograms hold {held:,} of {counted_requests:,} requests: the percentiles are not those of the run",
                "histograms.hlog was damaged or changed: restore it or run again",
            )
        )
    return warnings


def _warm_up(run: Run) -> list[RunWarning]:
    """What is cut must be a transient: requests that stood still or failed there are not."""
    if not run.tallies or not run.warm_up.seconds:
        return []
    cut, rest = warm_up_part(run.cut), warm_up_part(run.steady)
    beyond = excess(cut, rest)
    if beyond is None:
        return []
    text = (
        f"{cut.failed:.1%} of the requests in it got no answer, {rest.failed:.1%} of the rest"
        if beyond == "failed"
        else f"its slowest request took {_time(cut.longest)} and its p99 {_time(cut.p99)}, {_time(rest.longest)} and "
        f"{_time(rest.p99)} in the rest"
    )
    return [
        RunWarning(
            "warm-up",
            f"the warm-up, {run.warm_up.seconds:g} s, is more than a transient: {text}",
            "let the server become ready, and send it some requests, before the run; or count it: --warm-up 0",
        )
    ]


def _time(seconds: float) -> str:
    return "not reached" if seconds == math.inf else duration(seconds)


def warm_up_part(run: Run) -> Part:
    """What a window of a run was like, all its requests together."""
    requests = population(run, {key for key, _ in run.tallies})
    answered = run.histogram("latency")
    lost = requests.lost / requests.count if requests.count else 0.0
    return Part(answered.percentile(50), requests.bounds(99)[0], answered.percentile(100), lost)


def _unsteady(run: Run) -> list[RunWarning]:
    if not run.tallies or not run.constant_load:
        return []
    steady = run.steady
    if steady.duration < STEADY_SECONDS:
        text = f"the steady part lasts {steady.duration:.1f} s only"
        return [RunWarning("short", text, f"run longer: {STEADY_SECONDS:g} s after the warm-up at least")]
    warnings = []
    if not run.warm_up.settled:
        text = f"load or latency had not settled after {run.warm_up.seconds:g} s, the longest that is left out as warm-up"
        warnings.append(RunWarning("unsteady", text, "run longer, or give the warm-up: --warm-up SECONDS"))
    for quantity, series in zip(("requests/s", "median latency"), steady.rate_and_latency(), strict=True):
        seen = trend(series)
        if seen is not None and seen.p < TREND_P and abs(seen.change) > TREND_CHANGE:
            warnings.append(
                RunWarning(
                    "unsteady",
                    f"{quantity} changed by {seen.change:+.0%} within the steady part",
                    "run longer, or give the warm-up: --warm-up SECONDS",
                )
            )
    return warnings


def _errors(run: Run) -> list[RunWarning]:
    """Over the whole run: errors in the warm-up count as well, calls that this client cancelled never do."""
    outcomes: dict[str, int] = {}
    for (key, _), tally in run.within(*run.seconds).tallies.items():
        if key.outcome != CANCELLED_BY_CLIENT:
            outcomes[key.outcome] = outcomes.get(key.outcome, 0) + tally.requests
    total, answered = sum(outcomes.values()), outcomes.pop("OK", 0)
    if not total or (total - answered) / total <= ERROR_SHARE:
        return []
    most = max(outcomes, key=lambda outcome: outcomes[outcome])
    example = next((row.get("text") for row in run.errors if row.get("outcome") == most), None)
    quoted = f' ("{printable(str(example))}")' if example else ""
    text = (
        f"{(total - answered) / total:.1%} of all requests failed, warm-up included, most with {most}{quoted}"
    )
    return [RunWarning("errors", text, remedy(run, most, str(example or "")))]


def _cancelled(run: Run) -> list[RunWarning]:
    """Calls that this client cancelled are no errors, and no answers either."""
    tallies = run.within(*run.seconds).tallies.items()
    cancelled = sum(tally.requests for (key, _), tally in tallies if key.outcome == CANCELLED_BY_CLIENT)
    share = cancelled / max(1, sum(tally.requests for _, tally in tallies))
    if share <= ERROR_SHARE:
        return []
    text = f"{share:.1%} of the requests were cancelled by the load generator: it is not known how they would have ended"
    wait = "wait for the last answers, or let such calls fail sooner: --deadline SECONDS"
    return [RunWarning("cancelled", text, wait)]


def printable(text: str) -> str:
    """The beginning of a text from a run folder, which may be anybody's, in one line that no terminal obeys."""
    line = escape.one_line(text)
    return line if len(line) <= TEXT_LENGTH else line[:TEXT_LENGTH] + "..."


def _restarted(run: Run) -> list[RunWarning]:
    kinds = {"restart": "restarted", "reload": "reloaded its model", "config": "changed its configuration"}
    return [
        RunWarning(
            "restarted",
            f"the server {kinds[row['kind']]} at {float(row['time']):.1f} s",
            "run it again undisturbed",
        )
        for row in run.events
        if row.get("kind") in kinds
    ][:3]


def _too_few_samples(run: Run, percentiles: Iterable[float]) -> list[RunWarning]:
    measured: list[Cell] = cells(run) if run.tallies else []
    return [
        RunWarning(
            "too few samples",
            f"{cell.requests:,} requests do not support p{q:g}, {samples_needed(q):,} do",
            "run longer, or with more load",
        )
        for q in percentiles
        for cell in measured
        if math.isfinite(q) and cell.requests < samples_needed(q)
    ]


CHECKS: Final[tuple[Callable[[Run], list[RunWarning]], ...]] = (
    _unfinished,
    _altered,
    _unidentified,
    _undated,
    _empty,
    _incomplete,
    *attendance.CHECKS,
    *load_generator.CHECKS,
    _warm_up,
    _unsteady,
    stalls.check,
    _errors,
    _cancelled,
    wrong_answers.check,
    _restarted,
    reconciliation.check,
    exporters.check,
)
