"""Folders with measurements in which something is wrong, and the command line of a gate that is to notice it."""

import itertools
import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.inside import bench
from tests.recorded import edit

SECONDS, RATE = 6, 200
MANIFEST: dict[str, Any] = {
    "git": {"commit": "a" * 40, "dirty": False},
    "model": {"sha256": "1" * 64},
    "payload": {"PredictUser": {"sha256": "2" * 64, "messages": 100, "bytes": 900, "batch": 1}},
    "machine": {"cpu_model": "A", "cores": 2, "packages": {"grpcio": "1.0"}},
    "load": {
        "kind": "closed",
        "users": 16,
        "run_time": SECONDS,
        "deadline": 10.0,
        "connections": 1,
        "batch": 1,
    },
    "options": {"pool": "100"},
    "target": {"kind": "embedded", "model": "mnist", "version": 2},
}
KINDS: dict[str, dict[str, Any]] = {
    "good": {},
    "slow": {"service": 0.004},
    "version": {"version": 3},
    "batch": {"batch": 32},
    "request": {"names": ("Classify",)},
    "failing": {"errors": 1.0},
    "some errors": {"errors": 0.05},
    "cancelled": {"cancelled": 0.3},
    "two requests": {"names": ("Predict", "Classify")},
}
LIMITS = {
    "relative.toml": '[worse_than_baseline]\np50 = "10 %"\n',
    "absolute.toml": "[limits]\np50_ms = 3\n",
    "both.toml": '[limits]\np50_ms = 9\n[worse_than_baseline]\np50 = "10 %"\n',
}


class Checkout:
    """A folder with limits files, into which measurements are put."""

    def __init__(self, path: Path, recorded: Path) -> None:
        self.path, self._recorded = path, recorded
        for name, text in LIMITS.items():
            (path / name).write_text(text)

    def runs(self, folder: str, kind: str = "good", count: int = 3, **manifest: Any) -> list[Path]:
        """New measurements: copies with ids of their own. manifest: replaces keys; dictionaries are added to."""
        made = []
        for source in sorted((self._recorded / kind).iterdir())[:count]:
            target = self.path / folder / f"{source.name}-{kind}-{secrets.token_hex(2)}".replace(" ", "-")
            shutil.copytree(source, target)
            whole = {
                key: {**MANIFEST[key], **value} if isinstance(MANIFEST.get(key), dict) else value
                for key, value in manifest.items()
            }
            pid = secrets.randbelow(2**22)  # each its own start of the server
            server = {**MANIFEST["target"], **whole.pop("target", {}), "pid": pid}
            edit(target, run_id=secrets.token_hex(16), target=server, **whole)
            made.append(target)
        return made

    def experiment(self, folder: str, *trials: tuple[str, str], blocks: int = 3, **manifest: Any) -> Path:
        """An experiment in blocks. trials: server and kind of each of its trials; `failed` and `not run` are none."""
        place = self.path / folder
        place.mkdir(parents=True)
        plan, ended = [], []
        for number, (block, (server, kind)) in enumerate(itertools.product(range(blocks), trials), 1):
            cell = {
                "server": server,
                "build": server,
                "model": "mnist",
                "version": 2,
                "batch": 1,
                "load": "16 users",
            }
            plan.append({"block": block, "number": number, "seed": block, "cell": cell})
            if kind == "failed" or (kind.startswith("half") and block % 2):
                ended.append({"number": number, "outcome": "failed", "reason": "signal 11", "folder": None})
            elif kind != "not run" and not (kind == "cut" and block == blocks - 1):
                source = "good" if kind in ("half failed", "cut") else kind
                said = {"name": folder, "cell": cell, "block": block, "trial": number}
                (run,) = self.runs(folder, source, 1, experiment=said, **manifest)
                ended.append({"number": number, "outcome": "measured", "reason": None, "folder": run.name})
        said = {"schema": 1, "plan": plan, "scenario": "scenarios/mnist.py"}
        (place / "experiment.json").write_text(json.dumps(said))
        (place / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ended))
        return place


