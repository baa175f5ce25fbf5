"""A run's description of itself: the content of its `manifest.json`, checked and typed.

The writer adds to it while the run lasts: all but the first facts may be missing. Manifests may be anybody's: numbers are
within what a run can be, and texts have a length that can be shown. What is not read here is kept as it is (`raw`).
"""

import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from bench import BenchError
from bench.runs.jsonl import read_json
from bench.runs.migration import migrated
from bench.runs.misfit import misfit
from bench.runs.recording import FINISHED, INTERRUPTED, MANIFEST, SCHEMA
from bench.runs.sample import LONGEST_RUN

RESTORE: Final = "restore the file or delete the run"

Text = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(max_length=1_000)]
Instant = Annotated[float, Field(ge=-3600, le=LONGEST_RUN)]
"""Seconds of the run."""
Count = Annotated[int, Field(ge=0, le=10**12)]
Amount = Annotated[float, Field(ge=0, le=1e15)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Part(BaseModel):
    """A table of the manifest; what else it holds is kept."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    def facts(self) -> dict[str, Any]:
        """Everything that it holds, as JSON values."""
        return self.model_dump(exclude_unset=True)


def _or_empty(value: Any) -> Any:
    """Null stands for a table without a fact."""
    return {} if value is None else value


def _or_none(value: Any) -> Any:
    """Null stands for an empty list."""
    return [] if value is None else value


class Asked(Part):
    """The model, version and outputs that requests of a name ask for."""

    model: Name | None = None
    version: Integer | None = None
    label: Name | None = None


class Target(Part):
    """The server that was asked."""

    address: Name | None = None
    kind: Name | None = None
    build: Name | None = None
    pid: Integer | None = None
    started: Amount | None = None
    """When its process began, in Unix time."""
    model: Text | None = None
    version: Integer | None = None
    version_asked: Integer | None = None
    version_after: Integer | None = None
    protocol: Name = "tfs"  # as runs had it when there was no other
    asked: Annotated[dict[Name, Asked], BeforeValidator(_or_empty)] = {}


class Turns(Part):
    """Kinds of requests that take turns."""

    names: Annotated[list[Name], Field(min_length=1, max_length=10_000)]
    seconds: Annotated[int, Field(ge=1, le=LONGEST_RUN)]


class Schedule(Part):
    """The instants at which requests are due; `bench.schedule.from_dict` knows all of it."""

    kind: Name = "closed"
    rate: Amount | None = None
    each: Annotated[float, Field(gt=0, le=LONGEST_RUN)] | None = None
    at: Instant | None = None
    lasting: Instant | None = None
    factor: Amount | None = None
    steps: Annotated[list[Amount], Field(max_length=100_000)] | None = None
    size: Amount | None = None
    """Requests of a burst."""


class Load(Schedule):
    """The way in which requests were sent. `kind` and `rate` stand here in manifests from before there were schedules."""

    schedule: Schedule | None = None
    schedules: dict[Name, Schedule] | None = None
    users: Annotated[int, Field(ge=0, le=10**9)] | None = None
    deadline: Amount | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    shape: Name | None = None
    turns: Turns | None = None
    idle_processes: Count | None = None
    planned_processes: Count | None = None
    user_classes: Annotated[list[Name], Field(max_length=10_000)] | None = None

    @property
    def plan(self) -> Schedule:
        """The schedule that all users have, or what is known of it."""
        return self.schedule or self

    @property
    def closed(self) -> bool:
        """Whether users wait for an answer before they ask again."""
        return self.plan.kind == "closed"


class WarmUp(Part):
    """The part of the beginning that is to be left out."""

    rule: Name | None = None
    seconds: Amount | None = None


class Payload(Part):
    """The requests of a kind."""

    sha256: Name | None = None
    messages: Count | None = None
    bytes: Count | None = None
    batch: Count | None = None
    examples: Count | None = None
    origin: Text | None = None
    """Where they come from, where the scenario did not make them."""


class Model(Part):
    """The model's files."""

    sha256: Name | None = None


class Cell(Part):
    """The cell of an experiment to which the run belongs."""

    server: Name | None = None
    build: Name | None = None
    model: Name | None = None
    version: Integer | None = None
    batch: Annotated[int, Field(ge=0, le=2**31)] | None = None
    load: Name | None = None


class LaunchedServer(Part):
    """An experiment's knowledge of a server that it started, or that was there."""

    kind: Name | None = None
    price_per_hour: Amount | None = None
    models: Annotated[dict[Name, dict[Name, Name]], BeforeValidator(_or_empty)] = {}


class InExperiment(Part):
    """The trial that a run is."""

    name: Name | None = None
    folder: Name | None = None
    """The folder's name: each experiment has its own, and copies of its runs keep it."""
    block: Integer | None = None
    trial: Integer | None = None
    cell: Annotated[Cell, BeforeValidator(_or_empty)] = Cell()
    server: Annotated[LaunchedServer, BeforeValidator(_or_empty)] = LaunchedServer()


class Machine(Part):
    """The machine that sent the load."""

    hostname: Name | None = None
    usable_cores: Amount | None = None
    logical_cores: Annotated[int, Field(ge=0, le=10**6)] | None = None
    packages: Annotated[dict[Name, Name | None], BeforeValidator(_or_empty)] = {}


class Git(Part):
    """The checkout that it was sent from."""

    commit: Name | None = None
    dirty: bool | None = None


class Worker(Part):
    """A load process; its clock is ahead of the master's by clock_offset seconds, give or take clock_bound."""

    worker: Integer | Name | None = None
    recorded: Count | None = None
    lost: bool | None = None
    joined: Instant | None = None
    left: Instant | None = None
    clock_offset: Annotated[float, Field(ge=-1e15, le=1e15)] | None = None
    clock_bound: Amount | None = None

    @property
    def title(self) -> str:
        """Its number in words."""
        return "?" if self.worker is None else str(self.worker)


class Counts(Part):
    """Requests of all load processes together."""

    sent: Count | None = None
    unsent: Count | None = None
    recorded: Count | None = None
    retries: Count | None = None
    addresses: Annotated[dict[Name, Count], BeforeValidator(_or_empty)] = {}
    waited: dict[Name, Count] = {}
    """Requests that could not leave at once, by what kept them: stream, window, kernel or connection."""
    most_streams: Count | None = None
    """Calls that the server allows at once on a connection, where that kept some."""


# JSON has lists only
Change = Annotated[tuple[Instant, Annotated[int, Field(ge=0, le=10**9)]], Field(strict=False)]
"""An instant, and the number of users from then on."""


class Arrivals(Part):
    """The beginning of an open-loop user class, and its number of users from which instant on."""

    begin: Instant
    users: Annotated[list[Change], Field(max_length=100_000)]


class WrongAnswers(Part):
    """The number of answers that were wrong for one cause."""

    count: Count
    example: Text


Counter = Annotated[float, Field(ge=0, le=1e18)]


class CounterPage(Part):
    """A server's counters at one instant; runs from before `other_count` was read lack it."""

    __pydantic_extra__: dict[str, Counter]
    ok: Counter
    request_count: Counter
    request_seconds: Counter
    runtime_count: Counter
    runtime_seconds: Counter
    queue_count: Counter
    queue_seconds: Counter
    started: Counter | None = None
    """No counter: when the process began, in Unix time, where the page tells it."""


class ServerCounters(Part):
    """The server's counters before and after the run."""

    model: Name | None = None
    before: CounterPage | None = None
    after: CounterPage | None = None


class TelemetryPage(Part):
    """A page of an exporter that was read while the run lasted."""

    url: Text
    source: Name
    """Under which its values are in the telemetry."""
    read: Count
    """Readings, those that failed among them."""
    failed: Count
    problem: Text | None = None
    """Of the last reading that failed."""
    missing: dict[Name, Count] = {}
    """Values that the first reading had -> later readings without them."""


class Warned(Part):
    """A warning that was noted while the run lasted."""

    check: Name = "noted"
    reason: Text
    remedy: Text = ""


class Span(Part):
    """From when to when requests were due and answered."""

    first_due: Instant | None = None
    last_due: Instant | None = None
    last_done: Instant | None = None


class Ceiling(Part):
    """The highest rate that this machine was measured to send."""

    requests_per_second: Amount | None = None


class Manifest(Part):
    """A run's facts."""

    state: Name
    started: Name
    scenario: Name
    run_id: Name | None = None
    note: Name | None = None
    question: Name | None = None
    command: Annotated[list[Text], Field(max_length=10_000)] | None = None
    seed: Integer | None = None
    stopped: Instant | None = None
    planned_end: Instant | None = None
    """When the load was to end, where it had a run time."""
    target: Annotated[Target, BeforeValidator(_or_empty)] = Target()
    load: Annotated[Load, BeforeValidator(_or_empty)] = Load()
    warmup: Annotated[WarmUp, BeforeValidator(_or_empty)] = WarmUp()
    ceiling: Annotated[Ceiling, BeforeValidator(_or_empty)] = Ceiling()
    options: Annotated[dict[Name, Any], BeforeValidator(_or_empty)] = {}
    payload: Annotated[dict[Name, Payload], BeforeValidator(_or_empty)] = {}
    repeats: Annotated[dict[Name, Name], BeforeValidator(_or_empty)] = {}
    """Name of requests that are new to the server -> that of their repetitions."""
    model: Annotated[Model, BeforeValidator(_or_empty)] = Model()
    experiment: InExperiment | None = None
    duet: dict[str, Any] | None = None
    machine: Annotated[Machine, BeforeValidator(_or_empty)] = Machine()
    git: Annotated[Git, BeforeValidator(_or_empty)] = Git()
    server_counters: ServerCounters | None = None
    telemetry: Annotated[list[TelemetryPage], Field(max_length=1_000), BeforeValidator(_or_none)] = []
    workers: Annotated[list[Worker], Field(max_length=10_000), BeforeValidator(_or_none)] = []
    counts: Annotated[Counts, BeforeValidator(_or_empty)] = Counts()
    arrivals: Annotated[dict[Name, Arrivals], BeforeValidator(_or_empty)] = {}
    wrong_answers: Annotated[dict[Name, dict[Name, WrongAnswers]], BeforeValidator(_or_empty)] = {}
    doubts: Annotated[list[Warned], Field(max_length=10_000), BeforeValidator(_or_none)] = []
    span: Annotated[Span, BeforeValidator(_or_empty)] = Span()
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a run folder. Raises BenchError, in one line, where this version cannot read it."""
        path = folder / MANIFEST
        try:
            content = read_json(path)
        except FileNotFoundError as error:
            raise BenchError(f"{folder}: no {MANIFEST} in it; is it the folder of a run?") from error
        except OSError as error:
            raise BenchError(f"{path}: {error.strerror}; check the file and its permissions") from error
        except ValueError as error:
            raise BenchError(f"{path}: {error}; {RESTORE}") from error
        schema = content.get("schema") if isinstance(content, dict) else None
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise BenchError(f"{path}: no schema in it; it was not written by serving-bench")
        if schema > SCHEMA:
            raise BenchError(f"{path}: schema {schema}, {SCHEMA} is known; use a newer serving-bench")
        return cls.of(content, path)

    @classmethod
    def of(cls, content: Mapping[str, Any], path: Path = Path(MANIFEST)) -> Self:
        """Of a JSON object. Raises BenchError naming the key, its value and what would be right."""
        current = migrated(content)
        try:
            manifest = cls.model_validate(current)
        except ValidationError as error:
            raise BenchError(f"{path}: {misfit(error)}; {RESTORE}") from None
        manifest._raw = current
        return manifest

    @property
    def cell(self) -> Cell:
        """What its experiment calls it; empty of a run that is no trial."""
        return self.experiment.cell if self.experiment else Cell()

    @property
    def shell_line(self) -> str:
        """The command for a shell: of `python -m locust` it holds the file's name alone."""
        words = list(self.command or [])
        return shlex.join([*("locust" if word == "__main__.py" else word for word in words[:1]), *words[1:]])

    @property
    def finished(self) -> bool:
        """Whether the load ended as planned and everything was written."""
        return self.state == FINISHED

    @property
    def whole(self) -> bool:
        """Whether everything was written, of a load that was interrupted too."""
        return self.state in (FINISHED, INTERRUPTED)

    @cached_property
    def raw(self) -> Mapping[str, Any]:
        """The JSON object itself."""
        return self._raw  # a private attribute of pydantic's takes 15 times as long to read
