"""Schedules: pure values that say when each request is due.

Every open-loop schedule describes the load of one Locust user; with U users the total rate is U times as high
(a trace excepted, which is replayed once and divided among them). All arrivals of a test form one global order,
that depends on the schedule, the seed and the number of users over time only; stream i of n sends arrivals
i, i + n, i + 2n, ... of it. So any division over processes has the same union, to the bit.
"""

from bench.schedule.rates import RateFunction
from bench.schedule.schedules import (
    Burst,
    Closed,
    Constant,
    Open,
    Poisson,
    Ramp,
    Schedule,
    Sine,
    Spike,
    Steps,
    from_dict,
    parse,
)
from bench.schedule.sequence import Sequence, held, message_indices, open_sequence, times
from bench.schedule.trace import Kind, Trace

__all__ = [
    "Burst",
    "Closed",
    "Constant",
    "Kind",
    "Open",
    "Poisson",
    "Ramp",
    "RateFunction",
    "Schedule",
    "Sequence",
    "Sine",
    "Spike",
    "Steps",
    "Trace",
    "from_dict",
    "held",
    "message_indices",
    "open_sequence",
    "parse",
    "times",
]
