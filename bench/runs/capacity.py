"""The capacity that was searched, beside the runs of its levels.

capacity.json         what was wanted, each condition's levels, its capacity and what limits it
"""

import math
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field

from bench.runs.jsonl import json_text
from bench.runs.manifest import Amount, Count, Name, Part, Text
from bench.runs.misfit import read_checked

CAPACITY: Final = "capacity.json"
SCHEMA: Final = 1
WIDEST: Final = 2.0
"""Ends of an interval that are farther apart than by this factor, with 1 between them, are no answer."""
Limiting = Literal["errors", "requests in flight", "queue", "service level"]
Basis = Literal["speed", "misses", "separate"]
"""What a ratio rests on: all latencies, which are those of one condition at another speed; the misses alone, at equal
arrivals; two capacities that were found by themselves."""
Counted = Literal["req/s", "users"]
Outcome = Literal["found", "bracket", "load generator", "nothing"]


class MeasuredLevel(Part):
    """The results of one rate, or of one number of users."""

    rate: Amount
    """Requests per second: those offered, of users those answered rightly."""
    users: Count | None = None
    """Users that send again as soon as they are answered; None: arrivals at random."""
    arrivals: Count | None = None
    """Levels of equal number had the same arrivals, in several conditions."""
    seconds: Amount
    requests: Count
    missed: Count
    """Requests that were not answered rightly in time."""
    failed: Count
    """Of these, refused or answered with an error."""
    percentile: Amount | None = None
    """The percentile of the service level in seconds; None: it falls among requests without an answer."""
    in_system: Amount
    """Mean number of requests under way."""
    steady: bool
    """False: the queue grew, or Little's law does not hold."""
    run: Name
    """The run folder."""


class Interval(Part):
    """An estimate with its interval."""

    value: Amount
    low: Amount
    high: Amount | None = None
    """None: open."""
    error: Amount
    """Standard error of the logarithm."""
    freedom: Amount
    """Degrees of freedom of the error."""


class Ratio(Interval):
    """The ratio of the loads that two conditions sustain."""

    before: Name
    """The title of the condition that it is compared with."""
    after: Name
    confidence: Annotated[float, Field(gt=0, lt=1)]
    basis: Basis
    misses: Amount | None = None
    """The ratio by late and failed requests alone, which supposes nothing; None: not known."""

    @property
    def different(self) -> bool:
        """Whether one sustains more than the other for sure."""
        return not self.low <= 1 <= (math.inf if self.high is None else self.high)

    @property
    def known(self) -> bool:
        """Whether it is an answer: that they differ, or that they do not differ by much."""
        return self.different or (self.high is not None and self.high <= WIDEST * self.low)


class Knee(Part):
    """The fewest users that reach most of what any number of users within the service level does."""

    users: Count
    low: Count
    """Ends of the interval; the lower one is the fewest users of which it is not sure that they do not reach it."""
    high: Count | None = None
    """None: more than were measured."""
    throughput: Amount
    """Requests per second answered rightly with so many users."""
    plateau: Amount
    """The most of any number of users within the service level."""
    share: Annotated[float, Field(gt=0, lt=1)]
    """Of the plateau that is to be reached."""


class ConditionCapacity(Part):
    """The load that one condition sustains."""

    title: Name
    server: Name
    model: Name
    version: Annotated[int | None, Field(ge=0)] = None
    batch: Count
    outcome: Outcome
    """`found`; `bracket`: no interval, only rates that passed and failed; `load generator`: no answer."""
    capacity: Interval | None = None
    """Requests per second."""
    knee: Knee | None = None
    """Of users instead of a rate."""
    passed: Amount | None = None
    """The highest rate that kept the service level below all that did not."""
    failed: Amount | None = None
    """The lowest rate that did not keep it."""
    limited_by: Limiting | None = None
    reason: Text = ""
    """What shows the limit, or why there is no answer."""
    remedy: Text = ""
    saturated: Amount | None = None
    """Requests per second answered where it always has some."""
    levels: Annotated[list[MeasuredLevel], Field(max_length=10_000)]
    discarded: Annotated[list[Text], Field(max_length=10_000)]
    """Levels that showed the load generator, and why."""


class Capacity(Part):
    """The most load within a service level."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    service_level: Name
    """In words."""
    share: Annotated[float, Field(gt=0, lt=1)]
    """Of the requests due, those that are to be answered rightly in time."""
    within: Amount
    """Seconds."""
    confidence: Annotated[float, Field(gt=0, lt=1)]
    max_errors: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Of the requests due, those that may fail; None: as many as may miss the service level."""
    counted: Counted = "req/s"
    """What a capacity is: a rate of arrivals, or a number of users that wait for their answers."""
    conditions: Annotated[list[ConditionCapacity], Field(max_length=100)]
    ratios: list[Ratio] = Field(default_factory=list, max_length=100)

    @property
    def compared(self) -> frozenset[str]:
        """Titles of the conditions of which it is known how they compare."""
        return frozenset(
            title for ratio in self.ratios if ratio.known for title in (ratio.before, ratio.after)
        )

    @property
    def answered(self) -> bool:
        """Whether each condition has a capacity or is compared with another one, and no comparison is open."""
        known = all(each.outcome == "found" or each.title in self.compared for each in self.conditions)
        return known and all(ratio.known for ratio in self.ratios)

    def write(self, folder: Path) -> None:
        """Write it into an experiment's folder."""
        (folder / CAPACITY).write_text(json_text(self.model_dump(by_alias=True)) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What an experiment's folder holds; None where no capacity was searched. Raises BenchError."""
        try:
            return read_checked(cls, folder / CAPACITY, "restore the file, or search again")
        except FileNotFoundError:
            return None
