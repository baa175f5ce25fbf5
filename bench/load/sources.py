"""What does each user class send, and when?"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from bench import BenchError
from bench.load.options import Options
from bench.load.rest import with_rest
from bench.payload import Pool
from bench.schedule import Closed, Open, Schedule, Trace, parse


class Source(NamedTuple):
    """One kind of requests, which has its own pool and recorder."""

    user: Any
    """The user class."""
    kind: int
    """Of those that the trace asks for; 0 where there is none."""
    name: str
    """Of the requests in statistics and results."""


def make_pools(user_classes: Iterable[Any], options: Options) -> dict[Source, Pool]:
    """What each user class sends, for each kind of request that a trace asks for.

    Raises BenchError where the data asked for cannot be read, or the schedule does not fit the user classes, or an
    open-loop class has pools by name.
    """
    asking = [user for user in user_classes if hasattr(user, "payload")]
    opened = open_schedules(asking, options)
    if isinstance(options.schedule, Open) and not opened:
        raise BenchError(
            f"--schedule {options.schedule}: this scenario has closed-loop users only; "
            "run one with open-loop users, such as scenarios/mnist_open.py"
        )
    return {
        Source(user, code, name): pool
        for user in asking
        for code, each in enumerate(_for_each_kind(opened.get(user), options))
        for name, pool in _by_name(user, each, alone=user in opened).items()
    }


def refuse_larger(pools: Mapping[Source, Pool], limit: int) -> None:
    """Raise BenchError for requests of more bytes than the server accepts: it would refuse every one of them."""
    for source, pool in pools.items():
        size = max(map(len, pool.messages))
        if size > limit:
            each = size / pool.batch
            raise BenchError(
                f"--batch-size {pool.batch}: a request {source.name} has {size:,} bytes, the embedded server takes "
                f"{limit:,}: at most {int(limit / each):,} examples; or give --host of a server that takes more"
            )


def _by_name(user: Any, options: Options, *, alone: bool) -> Mapping[str, Pool]:
    """The pools of a user class by the names of their requests."""
    payload = user.payload(options)
    if isinstance(payload, Pool):
        payload = {user.request_name: payload}
    elif alone:
        raise BenchError(
            f"{user.__name__}.payload: pools by name; users that do not wait for answers send one kind of "
            "requests, so make a class of each"
        )
    return {name: with_rest(pool) if name in user.over_rest else pool for name, pool in payload.items()}


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
