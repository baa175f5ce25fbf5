"""MLPerf's rules for its scenarios, and the result where a run obeys them.

The rules are those of MLPerf Inference's LoadGen (mlcommons/inference, loadgen/results.cc, and the rules' table of
scenarios): a least duration, a latency claim that the number of queries supports at 99 % confidence (see
`bench.analysis.statistics.sample_size`), in Server the bound kept, in Offline enough samples; and, as every query has to be
answered, no failure. Neither the data sets nor the closed division's other rules are checked: the result is
comparable with other runs of this tool, and not a submission.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench import BenchError
from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, untold
from bench.analysis.statistics.sample_size import claimable_percentile, samples_needed
from bench.runs.histogram import Histogram
from bench.runs.recording import MANIFEST
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT

MIN_DURATION: Final = 600.0
"""Seconds of load that the rules ask for."""
OFFLINE_SAMPLES: Final = 24_576


@dataclass(frozen=True)
class Seen:
    """Counts and latencies of a run from its first request to its last: LoadGen knows no warm-up."""

    latency: Histogram
    """Of the queries answered OK."""
    queries: int
    """Queries that were due."""
    samples: int
    """Examples in those that were answered."""
    failed: int
    unsent: int
    cancelled: int
    """Queries that the load generator gave up while they waited for their answers."""
    duration: float
    bound: float | None
    """Seconds within which an answer is asked for."""
    min_duration: float

    @property
    def answered(self) -> int:
        """Queries answered OK."""
        return self.queries - self.failed - self.unsent - self.cancelled


@dataclass(frozen=True)
class Verdict:
    """A scenario's result and what makes it invalid."""

    text: str
    values: dict[str, float | None]
    faults: list[str]


def answer(run: Run) -> list[Answer]:
    """VALID or INVALID with the scenario's result; the scenario is the name of the user class."""
    scenario = next((name for name in run.manifest.load.user_classes or [] if name in SCENARIOS), None)
    if scenario is None:
        return [untold("the result under MLPerf's rules", f"no user class is one of {', '.join(SCENARIOS)}")]
    seen = _seen(run)
    verdict = SCENARIOS[scenario](seen)
    faults = _common_faults(run, seen) + verdict.faults
    state = "INVALID" if faults else "VALID"
    relaxed = (
        [f"by a least duration of {seen.min_duration:g} s, MLPerf's is {MIN_DURATION:g} s"]
        if seen.min_duration < MIN_DURATION
        else []
    )
    text = f"{state}, {scenario}: {'; '.join([verdict.text, *faults, *relaxed])}"
    common: dict[str, float | None] = {
        "valid": 0.0 if faults else 1.0,
        "queries": float(seen.queries),
        "duration": seen.duration,
    }
    return [Answer(text, common | verdict.values)]


def _seen(run: Run) -> Seen:
    whole = run.within(*run.seconds)
    tallies = [(key, tally) for (key, _), tally in whole.tallies.items()]
    queries = sum(tally.requests for _, tally in tallies)
    answered = sum(tally.requests for key, tally in tallies if key.outcome == "OK")
    unsent = sum(tally.requests for key, tally in tallies if key.outcome == UNSENT)
    cancelled = sum(tally.requests for key, tally in tallies if key.outcome == CANCELLED_BY_CLIENT)
    bound, least = (_seconds(run, name) for name in ("latency-bound", "min-duration"))
    return Seen(
        latency=whole.histogram("latency"),
        queries=queries,
        samples=sum(tally.examples for key, tally in tallies if key.outcome == "OK"),
        failed=queries - answered - unsent - cancelled,
        unsent=unsent,
        cancelled=cancelled,
        duration=whole.duration,
        bound=bound,
        min_duration=least or MIN_DURATION,
    )


def _common_faults(run: Run, seen: Seen) -> list[str]:
    faults = [] if run.finished else ["the run was not finished"]
    if seen.failed:
        faults.append(f"{seen.failed:,} of {seen.queries:,} queries failed")
    if seen.unsent:
        faults.append(f"{seen.unsent:,} of {seen.queries:,} queries were due and not sent")
    if seen.cancelled:
        faults.append(f"{seen.cancelled:,} of {seen.queries:,} queries were cancelled by the load generator")
    # the last second that was begun counts
    if seen.duration < seen.min_duration:
        required = f"{seen.min_duration:g} s are required"
        faults.append(f"it lasted {seen.duration:.1f} s and {required}")
    return faults


def _stream(seen: Seen, percentile: float) -> Verdict:
    """SingleStream and MultiStream: the percentile that may be claimed."""
    claimed = claimable_percentile(percentile, seen.answered)
    if claimed is None:
        needed = samples_needed(percentile, 1)
        return Verdict(
            "no latency can be claimed",
            {"latency": None},
            [f"{seen.answered:,} queries do not support p{percentile:g}, {needed:,} do"],
        )
    value = seen.latency.percentile(claimed)
    text = f"p{percentile:g} is at most {formatting.duration(value)} at 99 % confidence, by {seen.answered:,} queries"
    return Verdict(text, {"latency": value}, [])


def _single_stream(seen: Seen) -> Verdict:
    return _stream(seen, 90.0)


def _multi_stream(seen: Seen) -> Verdict:
    return _stream(seen, 99.0)


def _server(seen: Seen) -> Verdict:
    """Server: queries/s at which 99 % of them are answered within the bound."""
    rate = seen.answered / seen.duration if seen.duration else 0.0
    if seen.bound is None:
        return Verdict(f"{formatting.rate(rate)} queries/s", {"rate": rate}, ["no latency bound was given"])
    p99, over = seen.latency.percentile(99.0), seen.latency.above(seen.bound)
    text = (
        f"{formatting.rate(rate)} queries/s, p99 {formatting.duration(p99)} of "
        f"{formatting.duration(seen.bound)} allowed"
    )
    faults = []
    needed = samples_needed(99.0, over)
    if not p99 <= seen.bound:
        faults.append("the latency bound is exceeded: lower the rate")
    elif seen.answered < needed:
        faults.append(
            f"{over:,} of {seen.answered:,} queries took longer than the bound: "
            f"{needed - seen.answered:,} more within it are needed for the claim"
        )
    return Verdict(text, {"rate": rate, "p99": p99, "over": float(over)}, faults)


def _offline(seen: Seen) -> Verdict:
    """Offline: samples/s."""
    rate = seen.samples / seen.duration if seen.duration else 0.0
    few = seen.samples < OFFLINE_SAMPLES
    faults = [f"{seen.samples:,} samples, {OFFLINE_SAMPLES:,} are required"] if few else []
    return Verdict(f"{formatting.rate(rate)} samples/s", {"samples_per_second": rate}, faults)


SCENARIOS: Final[dict[str, Callable[[Seen], Verdict]]] = {
    "SingleStream": _single_stream,
    "MultiStream": _multi_stream,
    "Server": _server,
    "Offline": _offline,
}


def _seconds(run: Run, option: str) -> float | None:
    """Seconds as an option of the scenario gives them. Raises BenchError."""
    text = run.manifest.options.get(option)
    if not text:
        return None
    try:
        seconds = float(str(text).removesuffix("s"))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BenchError(f"{run.path / MANIFEST}: options.{option} = {str(text)[:80]!r}: expected seconds")
    return seconds
