"""A server whose stalls are known, and the latencies that its callers therefore must see.

The server answers after S seconds, and every T seconds it holds all replies back for D seconds. A request that is due
at phase x of the period, counted from the beginning of a hold, has latency S + max(0, D - (x + S)) when its reply
falls into the hold, else S. So each percentile is known: from the instants at which the requests were due, and in
closed form where they are spread evenly over whole periods.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.launch import server_process
from bench.runs.histogram import nearest_rank
from bench.runs.run import Run
from tests.load.locust_runs import locust

Floats = NDArray[np.float64]

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
RANKS: Final = 0.1
"""Percentage points by which a rank may be off where the distribution jumps..."""
NEAR: Final = 0.5
"""...which is so many percentage points around the share of requests that are not held."""


class Tolerance(NamedTuple):
    """A reported percentile may be off by one of these."""

    relative: float
    absolute: float


STRICT: Final = Tolerance(0.01, 100e-6)


@dataclass(frozen=True)
class Setting:
    """A server, and the rate at which it is asked."""

    service: float
    hold: float
    every: float
    rate: float
    periods: int

    @property
    def seconds(self) -> float:
        """How long the load lasts."""
        return self.every * self.periods

    def latencies(self, due: Floats, first_hold: float) -> Floats:
        """What requests that are due at these instants take; the first hold begins at `first_hold`."""
        reply = due + self.service
        period = np.floor((reply - first_hold) / self.every)
        released = first_hold + period * self.every + self.hold
        held = (period >= 0) & (reply < released)
        return np.where(held, released, reply) - due

    def percentile(self, q: float) -> float:
        """In closed form, for requests that are due at all phases of the period alike."""
        beyond = self.hold + self.service - (1 - q / 100) * self.every
        return max(self.service, beyond)


class Row(NamedTuple):
    """One percentile of one setting, in seconds."""

    q: float
    closed_form: float
    formula: float
    """For the very requests that were sent."""
    server: float
    """By the server's own log of its replies: it cannot release hundreds of them at once."""
    reported: float
    within: bool
    """Whether the reported value is as close to the formula or to the server's log as it has to be."""


@contextmanager
def stalling(setting: Setting, log: Path | None = None) -> Iterator[server_process.Server]:
    """The server of a setting."""
    arguments = ["--backend", "synthetic", "--model_name", "mnist"]
    arguments += ["--service-time", f"constant({setting.service * 1e6:.0f}us)"]
    arguments += ["--stall", f"{setting.hold * 1e3:.0f}ms/{setting.every * 1e3:.0f}ms"]
    if log is not None:
        arguments += ["--call-log", str(log)]
    with server_process.embedded(arguments) as server:
        yield server


def ask_open(setting: Setting, folder: Path, tolerance: Tolerance = STRICT) -> tuple[list[Row], Run]:
    """Ask a stalling server in an open loop: its percentiles beside the truth, and the run."""
    log = folder / "calls.f64"
    with stalling(setting, log) as server:
        first_hold = float(server.ready["synthetic"]["stall"]["first"])
        # half a second passes before the schedule starts
        limit = ["--host", server.address, "-t", str(math.ceil(setting.seconds + 0.6))]
        schedule = ["--schedule", f"constant:{setting.rate:g}"]
        # the server's log is to hold nothing but the preflight's one request and the load
        done = locust(
            folder / "open", *limit, *schedule, "--references", "0", scenario="scenarios/mnist_open.py"
        )
    return compare(setting, done.run(), log, first_hold, tolerance), done.run()


def ask_closed(setting: Setting, folder: Path) -> Run:
    """Let eight users ask such a server in a closed loop."""
    with stalling(setting) as server:
        limit = ["--host", server.address, "-t", str(math.ceil(min(setting.seconds, 5.0) + setting.every))]
        done = locust(folder / "closed", *limit, "-u", "8", "-r", "8")
        assert done.code == 0, done.output
    return done.run()


def compare(setting: Setting, run: Run, log: Path, first_hold: float, tolerance: Tolerance) -> list[Row]:
    """Percentiles of the run's histograms against the truth for the requests that it sent."""
    due = np.sort(run.samples.dropna(subset="sent")["due"].to_numpy()) + run.manifest.raw["clock_origin"]
    formula = np.sort(setting.latencies(due, first_hold))
    calls = np.fromfile(log).reshape(-1, 3)
    # one connection: after the preflight's, the server reads the requests in the order in which they were due
    first, *_ = order = np.argsort(calls[:, 0], kind="stable")
    assert calls[first, 2] < due[0], "answered before the load began"
    replied = calls[order[1:], 2]
    assert len(replied) == len(due)
    server = np.sort(replied - due)
    jump = 100 * float(np.mean(formula <= setting.service + 1e-9))
    reported = run.histogram("latency").percentiles(PERCENTILES)
    return [
        Row(
            q,
            setting.percentile(q),
            _at(formula, q),
            _at(server, q),
            float(value),
            any(_close(float(value), truth, q, jump, tolerance) for truth in (formula, server)),
        )
        for q, value in zip(PERCENTILES, reported, strict=True)
    ]


def _at(values: Floats, q: float) -> float:
    return float(values[nearest_rank(min(max(q, 0), 100), len(values)) - 1])


def _close(value: float, truth: Floats, q: float, jump: float, tolerance: Tolerance) -> bool:
    ranks = (q - RANKS, q + RANKS) if abs(q - jump) <= NEAR else (q, q)
    low, high = (_at(truth, rank) for rank in ranks)
    below, above = (max(tolerance.absolute, tolerance.relative * bound) for bound in (low, high))
    return low - below <= value <= high + above
