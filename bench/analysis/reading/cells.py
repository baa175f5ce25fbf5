"""Cells: the parts of a run that are counted apart, and their measurements.

A cell is what one run measured for one request name, batch size and model version in its steady part.
"""

import math
import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Literal

from bench.analysis.reading.population import Population
from bench.runs.chunk import Key, Tally
from bench.runs.histogram import Histogram
from bench.runs.manifest import Load, Payload
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT
from bench.wording import plain

NOTHING = Tally(0, 0, 0, 0, 0)
UNKNOWN = "?"
"""A server or scenario of which nothing is known."""


@dataclass(frozen=True)
class Cell:
    """Requests of one name, batch size and model version in the steady part of a run."""

    run: Run
    """Its steady part."""
    name: str
    batch: int
    version: int | None
    """Model version that answered; that asked for where none answered; None: unknown."""
    keys: frozenset[Key]
    """The keys of the run that belong to the cell: failed requests tell no version."""

    @property
    def duration(self) -> float:
        """Seconds of load."""
        return self.run.duration

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """Requests by outcome."""
        counts: dict[str, int] = {}
        for (key, _), tally in self.run.tallies.items():
            if key in self.keys:
                counts[key.outcome] = counts.get(key.outcome, 0) + tally.requests
        return counts

    @cached_property
    def answered(self) -> Tally:
        """Counts of the requests answered OK."""
        total = NOTHING
        for (key, _), tally in self.run.tallies.items():
            if key in self.keys and key.outcome == "OK":
                total = total.plus(tally)
        return total

    @property
    def requests(self) -> int:
        """Requests that were due."""
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        """Requests that were due and not answered OK, without those that this client cancelled."""
        return self.requests - self.outcomes.get("OK", 0) - self.cancelled

    @property
    def cancelled(self) -> int:
        """Requests that this client cancelled while it waited for their answers."""
        return self.outcomes.get(CANCELLED_BY_CLIENT, 0)

    @property
    def unsent(self) -> int:
        """Requests that were due and never sent."""
        return self.outcomes.get(UNSENT, 0)

    @cached_property
    def latency(self) -> Histogram:
        """done - due of the requests answered OK."""
        return Histogram.sum([self.due.answered])

    @cached_property
    def service(self) -> Histogram:
        """done - sent of the requests answered OK."""
        return self._histogram("service")

    @cached_property
    def lag(self) -> Histogram:
        """sent - due of the requests answered OK."""
        return self._histogram("lag")

    @cached_property
    def due(self) -> Population:
        """All requests that were due, by latency: what limits, comparisons and headlines are about."""
        return population(self.run, self.keys)

    @cached_property
    def answers(self) -> Population:
        """The requests answered OK, by latency."""
        return Population(self.due.answered)

    @cached_property
    def sent_services(self) -> Population:
        """All requests that were sent, by service time."""
        return population(self.run, self.keys, "service")

    @cached_property
    def lags(self) -> Population:
        """All requests that were due, by lag; those never sent are later than any other."""
        lag = self.run.sparse("lag", lambda key: key in self.keys and key.outcome != UNSENT)
        return Population(lag, lost=self.unsent)

    @property
    def keep(self) -> Callable[[Key], bool]:
        """Whether a key's answers belong to the cell: for `Run.series`."""
        return lambda key: key.outcome == "OK" and key in self.keys

    def _histogram(self, kind: str) -> Histogram:
        return self.run.histogram(kind, self.keep)


def population(run: Run, keys: Container[Key], kind: Literal["latency", "service"] = "latency") -> Population:
    """The requests of some keys in the window of a run: by latency all that were due, by service time all that were sent.

    The only place that decides who is counted, and as what. Raises BenchError where the run's files are damaged.
    """
    outcomes: dict[str, int] = {}
    mismatched = 0
    for (key, _), tally in run.tallies.items():
        if key in keys:
            outcomes[key.outcome] = outcomes.get(key.outcome, 0) + tally.requests
            mismatched += tally.mismatched if key.outcome == "OK" else 0
    wrong = run.sparse("mismatched", lambda key: key in keys and key.outcome == "OK")
    cancelled = run.sparse(kind, lambda key: key in keys and key.outcome == CANCELLED_BY_CLIENT)
    lost = sum(outcomes.values()) - outcomes.get("OK", 0) - outcomes.get(CANCELLED_BY_CLIENT, 0)
    return Population(
        run.sparse(kind, lambda key: key in keys and key.outcome == "OK"),
        # run folders of schema 2 counted wrong answers and did not say how long they took
        mismatched=wrong if wrong.counts.sum() == mismatched else None,
        cancelled=cancelled,
        lost=lost if kind == "latency" else lost - outcomes.get(UNSENT, 0),
    )


def pool_of(cell: Cell) -> Payload:
    """What a cell's requests are drawn from; nothing is known of it where several kinds of users send requests of the name."""
    payload = cell.run.manifest.payload
    # the keys are `User, name`, or `User` alone where it has one kind of requests
    named = [each for key, each in payload.items() if cell.name in (key, key.partition(", ")[2])]
    pools = named or list(payload.values())
    return pools[0] if len(pools) == 1 else Payload()


def by_second(run: Run, keys: Container[Key]) -> dict[int, Population]:
    """The requests of some keys that were due in each second of the window of a run, by latency.

    Wrong answers are not told apart. Raises BenchError where the run's files are damaged.
    """
    counts: dict[int, dict[str, int]] = {}
    for (key, second), tally in run.tallies.items():
        if key in keys:
            outcomes = counts.setdefault(second, {})
            outcomes[key.outcome] = outcomes.get(key.outcome, 0) + tally.requests
    answered = dict(run.series("latency", lambda key: key in keys and key.outcome == "OK"))
    cancelled = dict(run.series("latency", lambda key: key in keys and key.outcome == CANCELLED_BY_CLIENT))
    nothing = Histogram()
    return {
        second: Population(
            answered.get(second, nothing).sparse(),
            mismatched=None,
            cancelled=cancelled.get(second, nothing).sparse(),
            lost=sum(
                n for outcome, n in counts[second].items() if outcome not in ("OK", CANCELLED_BY_CLIENT)
            ),
        )
        for second in sorted(counts)
    }


