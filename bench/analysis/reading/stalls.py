"""Check of closed loops for times in which all users waited, of which percentiles over requests show next to nothing."""

import math
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from bench.analysis.reading.cells import observations, values
from bench.analysis.reading.run_warning import RunWarning
from bench.runs.run import PARTIAL, Run
from bench.wording import duration

SHARE: Final = 0.01
"""Of the steady part: of requests that came at any time, p99 would lie among those of the stalls."""
USUAL: Final = 10.0
"""Times the median latency, as which a stall is longer at least: a slow model lets its users wait too."""


def check(run: Run) -> list[RunWarning]:
    """A warning where a server answered nothing for whole seconds of a closed loop."""
    if not run.tallies or not run.manifest.load.closed or not run.constant_load:
        return []
    stalls = list(_stalls(run))
    lasting, steady = sum(end - begin for begin, end in stalls), run.steady.duration
    if lasting <= SHARE * steady:
        return []
    text = (
        f"nothing was answered for {duration(lasting)} from {stalls[0][0]} s on, {lasting / steady:.1%} of the steady part: "
        "a closed loop sends nothing in the meantime, so that its percentiles do not show it"
    )
    return [
        RunWarning(
            "stalled", text, "find out why the server stood still, or measure in an open loop (--schedule)"
        )
    ]


def _stalls(run: Run) -> Iterator[tuple[int, int]]:
    """Whole seconds of the steady part, from one to before another, in which all users waited for answers.

    Nothing was due in them, and a request of the second before them was not answered until they were over.
    """
    first, end = run.steady.window or run.seconds
    last = math.floor(min(float(end), run.manifest.stopped or math.inf) + PARTIAL)
    due = {second for _, second in run.tallies}
    empty = [second for second in range(first, last) if second not in due]
    if not empty:
        return
    latencies = dict(run.series("latency", lambda _: True))
    usual = run.steady.histogram("latency", lambda _: True).percentile(50)
    for _, together in groupby(enumerate(empty), key=lambda each: each[1] - each[0]):
        seconds = [second for _, second in together]
        begin, end = seconds[0], seconds[-1] + 1
        before = latencies.get(begin - 1)
        if (
            before is not None
            and before.percentile(100) >= end - begin >= USUAL * usual
            and not _loop_stood(run, begin, end)
        ):
            yield begin, end


def _loop_stood(run: Run, begin: int, end: int) -> bool:
    """Whether a load process itself stood still for most of some seconds."""
    during = run.within(begin, end + 2)
    late = [
        delay for rows in observations(during, "worker").values() for delay in values(rows, "loop_delay_max")
    ]
    return max(late, default=0.0) > (end - begin) / 2
