"""The description of an experiment in its folder, and the comparison with the experiment when it is resumed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.config.reading import checked
from bench.config.servers import Declared
from bench.experiment.folder import MADE_BY
from bench.experiment.plan import PlannedTrial
from bench.experiment.study import Study
from bench.load.site import tree_hash

_SHOWN_VARIABLES: Final = ("TF_", "XLA_", "OMP_", "KMP_", "MKL_", "CUDA_", "NVIDIA_", "MALLOC_", "LD_PRELOAD")
"""Environment variables that decide how fast a server is are recorded; others may hold secrets."""
_ABSENT: Final = object()


def description(study: Study, plan: Sequence[PlannedTrial], servers: Sequence[Declared]) -> dict[str, Any]:
    """The experiment with the checksums of the files that it names, its servers and its plan. Holds no secret."""
    return {
        "file": str(study.file if study.file in MADE_BY else study.file.absolute()),
        "experiment": study.experiment.model_dump(mode="json"),
        "scenario": str(study.scenario),
        "files": file_hashes(study),
        "seed": study.experiment.seed,
        "servers": {server.name: _plain(server) for server in servers},
        "plan": [trial.plain() for trial in plan],
    }


def file_hashes(study: Study) -> dict[str, str]:
    """SHA-256 of the scenario and of the files that its options name, by the keys that name them."""
    named = {"scenario": study.scenario} | {
        f"options.{name}": Path(value)
        for name, value in study.experiment.options.items()
        if isinstance(value, str) and value
    }
    return {
        key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in named.items() if path.is_file()
    }


def model_hashes(path: Path, versions: Sequence[int]) -> dict[str, str]:
    """SHA-256 of the files of a model's versions, by version; none named: of the highest one."""
    folders = sorted((p for p in path.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    chosen = [p for p in folders if int(p.name) in versions] if versions else folders[-1:]
    return {p.name: tree_hash(p) for p in chosen}


def check_unchanged(
    described: Mapping[str, Any], study: Study, servers: Mapping[str, Declared], folder: Path
) -> None:
    """Raises BenchError, which names the key, where trials of an experiment as it is now cannot stand beside those of a folder.

    servers: all of the experiment, by name.
    """
    table = type(study.experiment)
    # what a newer version has added gets its default
    before = checked(table, described["experiment"], folder).model_dump(mode="json")
    places: list[tuple[object, str, Any, Any]] = [
        (study.file, "", before, study.experiment.model_dump(mode="json")),
        *(
            (
                study.file.parent / study.experiment.servers_file,
                f"servers.{name}",
                then,
                _plain(servers[name]) if name in servers else _ABSENT,
            )
            for name, then in described["servers"].items()
        ),
    ]
    for file, where, then, now in places:
        unlike = _difference(then, now, where)
        if unlike is not None:
            key, was, is_now = unlike
            raise _refused(f"{file}: {key} is {_shown(is_now)} and was {_shown(was)} when {folder} was begun")
    check_files(described, study, folder)


def check_files(described: Mapping[str, Any], study: Study, folder: Path) -> None:
    """Raises BenchError where the scenario, or a file that its options name, is another one than when an experiment was begun."""
    files = file_hashes(study)
    for key, before in described.get("files", {}).items():
        path = study.scenario if key == "scenario" else study.experiment.options[key.partition(".")[2]]
        if key not in files:
            raise BenchError(
                f"{path} ({key}): no such file seen from {Path.cwd()}; continue where {folder} was begun, or put it back"
            )
        if files[key] != before:
            raise _refused(f"{path} ({key}): changed since {folder} was begun")


def check_models(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]], folder: Path
) -> None:
    """Raises BenchError where the models of an experiment are others than when it was begun.

    Of both by name: SHA-256 of the files of each version, by version.
    """
    for name, versions in before.items():
        unlike = _difference(versions, now.get(name, {}), "")
        if unlike is not None:
            reason = "changed" if _ABSENT not in unlike else "is not the one that is served any more"
            raise _refused(f"models.{name}: version {unlike[0]} {reason} since {folder} was begun")


def _refused(reason: str) -> BenchError:
    return BenchError(f"{reason}; undo that, or start over without --resume")


def shown_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables of a server, without the values that may be secrets."""
    return {
        name: value if name.startswith(_SHOWN_VARIABLES) else "(set)" for name, value in variables.items()
    }


def _plain(server: Declared) -> dict[str, Any]:
    settings = server.spec.model_dump(mode="json", exclude_unset=True)
    if "environment" in settings:
        settings["environment"] = shown_environment(settings["environment"])
    return settings


def _difference(before: Any, now: Any, key: str) -> tuple[str, Any, Any] | None:
    """The first key in which two tables differ, with both values; None: they are equal."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*before, *now)):
            path = f"{key}.{name}" if key else str(name)
            unlike = _difference(before.get(name, _ABSENT), now.get(name, _ABSENT), path)
            if unlike is not None:
                return unlike
        return None
    return None if before == now else (key, before, now)


def _shown(value: Any) -> str:
    return "not there" if value is _ABSENT else json.dumps(value)
