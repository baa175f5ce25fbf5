"""Tune files: an experiment of one server, with the values of its settings that are tried."""

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field, field_validator

from bench import BenchError
from bench.config.experiment import Experiment, Study, read_experiment
from bench.config.limits import share_or_number
from bench.config.reading import Table, checked, key, refusal
from bench.config.servers import Batching, Declared, Flag, Started
from bench.schedule.text import duration

DEFAULT: Final = "default"
"""The settings that the servers file gives the server."""
MOST_SETTINGS: Final = 256
"""Each of them takes a start of the server and a trial at the least."""
BATCH: Final = "batch_size"
"""The examples of a request, where `batch_sizes` has several: a setting of the client."""
OF_BATCHING: Final = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "allowed_batch_sizes",
)
OF_SERVER: Final = ("session_parallelism", "intra_op", "inter_op", "max_threads")
_GOODPUT: Final = re.compile(r"\s*([^@\s]+)\s*@\s*(\S+)\s*")
_SHARE_AT_TIME: Final = 'a share from 0.5 on and below 1, and a time, such as "99.9 % @ 50ms"'

FromOne = Annotated[int, Field(ge=1)]
FromZero = Annotated[int, Field(ge=0)]


class Space(Table):
    """Values of settings that are tried, each with each; by the names that servers.toml has for them."""

    max_batch_size: list[FromOne] = key(
        [], "a list of different integers >= 1", "Most examples in a batch of the server.", "[8, 32, 128]"
    )
    batch_timeout_micros: list[FromZero] = key(
        [],
        "a list of different integers >= 0 (microseconds)",
        "How long a batch waits for more.",
        "[0, 1000, 5000]",
    )
    max_enqueued_batches: list[FromOne] = key(
        [], "a list of different integers >= 1", "Batches that may wait.", "[10, 100]"
    )
    num_batch_threads: list[FromOne] = key(
        [], "a list of different integers >= 1", "Batches run at once.", "[1, 2, 4]"
    )
    allowed_batch_sizes: list[list[FromOne]] = key(
        [],
        "a list of different lists of integers >= 1",
        "Sizes to which batches are padded, cut at max_batch_size, which is always one of them; [] for any size.",
        "[[], [8, 32, 128]]",
    )
    session_parallelism: list[FromZero] = key(
        [], "a list of different integers >= 0", "Threads within and between operations.", "[0, 1]"
    )
    intra_op: list[FromZero] = key(
        [], "a list of different integers >= 0", "Threads within an operation.", "[1, 2, 4]"
    )
    inter_op: list[Annotated[int, Field(ge=-1)]] = key(
        [], "a list of different integers >= -1", "Threads between operations.", "[1, 2]"
    )
    max_threads: list[Annotated[int, Field(ge=2)]] = key(
        [], "a list of different integers >= 2", "Calls at once, plus one (grpc_max_threads).", "[16, 64]"
    )
    flags: dict[str, list[Flag]] = key(
        {},
        "a table of the server's own flags, each with a list of different values",
        "Values of further flags, such as `processes` of the embedded server.",
        "{ processes = [1, 2] }",
    )

    @field_validator("*")
    @classmethod
    def _different(cls, values: Any) -> Any:
        for name, each in values.items() if isinstance(values, dict) else [("", values)]:
            where = f"{name}: " if name else ""
            if name and not each:
                raise ValueError(f"{where}expected a list of at least one value")
            texts = [json.dumps(value) for value in each]
            twice = next((text for text in texts if texts.count(text) > 1), None)
            if twice is not None:
                raise ValueError(f"{where}{twice} is a duplicate entry: settings equal to each other")
        return values

    @field_validator("flags")
    @classmethod
    def _no_keys(cls, flags: dict[str, list[Flag]]) -> dict[str, list[Flag]]:
        for name in flags:
            if name in (*OF_BATCHING, *OF_SERVER, BATCH):
                raise ValueError(f"{name}: is a key of its own, and no flag; expected the server's own flags")
        return flags

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """The values of each parameter that has some."""
        own = {name: list(getattr(self, name)) for name in (*OF_BATCHING, *OF_SERVER)}
        return {name: values for name, values in (own | self.flags).items() if values}


