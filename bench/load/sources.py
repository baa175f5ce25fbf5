"""What does each user class send, and when?"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from bench import BenchError
from bench.load.options import Options
from bench.payload import Pool
from bench.schedule import Closed, Open, Schedule, Trace, parse


class Source(NamedTuple):
    """One kind of requests, which has its own pool and recorder."""

    user: Any
    """The user class."""
    kind: int
    """Of those that the trace asks for; 0 where there is none."""


def make_pools(user_classes: Iterable[Any], options: Options) -> dict[Source, Pool]:
    """What each user class sends, for each kind of request that a trace asks for.

    Raises BenchError where the data asked for cannot be read, or the schedule does not fit the user classes.
    """
    asking = [user for user in user_classes if hasattr(user, "payload")]
    opened = open_schedules(asking, options)
    if isinstance(options.schedule, Open) and not opened:
        raise BenchError(
            f"--schedule {options.schedule}: this scenario has closed-loop users only; "
            "run one with open-loop users, such as scenarios/mnist_open.py"
        )
    return {
        Source(user, code): user.payload(each)
        for user in asking
        for code, each in enumerate(_for_each_kind(opened.get(user), options))
    }


def open_schedules(user_classes: Iterable[Any], options: Options) -> dict[Any, Open]:
    """The schedules of the user classes that do not wait for answers: the option's, else their own.

    Raises BenchError for a closed loop asked of one of them, or a class whose own schedule is none.
    """
    found = {}
    for user in user_classes:
        own = getattr(user, "schedule", None)
        if own is None:
            continue
        schedule: Schedule = options.schedule or (parse(own) if isinstance(own, str) else own)
        if isinstance(schedule, Closed):
            raise BenchError(
                f"--schedule {schedule}: {user.__name__} sends without waiting for answers; "
                "run a scenario with closed-loop users, such as scenarios/mnist.py"
            )
        found[user] = schedule
    return found


def _for_each_kind(schedule: Open | None, options: Options) -> Iterator[Options]:
    """The options with what each kind of a trace's rows asks for; as they are where there is no trace."""
    if not isinstance(schedule, Trace):
        yield options
        return
    for kind in schedule.kinds:
        said = {name: value for name, value in kind._asdict().items() if value is not None}
        asked = replace(options.asked, **said)
        yield replace(options, asked=replace(asked, label=None) if "version" in said else asked)
