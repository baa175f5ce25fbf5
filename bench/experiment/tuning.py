"""A tuning as an experiment whose servers are the settings, and its result as files that the server takes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.config.servers import Declared, Started
from bench.config.tune import Objective, Tune
from bench.experiment.beginning import Prepared, overridden, resume
from bench.experiment.folder import Folder
from bench.experiment.plan import Condition, PlannedTrial, cells, of_blocks
from bench.experiment.tune_file import Setting, read_tune
from bench.launch import files
from bench.launch.flags import settings
from bench.launch.kinds import check

BEST: Final = "best"
"""Folder of the best settings, in the experiment's."""
SERVERS, FLAGS, BATCHING = "servers.toml", "flags.txt", "batching_parameters.pbtxt"


class Tuning(NamedTuple):
    """A tuning that could be run."""

    prepared: Prepared
    """Without a plan: what comes next follows from what was measured."""
    settings: list[Setting]
    """The default first."""
    objective: Objective

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """The values of each parameter that are tried."""
        tune = self.prepared.study.experiment
        assert isinstance(tune, Tune)  # noqa: S101 - for the type checker
        return tune.parameters

    def cells(self, setting: Setting) -> list[Condition]:
        """What is measured of a setting in a block: itself under each load."""
        every = cells(self.prepared.study.experiment, [setting.server])
        return [cell for cell in every if cell.batch == setting.batch]

    def trials(self, names: Sequence[str], blocks: Iterable[int], planned: int) -> list[PlannedTrial]:
        """Trials of some settings, with the default, in some blocks; planned: those before."""
        every = [cell for each in self.settings if each.name in names or each is self.settings[0]
                 for cell in self.cells(each)]  # fmt: skip
        return of_blocks(every, blocks, self.prepared.study.experiment.seed, planned)


def prepare_tuning(path: Path, overrides: Mapping[str, Any]) -> Tuning:
    """Read a tune file; `overrides` replace keys of it. Raises BenchError."""
    study, settings, objective = read_tune(path)
    for server in study.servers:
        check(server)
    study = overridden(study, overrides)
    return Tuning(Prepared(study, study.servers, [], {}, dict(overrides)), settings, objective)


def resume_tuning(path: Path, results: Path) -> tuple[Tuning, Folder]:
    """The tuning that a folder holds, or the newest one in `results` of a tune file. Raises BenchError."""
    prepared, folder = resume(path, results, lambda file: read_tune(file)[0], "tune")
    _, settings, objective = read_tune(prepared.study.file)
    return Tuning(prepared, settings, objective), folder


def write_best(folder: Path, server: Declared, name: str) -> list[Path]:
    """Write a server's settings as what its kind takes: an entry of a servers file, flags, batching parameters.

    name: that the entry gets. Environment variables are left out, since they may hold secrets.
    """
    place = folder / BEST
    place.mkdir(exist_ok=True)
    how = settings(server)
    texts = {SERVERS: entry(name, server.spec), FLAGS: ""}
    paths = {}
    if how.batching is not None:
        texts[BATCHING] = files.batching_text(how.batching)
        paths["batching_parameters_file"] = BATCHING
    texts[FLAGS] = "".join(f"{argument}\n" for argument in how.arguments(**paths))
    for each, text in texts.items():
        (place / each).write_text(text)
    for gone in {SERVERS, FLAGS, BATCHING} - texts.keys():
        (place / gone).unlink(missing_ok=True)
    return [place / each for each in texts]


def entry(name: str, spec: Any) -> str:
    """A table [servers.NAME] with what was given of a server."""
    assert isinstance(spec, Started)  # noqa: S101 - for the type checker
    values = spec.model_dump(mode="json", exclude_unset=True, exclude={"environment"})
    lines = [f"{key} = {toml(value)}" for key, value in values.items() if value not in (None, {})]
    if spec.environment:
        lines.append("# environment: as in the file that it was made from")
    return "\n".join([f"[servers.{toml_key(name)}]", *lines]) + "\n"


def toml(value: Any) -> str:
    """A value of a servers file as TOML, in a line."""
    if isinstance(value, dict):
        inside = ", ".join(
            f"{toml_key(name)} = {toml(each)}" for name, each in value.items() if each is not None
        )
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    # a basic string is a JSON string, but for characters beyond the basic plane, which stand for themselves in both
    return json.dumps(value, ensure_ascii=False)


def toml_key(name: str) -> str:
    """A key, in quotes where it has to be."""
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else json.dumps(name, ensure_ascii=False)
