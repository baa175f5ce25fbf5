"""How is one trial run: one Locust test in a fresh process, watched until its end?"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.config.experiment import Study
from bench.config.servers import cpu_numbers
from bench.experiment.folder import Folder
from bench.experiment.live import Live
from bench.experiment.plan import Trial, load_of
from bench.serve.launching.running import Running
from bench.supervision import supervised
from bench.wire.dial import TLS

_LOOK_SECONDS: Final = 0.5
_SPARE_SECONDS: Final = 60.0
"""Beyond load and deadline, for Locust's own start and end on a busy machine."""
_GRACE_SECONDS: Final = 1.0
"""A trial that is broken off is not used: Locust need not end in order."""


@dataclass(frozen=True)
class Generator:
    """The load processes of each trial."""

    workers: int = 1
    """Processes on this machine."""
    remote: int = 0
    """Locust workers on other machines, that connect to each trial's master."""

    def arguments(self) -> list[str]:
        """For Locust."""
        if self.remote:
            return ["--master", "--expect-workers", str(self.remote), "--expect-workers-max-wait", "60"]
        return ["--processes", str(self.workers)] if self.workers > 1 else []


@dataclass(frozen=True)
class Glance:
    """How a trial looks while it runs."""

    trial: Trial
    seconds: float
    """Since its start."""
    rate: float | None = None
    """Requests answered per second, in the last seconds known."""
    p99: float | None = None
    """99th percentile of the latency in seconds."""


class Failed(Exception):  # noqa: N818 - what it is called wherever it is shown
    """A trial that gave no run to believe; the text says why, in one line."""


def run_trial(
    study: Study,
    trial: Trial,
    server: Running,
    folder: Folder,
    *,
    facts: Mapping[str, Any],
    generator: Generator,
    lock: int,
    show: Callable[[Glance], None],
) -> Path:
    """Run it to its end; gives its run folder. facts: what the manifest says of the server. Raises Failed."""
    order = folder.path / f".{trial.id}.json"
    order.write_text(json.dumps(_described(study, trial, facts), default=str))
    log = folder.path / f".{trial.id}.log"
    log.unlink(missing_ok=True)
    command = [*_command(study, trial, server, order), "--results", str(folder.path), *generator.arguments()]
    experiment = study.experiment
    limit = experiment.seconds + experiment.deadline + _SPARE_SECONDS + (60 if generator.remote else 0)
    try:
        cpus = () if experiment.cpus is None else cpu_numbers(experiment.cpus)
        with supervised(command, log=log, grace=_GRACE_SECONDS, keep_open=[lock], cpus=cpus) as process:
            started = time.monotonic()
            live: Live | None = None
            while process.wait(_LOOK_SECONDS) is None:
                elapsed = time.monotonic() - started
                if elapsed > limit:
                    raise Failed(f"Locust did not end within {limit:g} s: {process.log_tail(3)}")
                live = live or _live(folder, trial)
                rate, p99 = live.look() if live else (None, None)
                show(Glance(trial, elapsed, rate, p99))
            tail = process.log_tail(4)
        return _finished(folder, trial, server, process.code, tail)
    finally:
        order.unlink()
        log.unlink()


def _finished(folder: Folder, trial: Trial, server: Running, code: int | None, tail: str) -> Path:
    """The trial's run folder. Raises Failed where it is of no use."""
    run = folder.run_of(trial)
    how = server.ended()
    if how is not None:
        raise Failed(f"the server {how}")
    if run is None or folder.ended().get(trial.number) is None:
        raise Failed(f"Locust ended with exit code {code}: {tail}")
    said = json.loads((run / "manifest.json").read_text())
    if not (said.get("counts") or {}).get("recorded"):
        raise Failed(f"no request was recorded: {tail}")
    return run


def _live(folder: Folder, trial: Trial) -> Live | None:
    run = folder.run_of(trial)
    return None if run is None else Live(run)


def _command(study: Study, trial: Trial, server: Running, order: Path) -> list[str]:
    experiment, cell = study.experiment, trial.cell
    load = load_of(experiment, cell)
    options: dict[str, Any] = {
        "host": server.address,
        "users": load.users,
        "spawn-rate": load.users,
        "run-time": f"{experiment.seconds}s",
        "model-name": cell.model,
        "signature": experiment.models[cell.model].signature,
        "batch-size": cell.batch,
        "deadline": experiment.deadline,
        "seed": trial.seed,
        "note": trial.id,
        "experiment": order,
        "exit-code-on-error": 0,
    }
    if cell.version is not None:
        options["model-version"] = cell.version
    if load.schedule != "closed":
        options["schedule"] = load.schedule
    if not experiment.samples:
        options["no-samples"] = True
    options |= _of_server(server)
    options |= {name.replace("_", "-"): value for name, value in experiment.options.items()}
    return [
        *(sys.executable, "-m", "locust", "-f", str(study.scenario), "--headless", "--only-summary"),
        *(argument for name, value in options.items() for argument in _argument(name, value)),
    ]


def _argument(name: str, value: Any) -> Sequence[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}", str(value)]


def _of_server(server: Running) -> dict[str, Any]:
    """How to reach it and where to look at it."""
    options: dict[str, Any] = {}
    for name, value in (
        ("server-pid", server.pid),
        ("server-container", server.container),
        ("server-metrics", server.metrics),
    ):
        if value is not None:
            options[name] = value
    if server.tls is not None:
        options |= _tls(server.tls)
    if server.metadata:
        options["metadata"] = ",".join(f"{key}={variable}" for key, variable in server.metadata.items())
    return options


def _tls(tls: TLS) -> dict[str, Any]:
    given = {
        "grpc-tls-ca": tls.ca,
        "grpc-tls-cert": tls.certificate,
        "grpc-tls-key": tls.key,
        "grpc-tls-server-name": tls.server_name,
    }
    return {"grpc-tls": True} | {name: value for name, value in given.items() if value is not None}


def _described(study: Study, trial: Trial, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of the experiment."""
    return {
        "name": study.name,
        "cell": trial.cell._asdict(),
        "block": trial.block,
        "trial": trial.number,
        "seed": study.experiment.seed,
        "server": dict(facts),
    }
