"""Check of closed loops for long waits, of which percentiles over requests show next to nothing."""

import math
from typing import Final

from bench.analysis.reading.cells import observations, values
from bench.analysis.reading.run_warning import RunWarning
from bench.runs.histogram import highest_ns
from bench.runs.run import Run
from bench.wording import counted, duration

SHARE: Final = 0.01
"""Of the users' time: of requests that came at any time, p99 would lie among those that waited so long."""
BEYOND: Final = 10.0
"""Times the p99 of latency that a long wait takes at least..."""
LEAST: Final = 1.0
"""...and these seconds."""


def check(run: Run) -> list[RunWarning]:
    """A warning where users of a closed loop spent much of their time in a few requests."""
    load, steady = run.manifest.load, run.steady
    if not run.tallies or not load.closed or not run.constant_load:
        return []
    latency = steady.histogram("latency", lambda _: True)
    long = max(LEAST, BEYOND * latency.percentile(99)) if latency.count else math.inf
    if not latency.count or latency.percentile(100) < long:
        return []
    requests, waited = _waits(steady, long)
    share = waited / ((load.users or 0) * steady.duration or latency.mean * latency.count)
    if share <= SHARE:
        return []
    text = (
        f"users waited for {counted(requests, 'request')} of {duration(long)} and more in {min(1.0, share):.1%} of their "
        "time: in a closed loop they send nothing in the meantime, so that its p99 does not show it"
    )
    return [
        RunWarning(
            "stalled", text, "find out why the server stood still, or measure in an open loop (--schedule)"
        )
    ]


def _waits(run: Run, long: float) -> tuple[int, float]:
    """How many requests of a window took so many seconds, and how many of these passed while the load lasted.

    Without those of a load process that stood still itself.
    """
    _, end = run.window or run.seconds
    last = min(float(end), run.manifest.stopped or math.inf)
    requests, waited = 0, 0.0
    for second, latency in run.series("latency", lambda _: True):
        if latency.percentile(100) < long:
            continue
        buckets = latency.sparse()
        # a request of a second was due at its end at the latest
        for each, count in zip(
            (highest_ns(buckets.indices) / 1e9).tolist(), buckets.counts.tolist(), strict=True
        ):
            lasting = min(each, last - second - 1)
            if each >= long and lasting >= LEAST and not _loop_stood(run, second, lasting):
                requests, waited = requests + count, waited + count * lasting
    return requests, waited


def _loop_stood(run: Run, second: int, lasting: float) -> bool:
    """Whether a load process itself stood still for most of a wait that began in a second."""
    during = run.within(second, second + math.ceil(lasting) + 2)
    late = [
        delay for rows in observations(during, "worker").values() for delay in values(rows, "loop_delay_max")
    ]
    return max(late, default=0.0) > lasting / 2
