"""The search of capacities: probe, ramp and levels, until all is decided or the time is up."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import click

from bench import BenchError
from bench.analysis import formatting
from bench.analysis.capacity.conclusion import Condition, Measured, Refusal, concluded, ratio
from bench.analysis.capacity.estimate import halfway
from bench.analysis.capacity.level import Level
from bench.analysis.capacity.reading import (
    SETTLING,
    generator_limit,
    levels_of,
    requests_of,
    throughput,
)
from bench.analysis.capacity.search import CONFIDENCE, RAMP, SHORTEST, Search
from bench.analysis.capacity.search import Wanted as NextLevel
from bench.analysis.capacity.users import Ladder
from bench.analysis.statistics.sample_size import samples_needed
from bench.cli.capacity_wanted import Wanted
from bench.config.service_level import ServiceLevel
from bench.escape import one_line
from bench.experiment.levels import OVERHEAD, Levels
from bench.experiment.plan import Condition as Cell
from bench.experiment.trial import Failed
from bench.runs.capacity import Capacity, ConditionCapacity, Ratio
from bench.runs.run import Run

PROBE_USERS: Final = 32
PROBE_SECONDS: Final = 3.0
STEP_SECONDS: Final = 2.0
"""Of the ramp, each; half as long of conditions that are compared, whose levels find their way together."""
LONGER: Final = 4.0
"""Factor of the time of a second try: a load process that gets no CPU time sends nothing in a second."""
START: Final = 0.05
"""Share of the time that the probe takes at most; a step of the ramp as much."""
LEVELS: Final = 5
"""Around the capacity, that the time is planned for: a level costs seconds beside those that count."""
COMPARED_LEVELS: Final = 4
"""Of each condition, where several are compared: at the same rates with the same arrivals."""
LONGEST: Final = 30.0
"""Seconds of a level of conditions that are compared: the sooner they take turns, the less the machine changes meanwhile."""
IN_A_ROW: Final = 3
"""Levels of the load generator, one after the other, after which it is the limit."""
STRIDE: Final = 1.25
"""Factor by which a level is beyond all before it at most: an estimate from one side may be far off."""
LEAST_ERROR: Final = 0.03
"""Standard error of a capacity's logarithm from which on it counts as much as any."""
APART: Final = 0.25
"""Of the logarithm of a rate: capacities that are farther apart than this are searched with rates of their own."""
BEYOND: Final = 10.0
"""Times the misses of another condition, or the allowed ones, that are too many or, where there are none, too few."""
RATIO_CONFIDENCE: Final = 0.99
"""Of the intervals of all ratios together: a difference that is claimed is to be one."""


@dataclass
class Hunt:
    """The search of one condition, as far as it is."""

    condition: Condition
    cell: Cell
    search: Search | None = None
    measured: list[Measured] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    in_a_row: int = 0
    refusal: Refusal | None = None
    limited: Refusal | None = None
    """Of the last run, if it shows the load generator."""
    ladder: Ladder = field(default_factory=lambda: Ladder(0.0))
    """Of users that wait, where they are counted instead of arrivals."""

    @property
    def over(self) -> bool:
        """Whether further levels are of no use."""
        return self.refusal is not None or (self.search is not None and self.search.decided)

    @property
    def so_far(self) -> ConditionCapacity:
        """What is known."""
        return concluded(self.condition, self.search, self.measured, self.discarded, self.unanswered)

    @property
    def unanswered(self) -> Refusal | None:
        """Why the load generator was the limit of all that could be an answer: a ramp is none."""
        counting = self.measured if self.search is None else self.search.long
        return self.refusal or (None if counting else self.limited)

    def add(self, levels: Sequence[Level], run: Run, users: int | None = None) -> None:
        """Levels that show the server; users: that waited for their answers."""
        if self.search is not None:
            self.search.add(levels)
        self.measured += [Measured(level, run.name, users) for level in levels]
        self.in_a_row, self.limited = 0, None

    def discard(self, level: str, why: tuple[str, str], in_a_row: int = IN_A_ROW) -> None:
        """A level that shows the load generator; after so many, one after the other, it is the limit."""
        self.discarded.append(f"{level}: {why[0]}")
        self.in_a_row, self.limited = self.in_a_row + 1, Refusal(*why)
        if self.in_a_row >= in_a_row:
            self.refusal = self.limited