def cells(run: Run) -> list[Cell]:
    """The cells of a run, in the order of name, batch and version; none of a run without requests.

    Failed requests, which tell no version, belong to the only version that answered to their name and batch; where
    several did, they are a cell of their own. Raises BenchError where the run's files are damaged.
    """
    steady = run.steady
    groups: dict[tuple[str, int], set[Key]] = {}
    for key, _ in steady.tallies:
        groups.setdefault((key.name, key.batch), set()).add(key)
    selected = []
    for (name, batch), keys in sorted(groups.items(), key=lambda group: (natural(group[0][0]), group[0][1])):
        its = steady.in_turn(name)
        versions = sorted({key.version for key in keys if key.version is not None})
        if len(versions) <= 1:
            version = versions[0] if versions else run.manifest.target.version
            selected.append(Cell(its, name, batch, version, frozenset(keys)))
            continue
        for number in versions:
            selected.append(Cell(its, name, batch, number, frozenset(k for k in keys if k.version == number)))
        unknown = frozenset(key for key in keys if key.version is None)
        if unknown:
            selected.append(Cell(its, name, batch, None, unknown))
    return selected


def natural(name: str) -> list[str | int]:
    """A key by which `batch 2` stands before `batch 16`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name)]


def observations(run: Run, source: str) -> dict[str, list[dict[str, Any]]]:
    """What the telemetry says of `worker`, `server` or `machine` in the window of a run, by its full name, in order."""
    first, end = run.window or run.seconds
    by_source: dict[str, list[dict[str, Any]]] = {}
    for row in run.telemetry:
        name = str(row.get("source", ""))
        if name.partition(" ")[0] == source and first <= float(row.get("time", math.nan)) <= end:
            by_source.setdefault(name, []).append(row)
    return by_source


def values(rows: list[dict[str, Any]], name: str) -> list[float]:
    """The values of one thing in some observations, without those where it was not known."""
    return [float(row[name]) for row in rows if row.get(name) is not None]


def cpu_steps(rows: list[dict[str, Any]], name: str = "cpu_seconds") -> list[tuple[float, float, float]]:
    """Between observations of a source that know it: when each stretch began and ended, and its seconds of CPU time.

    What is missing in an observation is passed over, and so is a count that fell, as of a process that was started anew.
    name: of another count.
    """
    seen = [
        (float(row["time"]), float(row[name]))
        for row in rows
        if row.get("time") is not None and row.get(name) is not None
    ]
    return [
        (begun, ended, after - before)
        for (begun, before), (ended, after) in pairwise(seen)
        if ended > begun and after >= before
    ]


def cpu_cores(rows: list[dict[str, Any]]) -> float | None:
    """Cores kept busy between the observations of a source; None where that is not known."""
    return per_second_of(rows, "cpu_seconds")


def per_second_of(rows: list[dict[str, Any]], name: str) -> float | None:
    """By how much a count grew each second between the observations of a source; None where that is not known."""
    steps = cpu_steps(rows, name)
    return sum(spent for *_, spent in steps) / sum(end - begin for begin, end, _ in steps) if steps else None


SERVER_MACHINE: Final = "server_machine"
"""Source of what an exporter tells of the machine that the server is on, which is not the one that sends."""


def server_cores(run: Run) -> float | None:
    """CPU seconds that the server used per second in the window of a run; None where it was not observed.

    Where only its machine was observed, those that the machine used.
    """
    each = observations(run, "server") or observations(run, SERVER_MACHINE)
    known = [cpu_cores(rows) for rows in each.values()]
    measured = [cores for cores in known if cores is not None]
    return sum(measured) if measured and len(measured) == len(known) else None


def shares_its_server(run: Run) -> bool:
    """Whether the server computed for another run too: a duet of one server."""
    return bool(run.manifest.duet is not None and run.manifest.duet.get("one_server"))


def described(run: Run) -> dict[str, str]:
    """Scenario, server and load of a run in a few words each: as its experiment calls them, where it is a trial."""
    target, trial = run.manifest.target, run.manifest.cell
    server = target.kind or UNKNOWN
    if server == "remote":
        server = target.address or server
    return {
        "scenario": run.manifest.scenario or UNKNOWN,
        "server": trial.server or target.build or server,
        "load": trial.load or load_in_words(run.manifest.load),
    }


BURST: Final = "burst"
"""The kind of a schedule whose requests are due many at a time."""


def load_in_words(load: Load) -> str:
    """Such as `16 users`, `1000/s poisson`, `200 at once each 5 s` or `ramp`."""
    kind, users = load.plan.kind, load.users
    if load.shape:
        return load.shape
    if kind == "closed":
        return f"{users} users" if users else "closed"
    if kind == BURST and load.plan.size and load.plan.each:
        size = load.plan.size * (users or 1) * load.share
        return f"{plain(size)} at once each {plain(load.plan.each)} s"
    rate = offered_rate(load)
    return f"{plain(rate)}/s {kind}" if rate else kind


def offered_rate(load: Load) -> float | None:
    """Requests per second that the schedule wants; None where it is not one number."""
    if load.plan.kind not in ("constant", "poisson") or not load.plan.rate:
        return None
    return load.plan.rate * (load.users or 1) * load.share
