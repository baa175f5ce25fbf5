"""Tune files with what they name: the settings of one server that are tried, and what makes one the best."""

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import BenchError
from bench.config.reading import checked, refusal
from bench.config.servers import Batching, Declared, Started
from bench.config.service_level import of_goodput, of_p99
from bench.config.tune import BATCH, OF_BATCHING, OF_SERVER, Objective, Space, Tune, words
from bench.experiment.study import Study, read_experiment

DEFAULT: Final = "default"
"""The settings that the servers file gives the server."""
MOST_SETTINGS: Final = 256
"""Each of them takes a start of the server and a trial at the least."""


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


def read_tune(path: Path) -> tuple[Study, list[Setting], Objective]:
    """A tune file: its study, whose servers are the settings, with the default first. Raises BenchError."""
    study = read_experiment(path, Tune)
    tune = study.experiment
    assert isinstance(tune, Tune)  # noqa: S101 - for the type checker
    objective = _objective(path, tune)
    settings = _settings(study, tune)
    servers = {each.server.name: each.server for each in settings}
    return study._replace(servers=list(servers.values()), optional=[]), settings, objective


def _objective(path: Path, tune: Tune) -> Objective:
    if tune.objective != "throughput":
        for name in ("p99_ms", "goodput"):
            if getattr(tune, name) is not None:
                allowed = f'objective = "{tune.objective}" has no service level; leave one of the two out'
                raise refusal(path, name, getattr(tune, name), allowed)
        if len(tune.loads) > 1:
            raise refusal(
                path,
                "loads",
                len(tune.loads),
                "expected one load: the latencies of several loads are not one number",
            )
        return Objective(float(tune.objective[1:]))
    if (tune.p99_ms is None) == (tune.goodput is None):
        raise BenchError(
            f'{path}: which service level? expected one of p99_ms = 20 and goodput = "99.9 % @ 50ms"'
        )
    level = of_p99(tune.p99_ms) if tune.p99_ms is not None else of_goodput(tune.goodput or "")
    objective = Objective(None, level.share, level.within, level.text)
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
    settings = {_identity(spec, default.batch): default}
    servers: dict[str, Declared] = {_identity(spec, 0): default.server}
    for combination in itertools.product(*parameters.values()) if parameters else []:
        values = dict(zip(parameters, combination, strict=True))
        batch = values.get(BATCH, default.batch)
        changed = _changed(declared, values, space, path)
        identity = _identity(changed, batch)
        if identity in settings:  # the default, or equal to another one where sizes were cut
            known = settings[identity]
            settings[identity] = known._replace(values=known.values or values)
            continue
        number = f"{len(servers):0{len(str(count))}}"
        server = servers.setdefault(
            _identity(changed, 0), Declared(f"{letter}{number}", declared.file, changed, path)
        )
        name = f"{server.name}-batch{batch}" if len(tune.batch_sizes) > 1 else server.name
        settings[identity] = Setting(name, values, server, batch)
    if len(settings) < 2:
        raise refusal(path, "space", parameters, "holds nothing but the default; expected values to try")
    return list(settings.values())


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
