"""The search of `bench capacity` from probe to answer, on simulated servers and with a clock of its own."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from bench.analysis.capacity import search as capacity
from bench.analysis.capacity.conclusion import Condition, concluded
from bench.analysis.capacity.level import Level
from bench.analysis.capacity.reading import Requests
from bench.analysis.capacity.users import UsersLevel
from bench.analysis.showing.capacity_text import sentences
from bench.cli import capacity_search, capacity_users
from bench.cli.capacity_search import Group, Hunt
from bench.cli.capacity_wanted import Wanted
from bench.experiment.plan import Condition as Cell
from bench.runs.capacity import Capacity
from tests.analysis.queues import MEAN, WITHIN, Floats, latencies

TIME = 180.0
WANTED = Wanted(0.99, WITHIN, "p99 <= 25 ms", 0.03)


class Made(NamedTuple):
    """A level that was made: what it asked for, and its requests in place of a run's."""

    name: str
    version: int | None
    rate: float
    block: int | None
    requests: Requests


class Servers:
    """In place of `bench.experiment.levels.Levels`: versions of a queue, and a clock that goes on with each level."""

    def __init__(self, service: dict[int | None, float]) -> None:
        """service: mean seconds by the version."""
        self.service, self.now, self.made = service, 0.0, list[Made]()

    @property
    def next(self) -> int:
        return len(self.made) + 1

    def closed(self, cell: Cell, users: int, seconds: float) -> Made:
        """One request at a time, in the order in which they came."""
        mean = self.service[cell.version]
        done = np.arange(1, int(seconds / mean)) * mean
        return self._made(cell, 0.0, None, done - users * mean, np.full(len(done), users * mean), seconds)

    def steps(self, cell: Cell, rates: list[float], each: float) -> Made:
        rng = np.random.default_rng(self.next)
        due = np.concatenate(
            [
                at * each + np.sort(rng.uniform(0, each, rng.poisson(rate * each)))
                for at, rate in enumerate(rates)
            ]
        )
        return self._open(cell, 0.0, None, due, each * len(rates))

    def poisson(self, cell: Cell, rate: float, seconds: float, *, block: int | None = None) -> Made:
        rng = np.random.default_rng(self.next if block is None else block)
        return self._open(
            cell, rate, block, np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds))), seconds
        )

    def _open(self, cell: Cell, rate: float, block: int | None, due: Floats, seconds: float) -> Made:
        rng = np.random.default_rng(1000 + self.next)
        return self._made(
            cell, rate, block, due, latencies("M/M/1", due, rng, self.service[cell.version]), seconds
        )

    def _made(
        self, cell: Cell, rate: float, block: int | None, due: Floats, took: Floats, seconds: float
    ) -> Made:
        self.now += seconds + 1.5
        every = np.ones(len(due), dtype=bool)
        requests = Requests(due, took, took, every, every, 0.0, seconds)
        self.made.append(Made(f"run {self.next}", cell.version, rate, block, requests))
        return self.made[-1]


Search = Callable[..., Capacity]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Search:
    """Searches versions of a queue, whose service times are given, within TIME."""

    def run(servers: Servers, *, users: bool = False, seconds: float = TIME) -> Capacity:
        how: Any = capacity_users if users else capacity_search
        for module in (capacity_search, capacity_users):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: servers.now))
            monkeypatch.setattr(module, "requests_of", lambda made: made.requests)
        monkeypatch.setattr(capacity_search, "generator_limit", lambda *_: None, raising=True)
        monkeypatch.setattr(capacity_users, "generator_limit", lambda *_: None)
        group: Group = [
            Hunt(
                Condition(f"Version {version}", "here", "mnist", version, 1),
                Cell("here", "", "mnist", version, 1, ""),
            )
            for version in servers.service
        ]
        how.search(servers, [group], WANTED, seconds)
        found: Capacity = how.searched([group], WANTED)
        return found

    return run


def test_two_versions_get_the_same_arrivals_in_turn(search: Search) -> None:
    servers = Servers({6: MEAN, 7: 1.05 * MEAN})
    found = search(servers)
    assert 0.9 * TIME < servers.now <= TIME
    pairs = [made for made in servers.made if made.block is not None]
    assert len(pairs) >= 8
    by_block: dict[int | None, list[Made]] = {}
    for made in pairs:
        by_block.setdefault(made.block, []).append(made)
    assert {tuple(sorted(made.version or 0 for made in own)) for own in by_block.values()} == {(6, 7)}
    assert all(len({made.rate for made in own}) == 1 for own in by_block.values())
    assert all(np.array_equal(*(made.requests.due for made in own)) for own in by_block.values())
    firsts = [own[0].version for own in by_block.values()]
    assert abs(firsts.count(6) - firsts.count(7)) <= 1
    (ratio,) = found.ratios
    assert (ratio.before, ratio.after, ratio.confidence) == ("Version 6", "Version 7", 0.99)
    assert ratio.high is not None
    assert ratio.low < 0.925 < ratio.high < 1
    assert ratio.basis == "speed"
    assert sentences(found)[-1].startswith("Version 7 sustains 0.9")
    assert [level.arrivals for level in found.conditions[0].levels if level.arrivals] == list(by_block)


@pytest.mark.parametrize("seconds", [60.0, 90.0, 100.0, 170.0, 300.0])
def test_a_search_uses_its_time(search: Search, seconds: float) -> None:
    """4.5 seconds of each were left over: too few for a further level."""
    servers = Servers({None: MEAN})
    search(servers, seconds=seconds)
    assert seconds - 4 < servers.now <= seconds


