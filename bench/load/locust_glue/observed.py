"""Observations of the first process while the load runs: itself, its machine, and whether all users are there."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from locust.runners import STATE_MISSING, MasterRunner

from bench.load.locust_glue.session import Session
from bench.load.observing.energy import energy
from bench.load.observing.gpus import gpus
from bench.load.observing.incidents import ConnectionsProbe, Note, WallClockProbe
from bench.load.observing.telemetry import (
    LoopDelayProbe,
    MachineProbe,
    Probe,
    ProcessProbe,
    ServerProbe,
    Telemetry,
    Values,
)

log = logging.getLogger("bench")


def probes(
    runner: Any, load: Session | None, server: int | None, note: Note, beside: Sequence[Probe] = ()
) -> list[Probe]:
    """The probes of the process that decides on the load.

    load: its own, None where its workers send. server: the process id of a server on this machine. beside: other probes of
    the server; where they observe its GPUs, those of this machine are not.
    """
    gpu = None if any(probe.source.partition(" ")[0] == "gpu" for probe in beside) else gpus(server)
    if isinstance(gpu, str):
        log.warning("no GPU telemetry: %s", gpu)
        gpu = None
    listed: list[Probe | None] = [
        *(MachineProbe(), energy(), gpu),
        PlannedProbe(runner) if runner is not None else None,
    ]
    own = "master"
    listed += (
        [ProcessProbe(own), WallClockProbe(own, note)]
        if load is None
        else sending("worker 0", runner, load, note)
    )
    listed += [*([] if server is None else [ServerProbe(server)]), *beside]
    return [probe for probe in listed if probe is not None]


class Sink(Protocol):
    """Takes what was observed."""

    def telemetry(self, time: float, *, source: str, **values: float | None) -> None:
        """Note an observation, in seconds of the run."""
        ...


def observe(probes: Sequence[Probe], origin: float, sinks: Sequence[Sink]) -> Telemetry:
    """Read probes from now on, for a run that began at `origin` on perf_counter's clock."""

    def note(at: float, source: str, values: Values) -> None:
        for sink in sinks:
            sink.telemetry(at - origin, source=source, **values)

    return Telemetry(probes, note)


class Diary(Protocol):
    """Takes what happened."""

    def event(self, time: float, kind: str, text: str, **values: float | str) -> None:
        """Note what happened, in seconds of the run."""
        ...


def noting(origin: float, diary: Diary) -> Note:
    """Write incidents into the folder of a run that began at `origin` on perf_counter's clock."""

    def note(at: float, kind: str, text: str, **values: float | str) -> None:
        diary.event(at - origin, kind, text, **values)

    return note


def connections(source: str, load: Session, note: Note) -> list[Probe]:
    """The probe of its connections; none where all requests go over HTTP, where the end of one is no event."""
    return [] if load.channel is None else [ConnectionsProbe(source, load.channel, note)]


def sending(source: str, runner: Any, load: Session, note: Note) -> list[Probe]:
    """The probes of a process that sends. runner: None in Locust's `run_single_user`."""
    listed: list[Probe] = [
        ProcessProbe(source),
        LoopDelayProbe(source, lambda: load.in_flight),
        WallClockProbe(source, note),
        *connections(source, load, note),
    ]
    return listed if runner is None else [*listed, UsersProbe(source, runner)]


class UsersProbe:
    """The users that run in this process."""

    def __init__(self, source: str, runner: Any) -> None:
        self.source, self._runner = source, runner

    def read(self, seconds: float) -> Values:
        """`users`, of all user classes."""
        return {"users": self._runner.user_count}

    def close(self) -> None:
        """There is nothing to give back."""


class PlannedProbe:
    """The users that are wanted, and the load processes that are there for them."""

    source = "load"

    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def read(self, seconds: float) -> Values:
        """`planned_users`; `workers`: load processes that are connected, where there is a master."""
        values: Values = {"planned_users": self._runner.target_user_count}
        if isinstance(self._runner, MasterRunner):
            values["workers"] = sum(node.state != STATE_MISSING for node in self._runner.clients.all)
        return values

    def close(self) -> None:
        """There is nothing to give back."""
