"""The number of requests that the schedule of a run had planned: drawn again, so that chance is no fault of the generator."""

import math
from typing import Final

import numpy as np

from bench import BenchError
from bench.runs.manifest import Arrivals, Schedule
from bench.runs.run import Run
from bench.schedule import Closed, Trace, from_dict, open_sequence

MOST_DRAWN: Final = 50_000_000
"""Arrivals that are drawn again; they take 8 bytes each."""
CHANCE: Final = 4.0
"""Standard deviations by which a Poisson count may lie below its mean, where its arrivals cannot be drawn again."""


def planned(run: Run) -> float | None:
    """Requests that were due by plan in the window of a run, while the load lasted.

    By the schedule, the seed and the changes of users in the manifest: the same arrivals as the load processes drew,
    however many they were. None where the manifest does not say, or a trace is gone.
    """
    load, arrivals = run.manifest.load, run.manifest.arrivals
    schedules = load.schedules or (dict.fromkeys(arrivals, load.schedule) if load.schedule else {})
    classes = load.user_classes or list(schedules)
    if not arrivals or set(arrivals) != set(classes) or not set(arrivals) <= set(schedules):
        return None
    first, end = run.window or run.seconds
    ended = min(float(end), run.manifest.stopped or math.inf)
    try:
        seed, span = run.manifest.seed or 0, (float(first), ended)
        return float(
            sum(_of_class(schedules[name], seed, name, plan, span) for name, plan in arrivals.items())
        )
    except (BenchError, KeyError, TypeError, ValueError):
        return None


def _of_class(recorded: Schedule, seed: int, salt: str, plan: Arrivals, span: tuple[float, float]) -> int:
    schedule = from_dict(recorded.facts())
    if isinstance(schedule, Closed):
        raise ValueError("a closed loop has no plan")
    sequence = open_sequence(schedule, seed, salt)
    begin, last, changes = plan.begin, span[1] - plan.begin, plan.users
    most = max((users for _, users in changes), default=0)
    if not isinstance(schedule, Trace) and schedule.rates().expected_at(max(last, 0.0)) * most > MOST_DRAWN:
        raise ValueError("too many arrivals to draw")
    count = 0
    for number, (at, users) in enumerate(changes):
        sequence.set_users(at, users)
        until = changes[number + 1][0] if number + 1 < len(changes) else last
        due = sequence.before(min(until, last)) + begin
        count += int(np.count_nonzero((due >= span[0]) & (due < span[1])))
        if until >= last:
            break
    return count
