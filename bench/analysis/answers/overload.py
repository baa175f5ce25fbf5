"""Share of the requests answered in time at each step of the rate, and what became of the rest."""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, untold
from bench.analysis.capacity.bracket import bracket
from bench.analysis.reading.load_generator import waits_of
from bench.analysis.statistics.clustered import Seconds, effective, evidence
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT
from bench.wording import plain

WHAT: Final = "the sustained rate"
IN_TIME: Final = 0.99
"""A rate is sustained when at least this share is answered within the deadline."""
LOST_HERE: Final = 0.01
"""Share of a step that the load processes may fail to send: beyond it the step says nothing about the server."""


class Step(NamedTuple):
    """A step of the schedule, in its whole seconds."""

    rate: float
    """Requests per second of all users."""
    outcomes: dict[str, int]
    seconds: dict[int, dict[str, int]]
    """The outcomes of each second."""

    @property
    def answered(self) -> Seconds:
        """Requests that were answered within the deadline, of those that were sent, by second."""
        each = self.seconds.values()
        return Seconds(
            np.array([float(counts.get("OK", 0)) for counts in each]),
            np.array([float(sum(counts.values()) - counts.get(UNSENT, 0)) for counts in each]),
        )


def steps_of(run: Run) -> list[Step] | None:
    """The steps that lasted for a whole second and more, in the order of the schedule; None: the run has no such plan."""
    load = run.manifest.load
    each, steps = load.plan.each, load.plan.steps
    begun = [arrivals.begin for arrivals in run.manifest.arrivals.values()]
    if load.plan.kind != "steps" or not begun or each is None or not steps or load.deadline is None:
        return None
    all_steps = [Step(rate * (load.users or 1), {}, {}) for rate in steps]
    for (key, second), tally in run.within(*run.seconds).tallies.items():
        number = int((second + 0.5 - begun[0]) // each)
        if key.outcome == CANCELLED_BY_CLIENT:  # whether it would have been answered in time is not known
            continue
        # seconds that belong to two steps belong to neither
        if 0 <= number < len(steps) and (second - begun[0]) // each == (second + 0.999 - begun[0]) // each:
            for counts in (all_steps[number].outcomes, all_steps[number].seconds.setdefault(second, {})):
                counts[key.outcome] = counts.get(key.outcome, 0) + tally.requests
    return [step for step in all_steps if step.outcomes]


def sustained(run: Run) -> Callable[[float], tuple[float, float]] | None:
    """The interval of `sustained_rate` at each confidence, among the rates that were sent; None: it cannot be told.

    A step is sustained, or not, where as many independent requests as it has show that. One that is shows it of all that
    are slower; below the slowest that is not nothing is known where that is the first, and nothing is of a step that the
    load processes did not send.
    """
    steps = sorted(steps_of(run) or (), key=lambda step: step.rate)
    if not steps:
        return None

    def interval(confidence: float) -> tuple[float, float]:
        tail = (1 - confidence) / 2
        low, before = 0.0, math.nextafter(steps[0].rate, 0)
        for step in steps:
            if _share(step.outcomes, UNSENT) > LOST_HERE:
                return low, math.inf
            part, whole = step.answered
            share = float(part.sum()) / max(1.0, float(whole.sum()))
            above, below = evidence(share, effective(part, whole, confidence), IN_TIME)
            if below <= tail:
                return min(low, before), before
            low, before = step.rate if above <= tail else low, step.rate
        return low, math.inf

    return interval


def answer(run: Run) -> list[Answer]:
    """Each step of the schedule: what was offered, what was answered, what became of the rest."""
    load, seen = run.manifest.load, steps_of(run)
    if seen is None or load.deadline is None:
        return [untold(WHAT, "the manifest has no steps of the rate, no start of the load or no deadline")]
    if not seen:
        return [untold(WHAT, "no step lasted for a whole second")]
    highest, least = bracket((step.rate, _share(step.outcomes, "OK") >= IN_TIME) for step in seen)
    deadline = formatting.duration(load.deadline)
    rates = ", ".join(
        f"{formatting.share(_share(step.outcomes, 'OK'))} of {sum(step.outcomes.values()):,} at {plain(step.rate)}/s"
        for step in seen
    )
    remedy = next((each for _, each in waits_of(run)), "use more load processes (--processes)")
    unsent = max((_share(step.outcomes, UNSENT) for step in seen if step.rate == least), default=0.0)
    if least is None:
        most = "the sustained rate is unknown: a lower rate was not answered in time and a higher one was; run it again"
        if highest is not None:
            most = f"so the server sustains at least {plain(highest)}/s, the highest rate that was sent"
    elif unsent > LOST_HERE:
        most = f"the sustained rate is unknown: {formatting.share(unsent)} of {plain(least)}/s was not sent, {remedy}"
    elif highest is not None:
        most = f"so the server sustains {plain(highest)}/s and not {plain(least)}/s"
    else:
        most = f"so the server sustains less than {plain(least)}/s"
    answers = [
        Answer(
            f"answered within {deadline}: {rates}; {most} (one step of {load.plan.each:g} s for each rate)",
            {"sustained_rate": highest, "borne_rate": highest}
            | {f"in_time_{step.rate:g}": _share(step.outcomes, "OK") for step in seen},
        )
    ]
    rest: dict[str, int] = {}
    for step in seen:
        for outcome, number in step.outcomes.items():
            if outcome != "OK":
                rest[outcome] = rest.get(outcome, 0) + number
    total = sum(rest.values())
    if total:
        shares = ", ".join(
            f"{formatting.share(n / total)} {o}" for o, n in sorted(rest.items(), key=lambda i: -i[1])
        )
        answers.append(
            Answer(
                f"what was not answered in time: {shares}", {f"rest_{o}": n / total for o, n in rest.items()}
            )
        )
    return answers


def _share(counted: dict[str, int], outcome: str) -> float:
    return counted.get(outcome, 0) / sum(counted.values())
