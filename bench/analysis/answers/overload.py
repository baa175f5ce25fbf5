"""Share of the requests answered in time at each step of the rate, and what became of the rest."""

from itertools import takewhile
from typing import Final

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, untold
from bench.analysis.reading.client import waits_of
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT

WHAT: Final = "the sustained rate"
IN_TIME: Final = 0.99
"""A rate is sustained when at least this share is answered within the deadline."""
LOST_HERE: Final = 0.01
"""Share of a step that the load processes may fail to send: beyond it the step says nothing about the server."""


def answer(run: Run) -> list[Answer]:
    """Each step of the schedule: what was offered, what was answered, what became of the rest."""
    load = run.manifest.load
    each, steps = load.plan.each, load.plan.steps
    begun = [arrivals.begin for arrivals in run.manifest.arrivals.values()]
    if load.plan.kind != "steps" or not begun or each is None or not steps or load.deadline is None:
        return [untold(WHAT, "the manifest has no steps of the rate, no start of the load or no deadline")]
    outcomes: list[dict[str, int]] = [{} for _ in steps]
    for (key, second), tally in run.within(*run.seconds).tallies.items():
        number = int((second + 0.5 - begun[0]) // each)
        if key.outcome == CANCELLED_BY_CLIENT:  # whether it would have been answered in time is not known
            continue
        # seconds that belong to two steps belong to neither
        if 0 <= number < len(steps) and (second - begun[0]) // each == (second + 0.999 - begun[0]) // each:
            outcomes[number][key.outcome] = outcomes[number].get(key.outcome, 0) + tally.requests
    users = load.users or 1
    seen = [(rate * users, counted) for rate, counted in zip(steps, outcomes, strict=True) if counted]
    if not seen:
        return [untold(WHAT, "no step lasted for a whole second")]
    climbing = sorted(seen, key=lambda step: step[0])
    sustained = [rate for rate, _ in takewhile(lambda step: _share(step[1], "OK") >= IN_TIME, climbing)]
    deadline = formatting.duration(load.deadline)
    rates = ", ".join(
        f"{formatting.share(_share(counts, 'OK'))} of {sum(counts.values()):,} at {rate:g}/s"
        for rate, counts in seen
    )
    remedy = next((each for _, each in waits_of(run)), "use more load processes (--processes)")
    ended = climbing[len(sustained)] if len(sustained) < len(climbing) else None
    if ended is None:
        most = f"so the server sustains at least {climbing[-1][0]:g}/s, the highest rate that was sent"
    elif _share(ended[1], UNSENT) > LOST_HERE:
        most = (
            f"the sustained rate is unknown: {formatting.share(_share(ended[1], UNSENT))} of {ended[0]:g}/s "
            f"was not sent, {remedy}"
        )
    elif sustained:
        most = f"so the server sustains {sustained[-1]:g}/s and not {ended[0]:g}/s"
    else:
        most = f"so the server sustains less than {ended[0]:g}/s"
    highest = sustained[-1] if sustained else None
    found = [
        Answer(
            f"answered within {deadline}: {rates}; {most} (one step of {each:g} s for each rate)",
            {"sustained_rate": highest, "borne_rate": highest}
            | {f"in_time_{rate:g}": _share(counted, "OK") for rate, counted in seen},
        )
    ]
    rest: dict[str, int] = {}
    for _, counted in seen:
        for outcome, number in counted.items():
            if outcome != "OK":
                rest[outcome] = rest.get(outcome, 0) + number
    total = sum(rest.values())
    if total:
        told = ", ".join(
            f"{formatting.share(n / total)} {o}" for o, n in sorted(rest.items(), key=lambda i: -i[1])
        )
        found.append(
            Answer(
                f"what was not answered in time: {told}", {f"rest_{o}": n / total for o, n in rest.items()}
            )
        )
    return found


def _share(counted: dict[str, int], outcome: str) -> float:
    return counted.get(outcome, 0) / sum(counted.values())
