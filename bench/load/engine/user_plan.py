"""Users that send a schedule's arrivals: their number, start and process.

Each open-loop user that Locust runs is one stream of its class's schedule: with U users the rate is U times the
schedule's, and user i sends arrivals i, i + U, i + 2U, ... of the one global order. So Locust's spawning, its web
form and its load shapes set the rate, and it does not matter in which process a user lives.

For that, all processes have to change from one number of users to the next at the same arrival. The first process
counts the users of all, and tells the processes beforehand from which instant on how many there are and which of
them are theirs.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import gevent

from bench.load.engine.arrivals import Division
from bench.schedule import Constant, Open, Poisson, Trace
from bench.wording import counted, plain

log = logging.getLogger("bench")

LOOK_SECONDS: Final = 0.1
"""A number of users counts when it has stayed for so long: Locust starts users one by one."""
NOTICE_SECONDS: Final = 0.3
"""Processes are told so long beforehand: they generate arrivals up to 0.12 s ahead, and a message takes its time."""
GRID_SECONDS: Final = 0.5
"""Changes take effect at multiples of this, so that the same spawning gives the same instants in each run."""

Counts = Mapping[str, Mapping[int, int]]
"""User class -> number of process -> its users."""


class Change(NamedTuple):
    """A number of users, and how they are spread over the processes."""

    at: float
    """Seconds since the start of the schedule."""
    users: Mapping[int, int]
    """Number of process -> its users, all above 0."""

    def division(self, process: int) -> Division:
        """The part of one process: users are numbered through in the order of the processes."""
        before = sum(count for number, count in self.users.items() if number < process)
        return Division(self.at, sum(self.users.values()), before, self.users.get(process, 0))


class Plan(NamedTuple):
    """The facts of a class's users that a process has to know; sent as it is between processes."""

    user_class: str
    begin: float
    """When the schedule starts, in seconds of the run."""
    divisions: tuple[Division, ...]
    """All since the start, so that a process that comes late knows what was before."""
    end: float | None
    """Nothing is due from then on, in seconds of the schedule; None: it is not known beforehand."""

    @classmethod
    def of(cls, sent: Mapping[str, Any]) -> "Plan":
        """The plan in a message."""
        divisions = tuple(Division(*division) for division in sent["divisions"])
        return cls(sent["user_class"], sent["begin"], divisions, sent["end"])


class Conductor:
    """Turns what Locust does with users into plans; lives in the first process during one test."""

    def __init__(
        self,
        schedules: Mapping[str, Open],
        origin: float,
        count: Callable[[], Counts],
        tell: Callable[[int, Plan], Any],
        end: Callable[[], float | None] = lambda: None,
    ) -> None:
        """schedules: by user class. origin: of the run, on perf_counter's clock. count: the users that there are now.

        tell: called with the number of each process that has or had users, and its plan, at every change.
        end: when the load is to end, in seconds of the run, once it has begun; None: it is not known.
        """
        self._schedules, self._origin, self._count, self._tell = schedules, origin, count, tell
        self._find_end = end
        self.end: float | None = None
        """When the plans that were sent last end, in seconds of the run; None: it is not known."""
        self._seen: dict[str, dict[int, int]] = {}
        self._begin: dict[str, float] = {}
        self._changes: dict[str, list[Change]] = {}
        self._greenlet = gevent.spawn(self._run)

    def stop(self, at: float) -> float:
        """Make no more plans; gives when the load ended that was stopped `at` a second of the run: by plan, if sooner."""
        self._greenlet.kill()
        return at if self.end is None else min(at, self.end)

    @property
    def begun(self) -> float | None:
        """When the first schedule started, in seconds of the run; None: none has."""
        return min(self._begin.values(), default=None)

    @property
    def has_users(self) -> bool:
        """Whether there are users who follow a schedule, or are about to."""
        return any(any(users.values()) for users in self._count().values())

    def described(self) -> dict[str, Any]:
        """What was planned, for the manifest: by class the start in seconds of the run, and [at, users] from there."""
        return {
            name: {
                "begin": self._begin[name],
                "users": [[change.at, sum(change.users.values())] for change in changes],
            }
            for name, changes in self._changes.items()
        }

    def _run(self) -> None:
        while True:
            gevent.sleep(LOOK_SECONDS)
            for user_class, by_process in self._count().items():
                self._look(user_class, {number: count for number, count in by_process.items() if count})
            if self._begin and self.end != (end := self._find_end()):
                self.end = end
                for user_class in self._changes:
                    self._send(user_class)

    def _look(self, user_class: str, users: dict[int, int]) -> None:
        seen, self._seen[user_class] = self._seen.get(user_class, {}), users
        changes = self._changes.get(user_class, [])
        if users == seen and users != (changes[-1].users if changes else {}):
            self._change(user_class, users)

    def _change(self, user_class: str, users: dict[int, int]) -> None:
        soon = time.perf_counter() - self._origin + NOTICE_SECONDS
        begin = self._begin.setdefault(user_class, soon)
        at = math.ceil((soon - begin) / GRID_SECONDS) * GRID_SECONDS
        self._changes.setdefault(user_class, []).append(Change(at, users))
        self.end = self._find_end()
        self._send(user_class)
        log.info("%s: %s", user_class, _in_words(self._schedules[user_class], sum(users.values())))

    def _send(self, user_class: str) -> None:
        changes, begin = self._changes[user_class], self._begin[user_class]
        # to the microsecond: what begin + seconds - begin leaves in the last digits is an arrival more at a constant rate
        end = None if self.end is None else round(self.end - begin, 6)
        for process in sorted({number for change in changes for number in change.users}):
            divisions = tuple(change.division(process) for change in changes)
            self._tell(process, Plan(user_class, begin, divisions, end))


def _in_words(schedule: Open, users: int) -> str:
    if isinstance(schedule, Trace):
        return f"{schedule}, divided among {counted(users, 'user')}"
    total = f" = {plain(schedule.rate * users)}/s" if isinstance(schedule, Constant | Poisson) else ""
    return f"{counted(users, 'user')} × {schedule}{total}"
