"""Locust's arguments for a trial, and what the manifest records of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.experiment.plan import PlannedTrial, load_of
from bench.experiment.study import Study
from bench.launch.running import Running
from bench.wire.dial import TLS

Option = str | int | float | bool | None


class Order(NamedTuple):
    """A trial that is to be run on a server."""

    study: Study
    trial: PlannedTrial
    server: Running
    facts: Mapping[str, Any]
    """What the manifest says of the server."""

    @property
    def seconds(self) -> int:
        """How long the load lasts."""
        return self.study.experiment.seconds

    @property
    def users(self) -> int:
        """Locust's users, all of which start at once."""
        return load_of(self.study.experiment, self.trial.cell).users

    def options(self) -> dict[str, Option]:
        """The scenario's options by their names without dashes; None: as if the option was not given."""
        return {
            **cell_options(self.study, self.trial),
            **server_options(self.server),
            "server-pid": self.server.pid,
            "server-container": self.server.container,
            "server-metrics": self.server.metrics,
            "server-telemetry": ",".join(self.server.telemetry) or None,
            **_own(self.study),
        }

    def described(self, folder: Path) -> dict[str, Any]:
        """What the manifest says of the experiment in this folder."""
        return {
            "name": self.study.name,
            "folder": folder.resolve().name,
            "cell": self.trial.cell._asdict(),
            "block": self.trial.block,
            "trial": self.trial.number,
            "seed": self.study.experiment.seed,
            "server": dict(self.facts),
        }


def cell_options(study: Study, trial: PlannedTrial) -> dict[str, Option]:
    """What a trial's cell says, and what is the same for all."""
    experiment, cell = study.experiment, trial.cell
    load = load_of(experiment, cell)
    return {
        "model-name": cell.model,
        "model-version": cell.version,
        "signature": experiment.models[cell.model].signature,
        "batch-size": cell.batch,
        "deadline": experiment.deadline,
        "seed": trial.seed,
        "note": trial.id,
        "schedule": load.schedule if "schedule" in load.model_fields_set else None,
        "no-samples": not experiment.samples,
        **_own(study),
    }


def server_options(server: Running) -> dict[str, Option]:
    """How a server is called."""
    pairs = ",".join(f"{key}={variable}" for key, variable in server.metadata.items())
    parameters = ",".join(f"{name}={_text(value)}" for name, value in server.parameters.items())
    called = {
        "protocol": server.protocol,
        "request-parameters": parameters or None,
        "metadata": pairs or None,
        "authority": server.authority,
    }
    return {**called, **_tls(server.tls)}


def _text(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _own(study: Study) -> dict[str, Option]:
    return {name.replace("_", "-"): value for name, value in study.experiment.options.items()}


def _tls(tls: TLS | None) -> dict[str, Option]:
    files = {
        "grpc-tls-ca": tls and tls.ca,
        "grpc-tls-cert": tls and tls.certificate,
        "grpc-tls-key": tls and tls.key,
        "grpc-tls-server-name": tls and tls.server_name,
    }
    return {"grpc-tls": tls is not None} | {
        name: None if value is None else str(value) for name, value in files.items()
    }
