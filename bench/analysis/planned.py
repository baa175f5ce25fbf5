"""How many requests the schedule of a run had planned: drawn again, so that chance is no fault of the generator."""

import math
from typing import Any, Final

import numpy as np

from bench import BenchError
from bench.run import Run
from bench.schedule import Closed, from_dict, open_sequence

CHANCE: Final = 4.0
"""Standard deviations by which a Poisson count may lie below its mean, where its arrivals cannot be drawn again."""


def planned(run: Run) -> float | None:
    """Requests that were due by plan in the window of a run, while the load lasted.

    By the schedule, the seed and the changes of users in the manifest: the same arrivals as the load processes drew,
    however many they were. None where the manifest does not say, or a trace is gone.
    """
    load = run.manifest.get("load") or {}
    arrivals = run.manifest.get("arrivals") or {}
    said: dict[str, Any] = load.get("schedules") or dict.fromkeys(arrivals, load.get("schedule"))
    classes = load.get("user_classes") or list(said)
    if not arrivals or set(arrivals) != set(classes) or not set(arrivals) <= set(said):
        return None
    first, end = run.window or run.seconds
    ended = min(float(end), float(run.manifest.get("stopped") or math.inf))
    try:
        seed, span = int(run.manifest.get("seed") or 0), (float(first), ended)
        return float(sum(_of_class(said[name], seed, name, plan, span) for name, plan in arrivals.items()))
    except (BenchError, KeyError, TypeError, ValueError):
        return None


def _of_class(said: Any, seed: int, salt: str, plan: dict[str, Any], span: tuple[float, float]) -> int:
    schedule = from_dict(said)
    if isinstance(schedule, Closed):
        raise ValueError("a closed loop has no plan")
    sequence = open_sequence(schedule, seed, salt)
    begin, last = float(plan["begin"]), span[1] - float(plan["begin"])
    count = 0
    changes = [(float(at), int(users)) for at, users in plan["users"]]
    for number, (at, users) in enumerate(changes):
        sequence.set_users(at, users)
        until = changes[number + 1][0] if number + 1 < len(changes) else last
        due = sequence.before(min(until, last)) + begin
        count += int(np.count_nonzero((due >= span[0]) & (due < span[1])))
        if until >= last:
            break
    return count
