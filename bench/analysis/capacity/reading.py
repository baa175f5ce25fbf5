"""Levels from run folders, and whether the load generator was the limit of one."""

import math
from typing import Final, NamedTuple

import numpy as np

from bench.analysis.capacity.level import Bools, Floats, Level, level_of
from bench.analysis.capacity.users import UsersLevel
from bench.analysis.reading import load_generator
from bench.config.service_level import ServiceLevel
from bench.runs.run import Run

SETTLING: Final = 1.0
"""Seconds at the beginning of a level that do not count: the queue fills, connections are new."""
PARTS_PER_SECOND: Final = 2
LEAST_PARTS: Final = 4
GENERATOR: Final = ("client saturated", "client held up", "near the ceiling", "stolen time")
"""Warnings of a run by which what was measured is the load generator."""
LATE: Final = 0.2
"""Share of the misses that may be the load generator's: that many would be none from the instant of sending on."""
FEWEST_LATE: Final = 5
SHORT_OF: Final = 6.0
"""Standard deviations by which fewer requests than planned are no chance."""


class Requests(NamedTuple):
    """The requests of a run, in the order in which they were due."""

    due: Floats
    latency: Floats
    """Seconds; inf without an answer."""
    service: Floats
    """From the instant of sending."""
    right: Bools
    sent: Bools
    begin: float
    """The instant at which the schedule began."""
    end: float
    """The instant at which the load ended."""


def requests_of(run: Run) -> Requests:
    """Raises BenchError where the run's requests cannot be read."""
    table = run.samples
    due, sent, done = (table[name].to_numpy(np.float64) for name in ("due", "sent", "done"))
    ok = (table["status"].fillna(-1).to_numpy(np.int64) == 0) & (table["mismatched"].to_numpy() == 0)
    latency, service = (np.where(np.isfinite(done), done - since, np.inf) for since in (due, sent))
    begun = [arrivals.begin for arrivals in run.manifest.arrivals.values()]
    ends = [end for end in (run.manifest.stopped, run.manifest.span.last_due) if end is not None]
    return Requests(
        due,
        latency,
        service,
        ok,
        np.isfinite(sent),
        max(begun, default=0.0),
        float(min(ends, default=-math.inf)),
    )


def levels_of(
    requests: Requests, rates: list[float], each: float, wanted: ServiceLevel, arrivals: int | None = None
) -> list[Level]:
    """The levels of a run at one rate after the other, each for so many seconds; those that it did not reach are left out.

    The last one ends early enough for its answers to be in time. arrivals: the number of those that other runs have too.
    """
    levels = []
    settling = min(SETTLING, each / 4)
    last = requests.end - wanted.within
    for number, rate in enumerate(rates):
        begin = requests.begin + number * each + settling
        end = min(requests.begin + (number + 1) * each, last)
        if end - begin >= (each - settling) / 2:
            parts = int((end - begin) * PARTS_PER_SECOND)
            if parts >= LEAST_PARTS:
                end = begin + parts / PARTS_PER_SECOND  # whole ones: those of two runs lie side by side
            levels.append(
                level_of(
                    requests.due,
                    requests.latency,
                    requests.right,
                    sent=requests.sent,
                    rate=rate,
                    begin=begin,
                    end=end,
                    within=wanted.within,
                    allowed=wanted.allowed,
                    parts=max(LEAST_PARTS, parts),
                    arrivals=arrivals,
                )
            )
    return levels


def closed_level(requests: Requests, users: int, wanted: ServiceLevel) -> UsersLevel | None:
    """What users showed that send again as soon as they are answered; None where too little was answered."""
    first = float(requests.due.min(initial=math.inf))
    begin = first + min(SETTLING, (requests.end - first) / 4)
    parts = int((requests.end - begin) * PARTS_PER_SECOND) if begin < requests.end else 0
    if not parts:
        return None
    end = begin + parts / PARTS_PER_SECOND
    done = (requests.due + requests.latency)[requests.right]
    answered = np.histogram(done, np.linspace(begin, end, parts + 1))[0]
    # requests that are under way at the end were cancelled: they missed nothing, and are no errors
    due_in_time = requests.due < end - wanted.within
    level = level_of(
        requests.due[due_in_time],
        requests.latency[due_in_time],
        requests.right[due_in_time],
        sent=requests.sent[due_in_time],
        rate=float(answered.sum()) / (end - begin),
        begin=begin,
        end=end,
        within=wanted.within,
        allowed=wanted.allowed,
        parts=parts,
    )
    if not level.requests or not answered.sum():
        return None
    return UsersLevel(users, level, tuple(answered.tolist()))


def throughput(requests: Requests) -> float:
    """Requests per second answered OK, after the settling."""
    done, first, end = requests.due + requests.latency, requests.due.min(initial=requests.end), requests.end
    begin = float(first + min(SETTLING / 2, (end - first) / 4))
    return float(((done >= begin) & (done < end) & requests.right).sum() / max(end - begin, 1e-9))


def generator_limit(
    run: Run, requests: Requests, level: Level, wanted: ServiceLevel
) -> tuple[str, str] | None:
    """Why a level shows what the load generator can do, and what to do about it; None: it shows the server.

    What the generator does late is part of the latency, and harmless where it decides nothing.
    """
    for check in load_generator.CHECKS:
        for warning in check(run):
            if warning.check in GENERATOR:
                return warning.reason, warning.remedy
    planned = level.rate * level.seconds
    if level.requests < planned - SHORT_OF * math.sqrt(planned) - 1:
        reason = f"{level.requests:,} requests were due where {planned:,.0f} were planned"
        return reason, load_generator.MORE_PROCESSES
    inside = requests.right & (requests.due >= requests.begin)
    late = int((inside & (requests.latency > wanted.within) & (requests.service <= wanted.within)).sum())
    missed = int((inside & (requests.latency > wanted.within)).sum())
    if late >= FEWEST_LATE and late > LATE * missed:
        reason = f"{late:,} of {missed:,} late answers were late because the requests were sent late"
        return reason, load_generator.MORE_PROCESSES
    return None
