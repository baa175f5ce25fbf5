"""Start or resumption of an experiment, with its servers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import BenchError
from bench.config.reading import checked
from bench.config.servers import Declared
from bench.experiment.described import check_unchanged, description
from bench.experiment.duet import duet_trials
from bench.experiment.duet import predicted_seconds as duet_seconds
from bench.experiment.folder import MADE_BY, Folder
from bench.experiment.plan import PlannedTrial, predicted_seconds, trials
from bench.experiment.study import Study, read_experiment
from bench.launch.kinds import check, lacking
from bench.runs.journal import DESCRIPTION


class Prepared(NamedTuple):
    """An experiment that could be run."""

    study: Study
    servers: list[Declared]
    plan: list[PlannedTrial]
    left_out: dict[str, str]
    """Servers of `servers_if_available` that are not, and what is missing."""
    overrides: dict[str, Any]
    duet: bool = False
    """Whether its two conditions are measured at the same time."""
    slice: float | None = None
    """Seconds for which each of them has all users; None: request by request."""

    def seconds(self, trials: Sequence[PlannedTrial]) -> float:
        """How long trials of it should take."""
        launch = {server.name: server.spec.predicted_launch for server in self.servers}
        predict = duet_seconds if self.duet else predicted_seconds
        return predict(trials, self.study.experiment.seconds, launch)


def prepare(
    path: Path, overrides: Mapping[str, Any], *, duet: bool = False, slice: float | None = None
) -> Prepared:
    """Read an experiment and plan it; `overrides` replace keys of the file. Raises BenchError."""
    study = overridden(read_experiment(path), overrides)
    left_out: dict[str, str] = {}
    servers = list(study.servers)
    for server in study.optional:
        reason = lacking(server)
        if reason is None:
            servers.append(server)
        else:
            left_out[server.name] = reason
    for server in servers:
        check(server)
    plan = duet_trials(study.experiment, servers, path) if duet else trials(study.experiment, servers)
    open_loads = [load.title for load in study.experiment.loads if not load.closed]
    if slice is not None and open_loads:
        raise BenchError(
            f"{path}: loads: {', '.join(open_loads)}: with --slice users wait for answers (closed); leave --slice out"
        )
    return Prepared(study, servers, plan, left_out, dict(overrides), duet, slice)


def begin(prepared: Prepared, results: Path, note: str | None) -> Folder:
    """Make the folder of a prepared experiment. Raises BenchError."""
    study = prepared.study
    name = "-".join(filter(None, (study.name, note)))
    described = description(study, prepared.plan, prepared.servers)
    left_out = {
        "left_out": prepared.left_out,
        "overrides": prepared.overrides,
        **({"duet": True} if prepared.duet else {}),
        **({"slice": prepared.slice} if prepared.slice else {}),
    }
    return Folder.create(results, name, {**described, **left_out})


def resume(
    path: Path, results: Path, read: Callable[[Path], Study] = read_experiment, verb: str = "run"
) -> tuple[Prepared, Folder]:
    """The experiment that a folder holds, or the newest one in `results` of an experiment file.

    read: the file; verb: of the command that began it. Raises BenchError where there is none, or where the files have been
    changed since it began.
    """
    folder = Folder.open(path) if path.is_dir() else _newest(path, results)
    described = folder.description
    if described["file"] in map(str, MADE_BY):
        raise BenchError(
            f"{folder.path}: made by {described['file']}, without a file to continue from; run {described['file']} again"
        )
    began = "tune" if "space" in described.get("experiment", {}) else "run"
    if began != verb:
        raise BenchError(
            f"{folder.path}: begun by bench {began}; continue with: bench {began} {folder.path} --resume"
        )
    study = overridden(read(Path(described["file"])), described["overrides"])
    known = {server.name: server for server in (*study.servers, *study.optional)}
    check_unchanged(described, study, known, folder.path)
    servers = [known[name] for name in described["servers"]]
    return Prepared(
        study,
        servers,
        folder.trials,
        described["left_out"],
        described["overrides"],
        bool(described.get("duet")),
    ), folder


def overridden(study: Study, overrides: Mapping[str, Any]) -> Study:
    """The study with some keys of its file replaced. Raises BenchError."""
    if not overrides:
        return study
    whole = study.experiment.model_dump(exclude_unset=True) | dict(overrides)
    return study._replace(experiment=checked(type(study.experiment), whole, study.file))


def _newest(path: Path, results: Path) -> Folder:
    study_file = path.resolve()
    folders = []
    for candidate in sorted(results.glob(f"*/{DESCRIPTION}"), reverse=True):
        folder = Folder.open(candidate.parent)
        if Path(folder.description["file"]).resolve() == study_file:
            folders.append(folder)
    if not folders:
        raise BenchError(f"{results}: holds no run of {path} to continue; start without --resume")
    return folders[0]
