"""Latency under a spike, and the time after it until requests are as quick as before."""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, untold
from bench.analysis.answers.windows import (
    SETTLING,
    WINDOW,
    Floats,
    Requests,
    highest,
    in_words,
    reached,
    requests_of,
    threshold_of,
    windows,
    with_requests,
)
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT

CALM: Final = 10
"""Windows in a row without a slow one, from which on the server has recovered."""


class Spike(NamedTuple):
    """The requests of a run with a spike, and the p99 of its windows."""

    requests: Requests
    start: float
    end: float
    before: Floats
    during: Floats
    after: Floats
    threshold: float
    """From which p99 on a window is slow, in seconds."""
    recovery: float | None
    """Seconds from the end of the spike; None: the run ended before."""


def seen(run: Run) -> Spike | Answer:
    """The spike of a run, or why nothing can be told of it. Raises BenchError."""
    plan = run.manifest.load.plan
    begun = [arrivals.begin for arrivals in run.manifest.arrivals.values()]
    if plan.kind != "spike" or not begun or plan.at is None or plan.lasting is None:
        return untold("the effect of a spike", "the manifest has no time of one")
    requests = requests_of(run)
    if not len(requests.due):
        return untold("the excursion", "samples were not recorded (--no-samples)")
    start = begun[0] + plan.at
    end = start + plan.lasting
    before = windows(requests, begun[0] + SETTLING, start)
    during, after = windows(requests, start, end), windows(requests, end, float(requests.due[-1]))
    if len(with_requests(before)) < CALM or not len(with_requests(during)) or len(after) < CALM:
        return untold(
            "the effect of the spike", "the run is too short to see the load before, during and after it"
        )
    threshold = threshold_of(before)
    if not np.isfinite(threshold):
        return untold("the effect of the spike", "requests failed in the seconds before it already")
    return Spike(requests, start, end, before, during, after, threshold, _recovery(after > threshold))


def not_recovered(run: Run) -> Callable[[float], tuple[float, float]] | None:
    """The interval of `recovery_seconds` of a run that ended before: at least what was left of it; None: of others."""
    spike = seen(run)
    if isinstance(spike, Answer) or spike.recovery is not None:
        return None
    least = WINDOW * (len(spike.after) - CALM + 1)
    return lambda confidence: (least, math.inf)


def answer(run: Run) -> list[Answer]:
    """The p99 of tenths of a second before, during and after the spike."""
    spike = seen(run)
    if isinstance(spike, Answer):
        return [spike]
    requests, start, end, before, during, after, threshold, recovery = spike
    plan = run.manifest.load.plan
    failed = sum(
        tally.requests
        for (key, _), tally in run.tallies.items()
        if key.outcome not in ("OK", UNSENT, CANCELLED_BY_CLIENT)
    )
    usual, height = float(np.median(with_requests(before))), float(np.median(with_requests(during)))
    duration = formatting.duration
    end_of_it = f"it had not recovered when the run ended, {duration(WINDOW * len(after))} after the spike"
    if recovery == 0:
        end_of_it = "it recovered at once"
    elif recovery is not None:
        end_of_it = f"it recovered {duration(recovery)} after the spike"
    answered = windows(requests, start, end, answered=True)
    if np.isposinf(during).any():
        end_of_it += f"; p99 of the answered requests alone at most {duration(highest(answered))} during it"
    text = (
        f"at {plan.factor or 1.0:g} times the load the p99 of each 0.1 s was {in_words(height)} (median; {in_words(highest(during))} at most) "
        f"instead of {in_words(usual)}; {end_of_it} (p99 below {in_words(threshold)} for {CALM * WINDOW:g} s); {failed:,} requests failed; "
        "by one spike, another may differ"
    )
    values = {
        "baseline_p99": usual,
        "spike_p99": reached(height),
        "spike_p99_max": reached(highest(during)),
        "answered_spike_p99_max": reached(highest(answered)),
        "threshold": threshold,
        "recovery_seconds": recovery,
        "failed": float(failed),
    }
    return [Answer(text, values)]


def _recovery(slow: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> float | None:
    """Seconds until the first of CALM windows in a row that are not slow, as those without a request; None: there are none."""
    calm = np.convolve(~slow, np.ones(CALM), mode="valid") == CALM
    return WINDOW * int(np.argmax(calm)) if calm.any() else None
