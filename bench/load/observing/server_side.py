"""Sources of the server's telemetry before, during and after a run."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Final, Self

import psutil

from bench import BenchError, extras
from bench.load.observing.counters import CountersProbe, fetch
from bench.load.observing.telemetry import Probe, Values
from bench.load.options import ScenarioOptions
from bench.payload import Asked
from bench.protocol.api import Api

log = logging.getLogger("bench")

SERVER: Final = "server"
"""Source of what the server's own processes use."""


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


def beside(options: ScenarioOptions, specs: Mapping[str, Asked]) -> list[Probe]:
    """The probes for what the options name of the server. Raises BenchError where it cannot be observed like that.

    specs: what the requests of each name are for.
    """
    watched = options.watched
    probes: list[Probe] = []
    if watched.container is not None and watched.pid is None:
        from bench.load.observing.container import (
            ContainerProbe,  # the Docker SDK: only where there is a container
        )

        probes.append(ContainerProbe(watched.container))
    if watched.metrics is not None:
        model = _model(options, specs)
        probes.append(CountersProbe(watched.metrics, model, options.api, _calls(options)))
    if watched.telemetry:
        probes += _exporters().take(watched.telemetry).probes()
    return probes


def look_beside(options: ScenarioOptions) -> None:
    """Raise BenchError where `beside` will, before anything is written."""
    watched = options.watched
    for probe in beside(replace(options, watched=replace(watched, telemetry=())), {}):
        probe.close()
    if not watched.telemetry:
        return
    sources = {probe.source for probe in _exporters().look(watched.telemetry).probes()}
    own = "--server-pid" if watched.pid is not None else "--server-container" if watched.container else None
    if own is not None and SERVER in sources:
        raise BenchError(
            f"{own} and --server-telemetry both observe the server's processes; leave one of them out"
        )


def _exporters() -> ModuleType:
    """Raises BenchError where a package is missing that reads pages."""
    extras.need("prometheus_client", "--server-telemetry")
    from bench.load.observing.exporters import probe  # only where there are pages

    return probe


def _model(options: ScenarioOptions, specs: Mapping[str, Asked]) -> str:
    """The model whose counters are read: the one that the options name, else the only one that is called."""
    models = {each.model for each in specs.values()}
    return options.asked.model if "model" in options.asked.explicit or len(models) != 1 else models.pop()


def _calls(options: ScenarioOptions) -> dict[str, Any]:
    """How the server is called for its counters, where they are not on a page."""
    return {"tls": options.tls, "metadata": options.metadata, "authority": options.authority}


@dataclass(frozen=True)
class Counted:
    """The server's counters at the start of a run."""

    url: str
    model: str
    api: Api
    start: Values
    calls: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def before(cls, options: ScenarioOptions, specs: Mapping[str, Asked]) -> Self | None:
        """Read them before anything is sent; None where no page is named. Raises BenchError where it does not answer.

        specs: as of `beside`.
        """
        url, model = options.watched.metrics, _model(options, specs)
        if url is None:
            return None
        calls = _calls(options)
        return cls(url, model, options.api, fetch(url, model, options.api, **calls), calls)

    def after(self) -> dict[str, Any]:
        """Both readings for the manifest; `after` is None where the server does not answer any more."""
        try:
            end: Values | None = fetch(self.url, self.model, self.api, **self.calls)
        except BenchError as error:
            log.warning("%s", error)
            end = None
        return {"url": self.url, "model": self.model, "before": self.start, "after": end}