Group = list[Hunt]
"""Conditions that are compared with the first of them; one alone is compared with none."""


def searched(groups: Sequence[Group], wanted: Wanted) -> Capacity:
    """What is known of all conditions, and of the ratios to the first one of each group."""
    compared = sum(len(group) - 1 for group in groups)
    confidence = 1 - (1 - RATIO_CONFIDENCE) / max(1, compared)
    known = [[hunt.so_far for hunt in group] for group in groups]
    ratios = [
        _ratio(group[0], other, sides[0], side, confidence)
        for group, sides in zip(groups, known, strict=True)
        for other, side in zip(group[1:], sides[1:], strict=True)
    ]
    return Capacity(
        service_level=wanted.text,
        share=wanted.share,
        within=wanted.within,
        max_errors=wanted.max_errors,
        confidence=CONFIDENCE,
        conditions=[each for sides in known for each in sides],
        ratios=[each for each in ratios if each is not None],
    )


def _ratio(
    first: Hunt, other: Hunt, before: ConditionCapacity, after: ConditionCapacity, confidence: float
) -> Ratio | None:
    return ratio(before, after, (first.search, other.search), confidence)


def search(levels: Levels, groups: Sequence[Group], wanted: Wanted, seconds: float) -> None:
    """Measure until all is decided or the time is up. Raises BenchError where nothing can be measured."""
    ends = time.monotonic() + seconds
    hunts = sum(map(len, groups))
    for group in groups:
        first, *others = group
        _region(first, levels, wanted, ends, regions=len(groups), hunts=hunts, compared=bool(others))
        for hunt in others:
            hunt.search, hunt.limited = alike(first), first.limited
    turn = 0
    while not all(map(_over, groups)):
        for group in groups:
            if not _over(group) and not _turn(group, levels, wanted, ends, turn):
                return
        turn += 1


def _over(group: Group) -> bool:
    """Whether all capacities are decided, or all ratios are."""
    if all(hunt.over for hunt in group):
        return True
    first, *others = group
    if not others or first.search is None:
        return False
    known = [_ratio(first, other, first.so_far, other.so_far, RATIO_CONFIDENCE) for other in others]
    return all(each is not None and _half(each) <= first.search.precision for each in known)


def _half(ratio: Ratio) -> float:
    return math.inf if ratio.high is None else (ratio.high - ratio.low) / 2 / ratio.value


def alike(first: Hunt) -> Search | None:
    """The search of a condition that the first one's ramp is expected to hold for."""
    ramped = first.search
    if ramped is None:
        return None
    return Search(
        ramped.allowed,
        ramped.precision,
        ramped.each,
        ramped.saturated,
        max_errors=ramped.max_errors,
        beside=list(ramped.levels),
    )


def _turn(group: Group, levels: Levels, wanted: Wanted, ends: float, turn: int) -> bool:
    """A level of each condition, at one rate where all are near it; False: the time is up."""
    active = [hunt for hunt in group if hunt.refusal is None]
    shared = common(active, turn) if len(active) > 1 else None
    if shared is not None:
        shared = _filling(shared, len(active), wanted, ends - time.monotonic())
    block = levels.next
    # each is first as often as the others, at either side of the capacity
    for hunt in active if turn % 4 in (0, 3) else active[::-1]:
        coming = shared or (None if hunt.search is None else hunt.search.next())
        if coming is None:
            continue
        if len(active) == 1:
            coming = _filling(coming, 1, wanted, ends - time.monotonic())
        if time.monotonic() + _seconds(coming, wanted) + OVERHEAD > ends:
            return False
        _level(hunt, levels, coming, wanted, block if shared else None)
        _progress(hunt, ends)
    for hunt in active[1:]:
        if shared is not None and _strays(hunt, active[0]):
            before = [] if hunt.search is None else hunt.search.levels
            _region(hunt, levels, wanted, ends, regions=len(group), hunts=len(group), compared=True)
            if hunt.search is not None:
                hunt.search.add(before)
    return True


