"""The search of the fewest users that reach a server's throughput: levels of users that send again as soon as they are answered."""

import math
import time
from collections.abc import Sequence
from typing import Final

import click

from bench import BenchError
from bench.analysis import formatting
from bench.analysis.capacity.level import Level
from bench.analysis.capacity.reading import closed_level, generator_limit, requests_of
from bench.analysis.capacity.search import CONFIDENCE
from bench.analysis.capacity.users import Ladder
from bench.cli.capacity_search import Group, Hunt, service_level
from bench.cli.capacity_wanted import Wanted
from bench.escape import one_line
from bench.experiment.levels import OVERHEAD, Levels
from bench.experiment.trial import Failed
from bench.runs.capacity import Capacity, ConditionCapacity, Outcome
from bench.wording import counted

LEVELS: Final = 14
"""That the time is planned for: doublings, halvings, and the two that are repeated."""
SHORTEST, LONGEST = 2.0, 20.0
"""Seconds of a level."""
IN_A_ROW: Final = 2
"""Levels of the load generator, one after the other, after which it is the limit: more users are no remedy."""


def search(levels: Levels, groups: Sequence[Group], wanted: Wanted, seconds: float) -> None:
    """Measure until all is decided or the time is up. Raises BenchError where nothing can be measured."""
    ends = time.monotonic() + seconds
    hunts = [hunt for group in groups for hunt in group]
    each = min(LONGEST, max(SHORTEST, seconds / len(hunts) / LEVELS - OVERHEAD))
    for hunt in hunts:
        hunt.ladder = Ladder(1 - wanted.share, wanted.max_errors)
    while True:
        open_ones = [hunt for hunt in hunts if hunt.refusal is None and not hunt.ladder.decided]
        if not open_ones:
            return
        for hunt in open_ones:
            if time.monotonic() + each + OVERHEAD > ends and (hunt.measured or hunt.discarded):
                return
            _level(hunt, levels, wanted, each)
            _progress(hunt, ends)


def searched(groups: Sequence[Group], wanted: Wanted) -> Capacity:
    """What is known of all conditions."""
    return Capacity(
        service_level=wanted.text,
        share=wanted.share,
        within=wanted.within,
        max_errors=wanted.max_errors,
        confidence=CONFIDENCE,
        counted="users",
        conditions=[_concluded(hunt) for group in groups for hunt in group],
    )


def _concluded(hunt: Hunt) -> ConditionCapacity:
    known, knee = hunt.ladder.known, hunt.ladder.knee
    within = [users for users, each in known.items() if each.within]
    beyond = {
        users: each for users, each in known.items() if not each.within and users > max(within, default=0)
    }
    # where some keep it, one that misses it perhaps by a pause alone is not said to
    sure = [users for users, each in beyond.items() if not (within and each.doubtful)]
    outcome: Outcome = "nothing" if not known else "bracket"
    if hunt.unanswered is not None:
        outcome = "load generator"
    elif knee is not None and knee.high is not None:
        outcome = "found"
    return hunt.so_far.model_copy(
        update={
            "outcome": outcome,
            "knee": knee,
            "passed": float(max(within)) if within else None,
            "failed": float(min(sure)) if sure else None,
        }
    )


def _level(hunt: Hunt, levels: Levels, wanted: Wanted, seconds: float) -> None:
    users = hunt.ladder.next()
    if users is None:
        return
    try:
        run = levels.closed(hunt.cell, users, math.ceil(seconds))
    except Failed as error:
        raise BenchError(f"{hunt.condition.title}: {error}") from None
    requests = requests_of(run)
    measured = closed_level(requests, users, service_level(wanted))
    if measured is None:
        raise BenchError(
            f"{hunt.condition.title}: {counted(users, 'user')} got no answer within {seconds:g} s; "
            "look at the server with bench status, or give more --time"
        )
    why = generator_limit(run, requests, measured.level, service_level(wanted))
    if why is None:
        hunt.add([measured.level], run, users)
        hunt.ladder.levels.append(measured)
        return
    hunt.discard(counted(users, "user"), why, IN_A_ROW)


def _progress(hunt: Hunt, ends: float) -> None:
    parts = []
    if hunt.in_a_row:
        parts.append(f"left out: {hunt.discarded[-1]}")
    elif hunt.ladder.levels:
        parts.append(_row(hunt.ladder.levels[-1].users, hunt.ladder.levels[-1].level))
    knee = hunt.ladder.knee
    if knee is not None:
        parts.append(f"knee at {knee.users} ({knee.low} to {knee.high or '?'})")
    left = max(0.0, ends - time.monotonic())
    click.echo(one_line(f"{hunt.condition.title}: {'; '.join(parts)}; {left:.0f} s left"), err=True)


def _row(users: int, level: Level) -> str:
    p = formatting.duration(math.inf if level.p is None else level.p)
    return f"{counted(users, 'user')}: {formatting.rate(level.rate)} req/s, percentile {p}, {formatting.share(level.share)} missed"
