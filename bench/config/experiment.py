"""Experiment files: conditions, loads and trials."""

from typing import Final

from pydantic import field_validator

from bench import BenchError, schedule
from bench.config.cpus import cpu_numbers
from bench.config.reading import Table, key

MNIST: Final = "mnist"


class Load(Table):
    """The arrival of requests."""

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
