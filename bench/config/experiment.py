"""Experiment files: conditions, loads and trials."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import field_validator

from bench import BenchError, packaged, schedule
from bench.config.cpus import cpu_numbers
from bench.config.reading import Table, checked, key, read_toml, refusal
from bench.config.servers import Declared, chosen, read_servers

MNIST: Final = "mnist"


class Load(Table):
    """How requests arrive."""

    users: int = key(1, "an integer >= 1", "Locust users.", "8", ge=1)
    schedule: str = key(
        "closed",
        "a schedule such as closed, constant:500 or poisson:500",
        "When each user sends; rates are per user and second.",
        '"poisson:500"',
    )
    name: str = key("", "any text", "Name in reports; default: users and schedule.", '"low"')

    @field_validator("schedule")
    @classmethod
    def _known(cls, text: str) -> str:
        try:
            schedule.parse(text)
        except BenchError as error:
            raise ValueError(str(error)) from None
        return text

    @property
    def closed(self) -> bool:
        """Whether users wait for an answer before they send again."""
        return isinstance(schedule.parse(self.schedule), schedule.Closed)

    @property
    def title(self) -> str:
        """How reports call it."""
        if self.name:
            return self.name
        users = f"{self.users} user{'s' * (self.users > 1)}"
        return users if self.schedule == "closed" else f"{users} {self.schedule}"


class Model(Table):
    """A model that the servers of an experiment serve."""

    path: str | None = key(
        None,
        "the folder that holds the numbered versions",
        "Relative to the experiment file. `mnist` without a path is trained when it is missing.",
        '"models/resnet"',
    )
    versions: list[int] = key(
        [],
        "a list of version numbers",
        "Versions to compare; none: the latest.",
        "[1, 2]",
    )
    signature: str | None = key(
        None, "a signature's name", "Signature to call; default: the scenario's.", '"serving_default"'
    )

    @field_validator("versions")
    @classmethod
    def _once(cls, versions: list[int]) -> list[int]:
        if len(set(versions)) < len(versions) or any(version < 0 for version in versions):
            raise ValueError("expected a list of different version numbers")
        return versions


class Experiment(Table):
    """Servers x models x versions x batch sizes x loads, each measured in several trials."""

    name: str = key(
        "",
        "letters, digits, '.', '_' and '-'",
        "Name of the results folder; default: the file's name.",
        '"batch_sizes"',
        pattern=r"^[A-Za-z0-9._-]*$",
    )
    scenario: str = key(
        ...,
        "the path of a locustfile, or a scenario of this package by its name",
        "Scenario to run; paths are relative to this file.",
        '"../mnist.py"',
        min_length=1,
    )
    servers_file: str = key(
        "servers.toml", "the path of a servers file", "Relative to this file.", '"servers.toml"'
    )
    servers: list[str] = key(
        ..., "a list of names in the servers file", "Servers to compare.", '["embedded"]', min_length=1
    )
    servers_if_available: list[str] = key(
        [],
        "a list of names in the servers file",
        "Servers to skip, with a note, on machines that cannot run them.",
        '["docker-gpu"]',
    )
    models: dict[str, Model] = key(
        {MNIST: Model()},
        "tables [models.NAME]",
        "Models to compare; default: the MNIST models of this package.",
        "{ mnist = { versions = [1, 2] } }",
        min_length=1,
    )
    batch_sizes: list[int] = key(
        [1], "a list of integers >= 1", "Examples in each request.", "[1, 8, 64]", min_length=1
    )
    loads: list[Load] = key(
        ..., "at least one table [[loads]]", "Loads to compare.", "[{ users = 8 }]", min_length=1
    )
    trials: int = key(
        12,
        "an integer >= 1",
        "Trials of each cell, one in each block; 12 decide 2 % where trials differ by 1 %.",
        "5",
        ge=1,
    )
    seconds: int = key(10, "an integer >= 1 (seconds)", "Duration of each trial's load.", "7", ge=1)
    seed: int = key(1, "an integer >= 0", "Random seed of orders and payloads.", "1", ge=0)
    deadline: float = key(
        10.0, "a number > 0 (seconds)", "Request timeout.", "2.5", gt=0, allow_inf_nan=False
    )
    cpus: str | None = key(
        None, 'CPU numbers such as "0" or "0-3,6"', "The CPUs that the load processes may use.", '"0"'
    )
    samples: bool = key(
        False, "true or false", "Record every request, not only histograms and counts.", "true"
    )
    options: dict[str, bool | int | float | str] = key(
        {},
        "a table of the scenario's options",
        "Further options of the locustfile, by their names without dashes.",
        '{ transport = "grpcio" }',
    )

    @field_validator("cpus")
    @classmethod
    def _cpus(cls, text: str | None) -> str | None:
        if text is not None:
            cpu_numbers(text)
        return text

    @field_validator("batch_sizes")
    @classmethod
    def _batches(cls, sizes: list[int]) -> list[int]:
        if len(set(sizes)) < len(sizes) or any(size < 1 for size in sizes):
            raise ValueError("expected a list of different integers >= 1")
        return sizes

    @field_validator("loads")
    @classmethod
    def _loads_differ(cls, loads: list[Load]) -> list[Load]:
        titles = [load.title for load in loads]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is a duplicate entry; give each a name")
        return loads

    @field_validator("options")
    @classmethod
    def _for_each_trial(
        cls, options: dict[str, bool | int | float | str]
    ) -> dict[str, bool | int | float | str]:
        if options.get("requests") == "-":
            raise ValueError(
                'requests = "-": expected a file: standard input is read once, and each trial reads it'
            )
        return options


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
    started = any(hasattr(server.spec, "flags") for server in study.servers + study.optional)
    if not started:
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