def test_a_version_that_is_far_from_the_first_has_rates_of_its_own(search: Search) -> None:
    servers = Servers({6: MEAN, 7: 0.5 * MEAN})  # sustains 815.8 instead of 315.8
    found = search(servers, seconds=400)
    assert {made.version for made in servers.made if made.rate > 500} == {7}
    (ratio,) = found.ratios
    assert ratio.low > 1.5
    assert ratio.basis == "separate"


def test_of_three_each_is_compared_with_the_first(search: Search) -> None:
    found = search(Servers({1: MEAN, 2: MEAN, 3: 1.3 * MEAN}))
    assert [(each.before, each.after) for each in found.ratios] == [
        ("Version 1", "Version 2"),
        ("Version 1", "Version 3"),
    ]
    assert {each.confidence for each in found.ratios} == {0.995}
    same, slower = found.ratios
    assert same.high is not None
    assert slower.high is not None
    assert same.low <= 1 <= same.high
    assert slower.high < 1


def test_what_is_known_when_it_is_interrupted(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = Servers({None: MEAN})
    group = [Hunt(Condition("mnist", "here", "mnist", None, 1), Cell("here", "", "mnist", None, 1, ""))]

    def interrupted(*_: Any, **__: Any) -> Made:
        raise KeyboardInterrupt

    monkeypatch.setattr(servers, "poisson", interrupted)
    search(Servers({None: MEAN}))  # for what it patches
    monkeypatch.setattr(capacity_search, "time", SimpleNamespace(monotonic=lambda: servers.now))
    with pytest.raises(KeyboardInterrupt):
        capacity_search.search(servers, [group], WANTED, TIME)  # type: ignore[arg-type]
    found = capacity_search.searched([group], WANTED)
    (condition,) = found.conditions
    assert condition.outcome == "bracket"
    assert condition.passed is not None
    assert condition.failed is not None
    assert condition.passed < 400 < 2 * condition.failed
    assert sentences(found)[0].startswith("inconclusive: sustains between ")


def test_what_is_beyond_a_range_of_rates_is_above_its_end() -> None:
    """Two pauses between rates that passed: a queue there is that of a pause."""
    measured = {
        70.0: (0, 1.0),
        104.0: (0, 1.0),
        139.0: (45, 34.0),
        146.0: (45, 34.0),
        174.0: (0, 1.0),
        190.0: (20, 10.0),
    }
    levels = [
        Level(rate, 1.5, (missed,) * 20, 4000, latency=0.01 * under_way, in_system=under_way)
        for rate, (missed, under_way) in measured.items()
    ]
    search = capacity.Search(0.01, 0.03, 10.0, 500.0, levels=levels)
    found = concluded(Condition("mnist", "here", "mnist", None, 1), search, [], [], None)
    assert (found.outcome, found.passed, found.failed) == ("bracket", 104.0, 190.0)
    assert found.reason == "beyond it requests queue: 10 under way at 190 req/s"


@pytest.mark.parametrize("seconds", [TIME, 14.0])
def test_a_load_generator_that_is_the_limit_ends_it(
    search: Search, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Also where there was no time for more than a ramp, whose levels would be taken for the server's."""
    servers = Servers({6: MEAN, 7: MEAN})
    search(servers)
    monkeypatch.setattr(capacity_search, "generator_limit", lambda *_: ("it has no time left", "use two"))
    again = Servers({6: MEAN, 7: MEAN})
    monkeypatch.setattr(capacity_search, "time", SimpleNamespace(monotonic=lambda: again.now))
    group = [
        Hunt(
            Condition(f"Version {version}", "here", "mnist", version, 1),
            Cell("here", "", "mnist", version, 1, ""),
        )
        for version in (6, 7)
    ]
    capacity_search.search(again, [group], WANTED, seconds)  # type: ignore[arg-type]
    found = capacity_search.searched([group], WANTED)
    assert {each.outcome for each in found.conditions} == {"load generator"}
    assert not found.ratios
    assert len(again.made) < len(servers.made)


@pytest.mark.parametrize(("levels", "said"), [(1, False), (3, True)])
def test_users_that_miss_the_service_level_in_one_pause_are_not_said_to(levels: int, said: bool) -> None:
    """A pause makes 2 % of all requests of 16 users late in one level of three; or there is one in each."""

    def showed(users: int, late: int) -> UsersLevel:
        return UsersLevel(users, Level(400.0, 1.5, (late, *[0] * 19), 600), (30,) * 20)

    hunt = Hunt(Condition("mnist", "here", "mnist", None, 1), Cell("here", "", "mnist", None, 1, ""))
    hunt.ladder.levels += [showed(8, 0), *(showed(16, 24 if number < levels else 0) for number in range(3))]
    (condition,) = capacity_users.searched([[hunt]], WANTED).conditions
    assert condition.passed == 8
    assert condition.failed == (16 if said else None)


def test_users_are_counted_until_they_are_enough(search: Search) -> None:
    """One request at a time, in 2 ms: one user has all of the throughput, and 13 keep p99 <= 25 ms no more."""
    servers = Servers({None: MEAN})
    found = search(servers, users=True)
    (condition,) = found.conditions
    assert found.counted == "users"
    assert condition.outcome == "found"
    assert condition.knee is not None
    assert (condition.knee.users, condition.knee.low, condition.knee.high) == (1, 1, 1)
    assert condition.knee.plateau == pytest.approx(1 / MEAN, rel=0.02)
    assert [level.users for level in condition.levels][:3] == [1, 2, 4]
    assert sentences(found)[0].startswith("enough users: 1 (1 to 1, 95%), who reach 5")