class Tune(Experiment):
    """What `bench tune` reads: an experiment of one server, one model and its loads, and what is tried."""

    space: Space = key(
        ..., "a table [space]", "Values of settings, tried each with each.", "{ max_batch_size = [8, 32] }"
    )
    objective: Literal["throughput", "p50", "p90", "p99"] = key(
        "throughput",
        '"throughput", "p50", "p90" or "p99"',
        "What is best: the most examples per second within the service level, or the lowest latency under the load.",
        '"p99"',
    )
    p99_ms: int | float | None = key(
        None,
        "a number of milliseconds above 0",
        "The service level: 99 of 100 requests are answered within this time.",
        "20",
        gt=0,
        allow_inf_nan=False,
    )
    goodput: str | None = key(
        None,
        _SHARE_AT_TIME,
        "The service level as another share and time, instead of p99_ms.",
        '"99.9 % @ 50ms"',
    )

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """The values of each parameter that are tried, the client's among them."""
        batches = {BATCH: list(self.batch_sizes)} if len(self.batch_sizes) > 1 else {}
        return self.space.parameters | batches

    @field_validator("goodput")
    @classmethod
    def _share_and_time(cls, text: str | None) -> str | None:
        if text is not None:
            _goodput(text)
        return text


def _goodput(text: str) -> tuple[float, float]:
    """Share and seconds of a text such as `99.9 % @ 50ms`. Raises ValueError."""
    found = _GOODPUT.fullmatch(text.replace(" %", "%"))
    try:
        if found is None:
            raise ValueError
        share = share_or_number(found[1] if "%" in found[1] else float(found[1]), "")
        within = duration(found[2])
    except ValueError:
        share = within = 0.0
    if not 0.5 <= share < 1 or not 0 < within < 1e6:
        raise ValueError(f"expected {_SHARE_AT_TIME}")
    return share, within


class Objective(NamedTuple):
    """What makes one setting better than another."""

    percentile: float | None
    """Of the latency, which is to be low; None: throughput, which is to be high."""
    share: float = 1.0
    """Of the requests due, those that are to be answered rightly in time; of throughput."""
    within: float = math.inf
    """Seconds."""
    service_level: str = ""
    """In words."""

    @property
    def text(self) -> str:
        """Such as `examples/s with p99 <= 20 ms`."""
        if self.percentile is not None:
            return f"p{self.percentile:g} of the latency"
        return f"examples/s with {self.service_level}"


class Setting(NamedTuple):
    """A server with one value of each parameter, and the size of the client's requests."""

    name: str
    values: dict[str, Any]
    """By parameter; of the server's default only those that differ in nothing from a combination of the space."""
    server: Declared
    batch: int

    @property
    def words(self) -> str:
        """Such as `max_batch_size 32, batch_timeout_micros 0`."""
        return words(self.values) or "as the servers file has it"


def words(values: Mapping[str, Any]) -> str:
    """Names and values in a line."""
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_tune(path: Path) -> tuple[Study, list[Setting], Objective]:
    """A tune file: its study, whose servers are the settings, with the default first. Raises BenchError."""
    study = read_experiment(path, Tune)
    tune = study.experiment
    assert isinstance(tune, Tune)  # noqa: S101 - for the type checker
    objective = _objective(path, tune)
    found = _settings(study, tune)
    servers = {each.server.name: each.server for each in found}
    return study._replace(servers=list(servers.values()), optional=[]), found, objective


def _objective(path: Path, tune: Tune) -> Objective:
    if tune.objective != "throughput":
        for name in ("p99_ms", "goodput"):
            if getattr(tune, name) is not None:
                allowed = f'objective = "{tune.objective}" has no service level; leave one of the two out'
                raise refusal(path, name, getattr(tune, name), allowed)
        if len(tune.loads) > 1:
            raise refusal(
                path, "loads", len(tune.loads), "expected one load: latencies of several are no one number"
            )
        return Objective(float(tune.objective[1:]))
    if (tune.p99_ms is None) == (tune.goodput is None):
        raise BenchError(
            f'{path}: which service level? expected one of p99_ms = 20 and goodput = "99.9 % @ 50ms"'
        )
    if tune.p99_ms is not None:
        objective = Objective(None, 0.99, tune.p99_ms / 1e3, f"p99 <= {tune.p99_ms:g} ms")
    else:
        share, within = _goodput(tune.goodput or "")
        level = f"goodput >= {100 * share:.6g} % within {within * 1e3:g} ms"
        objective = Objective(None, share, within, level)
    if objective.within > tune.deadline:
        allowed = f"below the {objective.within:g} s of the service level; give at least as much"
        raise refusal(path, "deadline", tune.deadline, allowed)
    opened = [load.title for load in tune.loads if not load.closed]
    if opened:
        allowed = 'an open load has the rate that it is given; expected users that wait, or objective = "p99"'
        raise refusal(path, "loads", opened[0], allowed)
    return objective