def _filling(coming: NextLevel, conditions: int, wanted: Wanted, left: float) -> NextLevel:
    """The level as long as it can be for the turns that are left to be as many: a rest of the time is of no use."""
    single = _seconds(coming, wanted) + OVERHEAD
    turns = math.floor(left / (conditions * single))
    if turns < 1:
        return coming
    seconds = math.floor(left / (conditions * turns) - OVERHEAD) - SETTLING - wanted.within
    longest = LONGEST if conditions > 1 else math.inf
    return coming._replace(seconds=max(coming.seconds, min(seconds, longest)))


def common(active: Sequence[Hunt], turn: int) -> NextLevel | None:
    """The level that all have next; None: they are too far apart."""
    searches = [hunt.search for hunt in active if hunt.search is not None]
    known = [estimate for search in searches if (estimate := search.estimate) is not None]
    if not known:
        return searches[0].next() if searches else None
    rates = [math.log(each.rate) for each in known]
    disjoint = max(each.low for each in known) > min(each.high for each in known)
    # one with a ramp of its own and no interval yet is near the middle of its bracket
    regions = [
        math.log(halfway(each.levels, each.allowed))
        for each in searches
        if not each.beside
        and (each.estimate is None or (each is not searches[0] and not math.isfinite(each.estimate.high)))
    ]
    if (disjoint or regions) and max(rates + regions) - min(rates + regions) > APART:
        return None
    # one that is hardly known yet says little of where both are
    weights = [1 / max(each.error, LEAST_ERROR) ** 2 for each in known]
    middle = sum(weight * rate for weight, rate in zip(weights, rates, strict=True)) / sum(weights)
    slope = sum(each.slope for each in searches) / len(searches)
    rate = math.exp(middle + searches[0].side(slope) * (-1 if turn % 2 else 1))
    seen = [level.rate for search in searches for level in search.long]
    return NextLevel(min(max(rate, min(seen) / STRIDE), STRIDE * max(seen)), searches[0].each)


def _strays(hunt: Hunt, first: Hunt) -> bool:
    """Whether a level at the first condition's capacity shows that another one's is far from it, with a region of its own."""
    level, other = (
        each.search.levels[-1] if each.search and each.search.levels else None for each in (hunt, first)
    )
    if level is None or other is None or hunt.search is None or not hunt.search.beside:
        return False
    many = level.share > BEYOND * max(hunt.search.allowed, other.share)
    return many or (not level.missed and other.missed >= BEYOND)


