"""The fewest users that are enough: the ladder on a simulated server with a known throughput."""

from collections.abc import Callable

import numpy as np
import pytest

from bench.analysis.capacity.bracket import bracket, knee
from bench.analysis.capacity.level import Level
from bench.analysis.capacity.users import AGAIN, KNEE, Ladder, UsersLevel
from bench.analysis.showing.capacity_table import levels_table
from bench.analysis.showing.capacity_text import sentences
from bench.analysis.showing.plot import drawn
from bench.analysis.showing.plot_capacity import capacity_pictures
from bench.runs.capacity import Capacity, ConditionCapacity, MeasuredLevel

SECONDS, PARTS = 10.0, 20


def showed(users: int, rate: float, missed: float, rng: np.random.Generator) -> UsersLevel:
    """A level with so many requests per second, of which a share missed the service level."""
    each = SECONDS / PARTS
    answered = rng.normal(rate * each, 0.02 * rate * each, PARTS).round().astype(int)
    misses = rng.poisson(missed * rate * each, PARTS)
    level = Level(rate, SECONDS, tuple(misses.tolist()), int(answered.sum()))
    return UsersLevel(users, level, tuple(answered.tolist()))


def climb(throughput: Callable[[int], float], most: int, *, levels: int = 30) -> Ladder:
    """A search on a server that keeps the service level with so many users at most."""
    rng = np.random.default_rng(1)
    found = Ladder(0.01)
    while len(found.levels) < levels and (users := found.next()) is not None:
        missed = 0.001 if users <= most else 0.2
        found.levels.append(showed(users, throughput(users), missed, rng))
    return found


def saturating(users: int) -> float:
    """Grows by 100/s for each user up to 8, and is flat then."""
    return 100.0 * min(users, 8)


def test_the_knee_of_a_server_that_is_busy_with_eight() -> None:
    done = climb(saturating, 1000)
    found = done.knee
    assert found is not None
    assert (found.users, found.low, found.high) == (8, 8, 8)
    assert found.plateau == pytest.approx(800, rel=0.03)
    assert found.share == KNEE
    assert max(done.known) <= 64  # two doublings that add nothing end the ladder


def test_the_service_level_ends_the_plateau() -> None:
    """12 users keep it: of what these reach, 95 % is reached by 12, were throughput to grow with each."""
    done = climb(lambda users: 100.0 * users, 12)
    found = done.knee
    assert found is not None
    assert found.users == pytest.approx(12, abs=1)
    assert max(users for users, each in done.known.items() if each.within) == pytest.approx(12, abs=1)
    assert found.high is not None


def test_without_the_service_level_there_is_no_knee() -> None:
    done = climb(saturating, 0)
    assert done.knee is None
    assert sorted(done.known) == [1]
    assert done.decided


@pytest.mark.parametrize("paused", [1, 4, 8])
def test_one_pause_does_not_end_the_ladder(paused: int) -> None:
    """In their first level the users miss the service level in one half of a second, and nowhere else."""
    rng = np.random.default_rng(1)
    found = Ladder(0.01)
    while len(found.levels) < 30 and (users := found.next()) is not None:
        first = users == paused and users not in found.known
        each = showed(users, saturating(users), 0.0, rng)
        if first:
            missed = (0, 0, each.level.requests // 50, *[0] * (PARTS - 3))  # 2 %
            each = each._replace(level=each.level._replace(misses=missed))
        found.levels.append(each)
    known = found.known
    assert all(each.within for each in known.values())
    assert known[paused].levels >= 2
    assert found.knee is not None
    assert (found.knee.users, found.knee.high) == (8, 8)


def test_what_misses_the_service_level_again_is_believed() -> None:
    """A pause in each level: doubtful by itself, and counted after so many."""
    rng = np.random.default_rng(1)
    found = Ladder(0.01)
    while len(found.levels) < 30 and (users := found.next()) is not None:
        each = showed(users, saturating(users), 0.0, rng)
        missed = (each.level.requests // 50, *[0] * (PARTS - 1))
        found.levels.append(each._replace(level=each.level._replace(misses=missed)))
    assert found.knee is None
    assert 2 <= len(found.levels) <= AGAIN
    assert found.decided


def test_so_far_is_not_enough() -> None:
    short = climb(saturating, 1000, levels=2)
    found = short.knee
    assert found is not None
    assert found.high is None
    assert short.next() == 4


def test_brackets_and_knees() -> None:
    assert bracket([(100, True), (200, True), (150, False), (300, False)]) == (100, 300)
    assert bracket([(100, False), (200, True), (300, False)]) == (
        None,
        300,
    )  # a pause at the beginning of a ramp
    assert bracket([(100, True), (200, False), (300, True)]) == (100, None)
    assert bracket([(100, False), (200, True)]) == (None, None)
    assert bracket([(100, True)]) == (100, None)
    assert bracket([(100, False)]) == (None, 100)
    assert knee({1: False, 2: None, 4: True, 8: True}) == (1, 4)
    assert knee({1: True, 2: False}) == (None, 1)
    assert knee({1: False, 2: None}) == (1, None)


def concluded(ladder: Ladder, failed: float | None = None) -> Capacity:
    known = ladder.knee
    condition = ConditionCapacity(
        title="mnist at here",
        server="here",
        model="mnist",
        batch=1,
        outcome="found" if known and known.high else "bracket",
        knee=known,
        failed=failed,
        levels=[
            MeasuredLevel(
                rate=each.level.rate,
                users=each.users,
                seconds=SECONDS,
                requests=each.level.requests,
                missed=each.level.missed,
                failed=0,
                percentile=0.01,
                in_system=float(each.users),
                steady=True,
                run="run",
            )
            for each in ladder.levels
        ],
        discarded=[],
    )
    return Capacity(
        service_level="p99 <= 25 ms",
        share=0.99,
        within=0.025,
        confidence=0.95,
        counted="users",
        conditions=[condition],
    )


def test_how_it_is_told_and_drawn() -> None:
    whole = concluded(climb(saturating, 30), failed=32)
    (told,) = sentences(whole)
    assert told.startswith("enough users: 8 (8 to 8, 95%)")
    assert told.endswith("with 32 it is missed")
    table = levels_table(whole.conditions[0], whole)
    assert table is not None
    assert table.columns[0].title == "users"
    assert table.columns[0].texts[0] == "1"
    (picture,) = capacity_pictures(whole, "capacity")
    upper, lower = drawn(picture).axes
    assert lower.get_xlabel() == "users"
    assert len(upper.collections[0].get_offsets()) == len(whole.conditions[0].levels)
    (short,) = sentences(concluded(climb(saturating, 1000, levels=2)))
    assert short.startswith("inconclusive: ")
    (missed,) = sentences(concluded(climb(saturating, 0), failed=1))
    assert missed.startswith("inconclusive: with 1 user p99 <= 25 ms is missed")
