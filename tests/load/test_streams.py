"""bench.load.engine.user_plan: users that come and go become plans that all processes can follow."""

import time
from collections.abc import Callable, Iterator

import gevent
import pytest

from bench.load.engine.arrivals import Division
from bench.load.engine.user_plan import GRID_SECONDS, NOTICE_SECONDS, Change, Conductor, Plan
from bench.schedule import Poisson


def test_users_are_numbered_through_in_the_order_of_the_processes() -> None:
    change = Change(2.5, {3: 1, 0: 2, 1: 4})
    assert change.division(0) == Division(2.5, 7, 0, 2)
    assert change.division(1) == Division(2.5, 7, 2, 4)
    assert change.division(2) == Division(2.5, 7, 6, 0)
    assert change.division(3) == Division(2.5, 7, 6, 1)


class Crew:
    """The users of some processes, and what the processes were told."""

    def __init__(self) -> None:
        self.users: dict[str, dict[int, int]] = {"Digits": {}}
        self.told: list[tuple[float, int, Plan]] = []
        self.origin = time.perf_counter() - 5.0
        self.end: float | None = None
        schedules = {"Digits": Poisson(10)}
        self.conductor = Conductor(schedules, self.origin, lambda: self.users, self._tell, lambda: self.end)

    def _tell(self, process: int, plan: Plan) -> None:
        self.told.append((time.perf_counter() - self.origin, process, plan))

    def wait(self, reached: Callable[[], bool]) -> None:
        with gevent.Timeout(60):
            while not reached():
                gevent.sleep(0.01)


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.conductor.stop(0.0)


def test_the_first_users_start_the_schedule_together(crew: Crew) -> None:
    crew.users["Digits"] = {0: 2, 1: 1, 2: 0}
    crew.wait(lambda: len(crew.told) == 2)
    (told, _, plan), (_, _, other) = crew.told
    assert plan == Plan("Digits", plan.begin, (Division(0.0, 3, 0, 2),), None)
    assert other == Plan("Digits", plan.begin, (Division(0.0, 3, 2, 1),), None)
    assert plan.begin >= told + NOTICE_SECONDS - 0.05
    assert crew.conductor.described() == {"Digits": {"begin": plan.begin, "users": [[0.0, 3]]}}


def test_later_changes_come_with_notice_on_the_grid_and_with_all_that_was_before(crew: Crew) -> None:
    crew.users["Digits"] = {0: 1}
    crew.wait(lambda: len(crew.told) == 1)
    crew.users["Digits"] = {0: 1, 1: 1}
    crew.wait(lambda: len(crew.told) == 3)
    crew.users["Digits"] = {0: 0, 1: 0}
    crew.wait(lambda: len(crew.told) == 5)
    begin = crew.told[0][2].begin
    for told, process, plan in crew.told[1:]:
        assert plan.begin == begin
        assert plan.divisions[-1].at % GRID_SECONDS == 0
        assert plan.divisions[-1].at + begin >= told + NOTICE_SECONDS - 0.05
        assert plan.divisions[0] == Division(0.0, 1, process, 1 - process)
    last = {process: plan.divisions for _, process, plan in crew.told[-2:]}
    assert last[0][1:] == (Division(last[0][1].at, 2, 0, 1), Division(last[0][2].at, 0, 0, 0))
    assert last[1][1:] == (Division(last[0][1].at, 2, 1, 1), Division(last[0][2].at, 0, 0, 0))


def test_plans_have_their_end_and_follow_it(crew: Crew) -> None:
    assert not crew.conductor.has_users
    crew.users["Digits"] = {0: 0}
    assert not crew.conductor.has_users
    crew.end = 60.1 + 0.2  # which is not 60.3
    crew.users["Digits"] = {0: 1, 1: 1}
    crew.wait(lambda: len(crew.told) == 2)
    assert crew.conductor.has_users
    assert crew.conductor.begun == crew.told[0][2].begin
    crew.end = None  # somebody has changed the load, which goes on
    crew.wait(lambda: len(crew.told) == 4)
    assert crew.conductor.stop(60.7) == 60.7
    begin = crew.told[0][2].begin
    assert [plan.end for _, _, plan in crew.told] == [round(60.3 - begin, 6)] * 2 + [None] * 2
    assert len({plan.divisions for _, process, plan in crew.told if process == 0}) == 1
    crew.conductor.end = 60.3
    assert (crew.conductor.stop(60.7), crew.conductor.stop(8.0)) == (60.3, 8.0)


def test_numbers_that_do_not_stay_are_not_heeded(crew: Crew) -> None:
    end = time.perf_counter() + 0.8
    count = 0
    while time.perf_counter() < end:
        count += 1
        crew.users["Digits"] = {0: count}
        gevent.sleep(0.02)
    assert crew.told == []
    crew.wait(lambda: len(crew.told) == 1)
    assert crew.told[0][2].divisions == (Division(0.0, count, 0, count),)


def test_plans_survive_the_way_between_processes() -> None:
    plan = Plan("Digits", 1.25, (Division(0.0, 3, 0, 2), Division(0.5, 4, 0, 3)), 12.5)
    sent = plan._asdict()
    as_msgpack_gives_it = {**sent, "divisions": [list(division) for division in sent["divisions"]]}
    assert Plan.of(as_msgpack_gives_it) == plan