def _region(
    hunt: Hunt, levels: Levels, wanted: Wanted, ends: float, *, regions: int, hunts: int, compared: bool
) -> None:
    """The saturated throughput, and a ramp up to it. regions, hunts: so many are to be measured in the time that is left."""
    time_of_it = (ends - time.monotonic()) / hunts
    probe, step = (
        max(least, min(usual, START * time_of_it))
        for least, usual in ((1.0, PROBE_SECONDS), (0.5, STEP_SECONDS / 2 if compared else STEP_SECONDS))
    )
    rate = 0.0
    for seconds in (probe, LONGER * probe):
        saturated = _measured(partial(_probe, hunt, levels, seconds), hunt)
        rate = throughput(requests_of(saturated))
        if rate > 0:
            break
    else:
        raise BenchError(
            f"{hunt.condition.title}: {PROBE_USERS} users got no answer within {LONGER * probe:g} s; "
            "look at the server with bench status, or give a longer --deadline"
        )
    left = (ends - time.monotonic()) / hunts - (step * len(RAMP) + OVERHEAD) * regions / hunts
    each = left / (COMPARED_LEVELS if compared else LEVELS) - OVERHEAD - SETTLING - wanted.within
    if compared:
        each = min(each, LONGEST)
    needed = 1.1 * samples_needed(100 * wanted.share) / (0.6 * rate)
    each = max(SHORTEST, each, needed)
    hunt.search = Search(1 - wanted.share, wanted.precision, each, rate, max_errors=wanted.max_errors)
    click.echo(
        one_line(
            f"{hunt.condition.title}: maximum throughput {formatting.rate(rate)} req/s ({PROBE_USERS} users)"
        ),
        err=True,
    )
    ramp = hunt.search.ramp
    run = _measured(lambda _: levels.steps(hunt.cell, ramp, step), hunt)
    requests = requests_of(run)
    ramped = levels_of(requests, ramp, step, service_level(wanted))
    hunt.add(ramped, run)
    limits = (generator_limit(run, requests, level, service_level(wanted)) for level in ramped)
    why = next((each for each in limits if each is not None), None)
    hunt.limited = None if why is None else Refusal(*why)
    _progress(hunt, ends)


def _probe(hunt: Hunt, levels: Levels, seconds: float, factor: float) -> Run:
    return levels.closed(hunt.cell, PROBE_USERS, factor * seconds)


def _level(hunt: Hunt, levels: Levels, coming: NextLevel, wanted: Wanted, block: int | None) -> None:
    seconds = math.ceil(_seconds(coming, wanted))
    run = _measured(lambda _: levels.poisson(hunt.cell, coming.rate, seconds, block=block), hunt)
    requests = requests_of(run)
    (level,) = levels_of(requests, [coming.rate], seconds, service_level(wanted), block) or [
        Level(coming.rate, seconds, (0,), 0)
    ]
    why = generator_limit(run, requests, level, service_level(wanted))
    if why is None:
        hunt.add([level], run)
    else:
        hunt.discard(f"{formatting.rate(level.rate)} req/s", why)


def service_level(wanted: Wanted) -> ServiceLevel:
    """What is wanted, as levels are read by it."""
    return ServiceLevel(wanted.within, wanted.share, wanted.text)


def _seconds(coming: NextLevel, wanted: Wanted) -> float:
    """Of load: what counts, what comes before it, and what answers are awaited for."""
    return SETTLING + coming.seconds + wanted.within


def _measured(measure: Callable[[float], Run], hunt: Hunt) -> Run:
    """measure: is given the factor of its time; what fails is measured once more, for longer. Raises BenchError."""
    for factor in (1.0, LONGER):
        try:
            return measure(factor)
        except Failed as error:
            why = str(error)
    raise BenchError(f"{hunt.condition.title}: {why}")


def _progress(hunt: Hunt, ends: float) -> None:
    """What the last level showed, and what is known so far."""
    parts = []
    if hunt.in_a_row:
        parts.append(f"left out: {hunt.discarded[-1]}")
    elif hunt.measured:
        level = hunt.measured[-1].level
        p = formatting.duration(math.inf if level.p is None else level.p)
        parts.append(
            f"{formatting.rate(level.rate)} req/s: percentile {p}, {formatting.share(level.share)} missed"
        )
    if hunt.search is not None:
        known, (low, high) = hunt.search.estimate, hunt.search.bracket
        if known is not None and math.isfinite(known.high):
            ends_of = f"{formatting.rate(known.low)} to {formatting.rate(known.high)}"
            parts.append(f"capacity {formatting.rate(known.rate)} ({ends_of})")
        else:
            sides = [formatting.rate(side) if side is not None else "?" for side in (low, high)]
            parts.append(f"between {sides[0]} and {sides[1]} req/s")
    left = max(0.0, ends - time.monotonic())
    click.echo(one_line(f"{hunt.condition.title}: {'; '.join(parts)}; {left:.0f} s left"), err=True)
