"""An experiment file with what it names: its servers, its scenario, its models."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from bench import BenchError, packaged
from bench.config.experiment import MNIST, Experiment, Model
from bench.config.reading import checked, read_toml, refusal
from bench.config.servers import Declared, Started, chosen
from bench.launch.servers_file import read_servers

OWN_OPTIONS: Final = {
    "host": "servers",
    "users": "loads.users",
    "spawn-rate": "loads.users",
    "run-time": "seconds",
    "schedule": "loads.schedule",
    "batch-size": "batch_sizes",
    "model-name": "models",
    "model-version": "models.NAME.versions",
    "signature": "models.NAME.signature",
    "deadline": "deadline",
    "seed": "seed",
    "no-samples": "samples",
    "processes": "--workers of `bench run`",
    "results": "--results of `bench run`",
    "note": "--note of `bench run`",
    "metadata": "servers.NAME.metadata",
    "headless": "nothing: it always is",
}
"""Options of a locustfile that an experiment sets itself, and where it says them."""


class Study(NamedTuple):
    """An experiment file with what it names, read."""

    file: Path
    experiment: Experiment
    servers: list[Declared]
    optional: list[Declared]
    """Servers that may be left out."""

    @property
    def name(self) -> str:
        """What the results folder is called."""
        return self.experiment.name or self.file.stem

    @property
    def scenario(self) -> Path:
        """The locustfile."""
        return packaged.locustfile(self.file.parent, self.experiment.scenario)

    def model_path(self, name: str) -> Path | None:
        """The folder of a model's versions; None: this package's own."""
        path = self.experiment.models[name].path
        return None if path is None else (self.file.parent / path).resolve()


def read_experiment(path: Path, table: type[Experiment] = Experiment) -> Study:
    """An experiment with its servers. Raises BenchError with file, key, value and what is allowed.

    table: what the file may hold.
    """
    experiment = checked(table, read_toml(path), path)
    servers_file = path.parent / experiment.servers_file
    servers = read_servers(servers_file)
    study = Study(
        path,
        experiment,
        chosen(servers, experiment.servers, path),
        chosen(servers, experiment.servers_if_available, path),
    )
    _check(study)
    return study


def _check(study: Study) -> None:
    path, experiment = study.file, study.experiment
    names = experiment.servers + experiment.servers_if_available
    for name in names:
        if names.count(name) > 1:
            raise refusal(path, "servers", names, f"{name} is a duplicate entry")
    if not study.scenario.is_file():
        raise refusal(path, "scenario", experiment.scenario, f"no such file: {study.scenario}")
    for name, model in experiment.models.items():
        _check_model(study, name, model)
    for name, value in experiment.options.items():
        plain = name.replace("_", "-").lstrip("-")
        if plain in OWN_OPTIONS:
            raise refusal(path, f"options.{name}", value, f"is set by {OWN_OPTIONS[plain]}")


def _check_model(study: Study, name: str, model: Model) -> None:
    where = f"models.{name}"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise BenchError(f"{study.file}: {where}: letters, digits, '.', '_' and '-' only")
    folder = study.model_path(name)
    specs = [server.spec for server in study.servers + study.optional]
    if not any(isinstance(spec, Started) and spec.takes_models for spec in specs):
        return
    if folder is None:
        if name != MNIST:
            raise BenchError(
                f"{study.file}: {where}.path: missing; expected the folder that holds the numbered versions"
            )
        return
    if not folder.is_dir():
        raise refusal(study.file, f"{where}.path", model.path, f"no such folder: {folder}")
    versions = sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())
    for version in model.versions or ([] if versions else [0]):
        if version not in versions:
            shown = ", ".join(map(str, versions)) or "no version"
            raise refusal(study.file, f"{where}.versions", model.versions, f"{folder} holds {shown}")
