"""The open-loop engines of a load process: one for each user class that does not wait for answers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench.load.engine.arrivals import Arrivals, Lane, Part
from bench.load.engine.recorder import Recorder
from bench.load.options import ScenarioOptions
from bench.load.sources import Source, open_schedules
from bench.schedule import Open, Trace
from bench.wire.client import Channel


def engines(
    user_classes: Iterable[Any],
    options: ScenarioOptions,
    channel: Channel,
    recorders: Mapping[Source, Recorder],
    *,
    part: Part,
    used_up: Callable[[float], object],
) -> dict[str, Arrivals]:
    """By the name of the user class. part: of the arrivals, as for `Arrivals`.

    used_up: called where requests are sent once, with the instant on perf_counter's clock from which on none is left.
    """

    def engine(user: Any, schedule: Open) -> Arrivals:
        kinds = len(schedule.kinds) if isinstance(schedule, Trace) else 1
        sources = [Source(user, kind, user.request_name, options.protocol) for kind in range(kinds)]
        in_order = [recorders[source] for source in sources]
        return Arrivals(
            channel,
            in_order[0].method,
            [Lane(each.messages, each.add, each.add_unsent, each.add_answers) for each in in_order],
            schedule,
            seed=options.seed,
            salt=user.__name__,
            deadline=options.asked.deadline,
            cap=options.max_in_flight,
            part=part,
            used_up=used_up if in_order[0].pool.sending else None,
        )

    return {
        user.__name__: engine(user, schedule)
        for user, schedule in open_schedules(user_classes, options).items()
    }
