"""Sources of the server's telemetry before, during and after a run."""

import logging
from dataclasses import dataclass
from typing import Any, Self

import psutil

from bench import BenchError
from bench.load.observing.counters import CountersProbe, fetch
from bench.load.observing.telemetry import Probe, Values
from bench.load.options import ScenarioOptions
from bench.protocol.api import Api

log = logging.getLogger("bench")


def watched_pid(options: ScenarioOptions) -> int | None:
    """The server process that the options name. Raises BenchError where there is none."""
    pid = options.watched.pid
    if pid is not None and not psutil.pid_exists(pid):
        raise BenchError(f"--server-pid {pid}: no such process on this machine")
    return pid


def started_at(pid: int | None) -> float | None:
    """When a process of this machine began, in Unix time; None of none, or one that has ended."""
    try:
        return None if pid is None else psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def beside(options: ScenarioOptions) -> list[Probe]:
    """The probes for what the options name of the server. Raises BenchError where Docker does not know it."""
    watched = options.watched
    probes: list[Probe] = []
    if watched.container is not None and watched.pid is None:
        from bench.load.observing.container import (
            ContainerProbe,  # the Docker SDK: only where there is a container
        )

        probes.append(ContainerProbe(watched.container))
    if watched.metrics is not None:
        probes.append(CountersProbe(watched.metrics, options.asked.model, options.api))
    return probes


def look_beside(options: ScenarioOptions) -> None:
    """Raise BenchError where `beside` will, before anything is written."""
    for probe in beside(options):
        probe.close()


@dataclass(frozen=True)
class Counted:
    """The server's counters at the start of a run."""

    url: str
    model: str
    api: Api
    start: Values

    @classmethod
    def before(cls, options: ScenarioOptions) -> Self | None:
        """Read them before anything is sent; None where no page is named. Raises BenchError where it does not answer."""
        url, model = options.watched.metrics, options.asked.model
        return None if url is None else cls(url, model, options.api, fetch(url, model, options.api))

    def after(self) -> dict[str, Any]:
        """Both readings for the manifest; `after` is None where the server does not answer any more."""
        try:
            end: Values | None = fetch(self.url, self.model, self.api)
        except BenchError as error:
            log.warning("%s", error)
            end = None
        return {"url": self.url, "model": self.model, "before": self.start, "after": end}