def replaced(kind: str = "good", count: int = 3, **manifest: Any) -> Callable[[Checkout], list[str]]:
    """A good baseline and a candidate of another kind, or under other conditions."""

    def make(place: Checkout) -> list[str]:
        place.runs("base")
        place.runs("new", kind, count, **manifest)
        return ["new", "--baseline", "base", "--limits", "relative.toml"]

    return make


def absolute(
    damage: Callable[[Path], object], limits: str = "[limits]\np50_ms = 3\n"
) -> Callable[..., list[str]]:
    """Good runs, of which one is changed afterwards."""

    def make(place: Checkout) -> list[str]:
        runs = place.runs("new")
        damage(runs[0])
        (place.path / "own.toml").write_text(limits)
        return ["new", "--limits", "own.toml"]

    return make


def limited(text: str, kind: str = "slow") -> Callable[[Checkout], list[str]]:
    """Runs that are worse, with a limits file that was meant to notice."""

    def make(place: Checkout) -> list[str]:
        place.runs("base")
        place.runs("new", kind)
        (place.path / "own.toml").write_text(text)
        return ["new", "--baseline", "base", "--limits", "own.toml"]

    return make


def typed(*arguments: str, **folders: str) -> Callable[[Checkout], list[str]]:
    """A command line beside good runs `base` and `new`, and those of other kinds."""

    def make(place: Checkout) -> list[str]:
        for folder, kind in {"base": "good", "new": "good", **folders}.items():
            place.runs(folder, kind)
        return list(arguments)

    return make


def tried(*trials: tuple[str, str], limits: str = "absolute.toml", path: str = "new", **how: Any) -> Any:
    """An experiment as the candidate."""

    def make(place: Checkout) -> list[str]:
        place.experiment("new", *trials, **how)
        return [path, "--limits", limits]

    return make


def copied(place: Checkout) -> list[str]:
    (run,) = place.runs("new", count=1)
    for number in range(3):
        shutil.copytree(run, place.path / "new" / f"2026-copy-{number}")
    return ["new", "--limits", "absolute.toml"]


def linked(place: Checkout) -> list[str]:
    (run,) = place.runs("new", count=1)
    (place.path / "new" / "again").symlink_to(run)
    return ["new", "--limits", "absolute.toml"]


def copied_from_the_baseline(place: Checkout) -> list[str]:
    (run, *_) = place.runs("base")
    place.runs("new")
    shutil.copytree(run, place.path / "new" / "renamed")
    return ["new", "--baseline", "base", "--limits", "relative.toml"]


def copied_of_before_ids(place: Checkout) -> list[str]:
    (run,) = place.runs("new", count=1)
    edit(run, run_id=None)
    shutil.copytree(run, place.path / "new" / "renamed")
    return ["new", "--limits", "absolute.toml"]


def committed(place: Checkout, *more: str) -> list[str]:
    place.runs("base")
    assert bench("baseline", "set", "base", cwd=place.path).returncode == 0
    return [*more, "--limits", "relative.toml"]


def against_the_committed(place: Checkout) -> list[str]:
    place.runs("new", "slow")
    return committed(place, "new")


def the_committed_itself(place: Checkout) -> list[str]:
    return committed(place, "base")


def the_committed_cells(place: Checkout) -> list[str]:
    place.runs("base", "batch")
    place.runs("new")
    return committed(place, "new")


def damaged_then_committed(place: Checkout) -> list[str]:
    (run, *_) = place.runs("base", "slow")
    place.runs("new", "slow")
    with (run / "histograms.hlog").open("a") as file:
        file.write("# edited\n")
    accepted = ["--accept", "files changed"]
    assert bench("baseline", "set", "base", cwd=place.path).returncode == 3
    assert bench("baseline", "set", "base", *accepted, cwd=place.path).returncode == 0
    return ["new", "--limits", "relative.toml"]


def mixed(place: Checkout, **manifest: Any) -> list[str]:
    place.runs("base")
    place.runs("new")
    place.runs("new", "slow", 1, **manifest)
    return ["new", "--baseline", "base", "--limits", "relative.toml"]