def _settings(study: Study, tune: Tune) -> list[Setting]:
    """The default and every combination that differs from it. Raises BenchError."""
    path, space = study.file, tune.space
    if len(study.servers) != 1 or study.optional:
        names = tune.servers + tune.servers_if_available
        raise refusal(path, "servers", names, "expected one server: its settings are what differs")
    versions = [version for model in tune.models.values() for version in model.versions]
    if len(tune.models) != 1 or len(versions) > 1:
        raise refusal(path, "models", [*tune.models], "expected one model with one version")
    (declared,) = study.servers
    spec = declared.spec
    if not isinstance(spec, Started):
        allowed = (
            "is not started here, so its settings cannot be changed; expected embedded, binary or docker"
        )
        raise declared.refusal("kind", spec.kind, allowed)
    parameters = tune.parameters
    count = math.prod(len(values) for values in parameters.values())
    if count > MOST_SETTINGS:
        raise refusal(
            path, "space", count, f"that many settings; {MOST_SETTINGS} are the most: leave values out"
        )
    default = Setting(DEFAULT, {}, declared, tune.batch_sizes[0])
    letter = "t" if re.fullmatch(r"s\d+", declared.name) else "s"
    found = {_identity(spec, default.batch): default}
    servers: dict[str, Declared] = {_identity(spec, 0): default.server}
    for combination in itertools.product(*parameters.values()) if parameters else []:
        values = dict(zip(parameters, combination, strict=True))
        batch = values.get(BATCH, default.batch)
        changed = _changed(declared, values, space, path)
        identity = _identity(changed, batch)
        if identity in found:  # the default, or equal to another one where sizes were cut
            known = found[identity]
            found[identity] = known._replace(values=known.values or values)
            continue
        number = f"{len(servers):0{len(str(count))}}"
        server = servers.setdefault(
            _identity(changed, 0), Declared(f"{letter}{number}", declared.file, changed)
        )
        name = f"{server.name}-batch{batch}" if len(tune.batch_sizes) > 1 else server.name
        found[identity] = Setting(name, values, server, batch)
    if len(found) < 2:
        raise refusal(path, "space", parameters, "holds nothing but the default; expected values to try")
    return list(found.values())


def _changed(declared: Declared, values: Mapping[str, Any], space: Space, path: Path) -> Started:
    """The server's entry with other values. Raises BenchError for what it cannot be."""
    spec = declared.spec
    assert isinstance(spec, Started)  # noqa: S101 - for the type checker
    plain = spec.model_dump(exclude_unset=True)
    batching = {name: values[name] for name in OF_BATCHING if name in values}
    if batching:
        own = spec.batching.model_dump(exclude_unset=True) if isinstance(spec.batching, Batching) else {}
        plain["batching"] = _cut(own | batching)
    plain |= {name: values[name] for name in OF_SERVER if name in values}
    flags = {name: values[name] for name in space.flags}
    plain["flags"] = {**spec.flags, **flags}
    plain["build"] = words({name: value for name, value in values.items() if name != BATCH}) or spec.build
    return checked(type(spec), plain, path, "space")


def _cut(batching: dict[str, Any]) -> dict[str, Any]:
    """Batching whose allowed sizes end with the largest batch, as the server wants it."""
    largest = batching.get("max_batch_size", Batching.model_fields["max_batch_size"].default)
    sizes: Iterable[int] = batching.get("allowed_batch_sizes", [])
    if sizes:
        batching["allowed_batch_sizes"] = [*(size for size in sizes if size < largest), largest]
    return batching


def _identity(spec: Any, batch: int) -> str:
    return json.dumps([spec.model_dump(mode="json", exclude={"build"}), batch], sort_keys=True)