def deeper(place: Checkout) -> list[str]:
    place.runs("new")
    place.runs("new/more/below", "slow")
    return ["new", "--limits", "absolute.toml"]


def an_empty_folder(place: Checkout) -> list[str]:
    place.runs("new")
    (place.path / "new" / "2026-lost").mkdir()
    return ["new", "--limits", "absolute.toml"]


def an_empty_path(place: Checkout) -> list[str]:
    place.runs("new")
    (place.path / "empty").mkdir()
    return ["new", "empty", "--limits", "absolute.toml"]


def by_its_runs(place: Checkout) -> list[str]:
    folder = place.experiment("new", ("fine", "good"), ("crashing", "half failed"))
    runs = sorted(path for path in folder.iterdir() if path.is_dir())
    return [*(str(run.relative_to(place.path)) for run in runs), "--limits", "absolute.toml"]


def set_aside(place: Checkout) -> list[str]:
    folder = place.experiment("new", ("fine", "good"), ("crashing", "failed"))
    (run,) = place.runs("new/failed", count=1)
    plan = json.loads((folder / "experiment.json").read_text())["plan"]
    edit(run, experiment={"name": "new", "cell": plan[1]["cell"], "block": 0, "trial": 2})
    return [f"new/failed/{run.name}", "--limits", "absolute.toml"]


def run_again(place: Checkout) -> list[str]:
    """A trial that failed, and was run until it did not."""
    folder = place.experiment("new", ("fine", "good"))
    journal = folder / "trials.jsonl"
    crash = json.dumps({"number": 1, "outcome": "failed", "reason": "signal 11", "folder": None}) + "\n"
    journal.write_text(crash + journal.read_text())
    return ["new", "--limits", "absolute.toml"]


def without_a_run(place: Checkout) -> list[str]:
    """The slow trial of an experiment is deleted."""
    folder = place.experiment("new", ("fine", "good"), ("other", "good"))
    shutil.rmtree(min(path for path in folder.iterdir() if path.is_dir()))
    return ["new", "--limits", "absolute.toml"]


def without_a_journal(place: Checkout) -> list[str]:
    (place.experiment("new", ("fine", "half failed")) / "trials.jsonl").unlink()
    return ["new", "--limits", "absolute.toml"]


def moved_out(place: Checkout) -> list[str]:
    """The runs of a crashing server, without what tells that it crashed."""
    folder = place.experiment("old", ("fine", "half failed"))
    (place.path / "new").mkdir()
    for run in [path for path in folder.iterdir() if path.is_dir()]:
        run.rename(place.path / "new" / run.name)
    return ["new", "--limits", "absolute.toml"]


def unpaired(place: Checkout) -> list[str]:
    folder = place.experiment("new", ("a", "good"), ("b", "good"))
    for block in (7, 8, 9):
        cell = {"server": "b", "build": "b", "model": "mnist", "version": 2, "batch": 1, "load": "16 users"}
        place.runs("new", "slow", 1, experiment={"name": "new", "cell": cell, "block": block, "trial": block})
    sides: dict[str, list[str]] = {"a": [], "b": []}
    for manifest in sorted(folder.glob("*/manifest.json")):
        server = json.loads(manifest.read_text())["experiment"]["cell"]["server"]
        sides[server].append(str(manifest.parent.relative_to(place.path)))
    base = place.path / "base"
    base.mkdir()
    for run in sides["a"]:
        (base / Path(run).name).symlink_to(place.path / run)
    return [*sides["b"], "--baseline", "base", "--limits", "relative.toml"]


def rewritten(name: str, change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text(change((run / name).read_text()))


def without_lines(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[:-6] if len(lines) > 12 else lines[:-1])


def warm_up(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"warmup": {"rule": "given", "seconds": 3}}))


def noted(check: str) -> Callable[[Path], None]:
    return lambda run: edit(run, doubts=[{"check": check, "reason": "something", "remedy": "another"}])
