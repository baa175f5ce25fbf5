"""Ways to make a gate pass wrongly: each of them must end with 1 (FAIL), 2 (bad input) or 3 (inconclusive).

A case is one entry of CASES. `Checkout` makes run folders, baselines and experiments from runs recorded once.
"""

import itertools
import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import checksums
from bench.chunk import Chunk
from tests.cli.inside import bench, process
from tests.recorded import edit, requests, write

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


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of each kind."""
    root = tmp_path_factory.mktemp("recorded")
    for kind, how in KINDS.items():
        for number in range(3):
            chunks = [
                Chunk.of(
                    **requests(
                        10 * number + second, count=RATE, rate=RATE, start=float(second),
                        **{"service": 0.002 * (1 + 0.002 * number)} | how,
                    ),
                    keep_samples=False,
                )
                for second in range(SECONDS)
            ]  # fmt: skip
            write(root / kind, chunks, note=f"t{number}", **MANIFEST)
    return root


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


CASES: dict[str, tuple[Callable[[Checkout], list[str]], int, str]] = {
    # worse is worse
    "slower than the baseline": (replaced("slow"), 1, "FAIL"),
    "slower than the committed baseline": (against_the_committed, 1, "FAIL"),
    "slower than allowed": (typed("new", "--limits", "absolute.toml", new="slow"), 1, "FAIL"),
    # failed trials
    "half of the trials crashed": (tried(("fine", "half failed")), 1, "of 3 trials failed: signal 11"),
    "one server of two crashed": (tried(("fine", "good"), ("bad", "half failed")), 1, "1 of 3 trials failed"),
    "a declared server never started": (tried(("fine", "good"), ("bad", "failed")), 1, "3 of 3 trials failed"),
    "no server started": (tried(("bad", "failed")), 1, "3 of 3 trials failed"),
    "the measured runs of a crashing server, one by one": (by_its_runs, 1, "1 of 3 trials failed"),
    "a run that was set aside as failed": (set_aside, 1, "3 of 3 trials failed"),
    "run again until it did not crash": (run_again, 1, "signal 11"),
    "every request failed": (typed("new", "--limits", "absolute.toml", new="failing"), 1, "every request failed"),
    "every request of one trial failed": (
        typed("new", "more", "--limits", "absolute.toml", more="failing"), 1, "3 of 6 trials failed"),
    "more failed than are allowed": (
        lambda p: (
            p.experiment("new", ("fine", "half failed")),
            (p.path / "own.toml").write_text('failed_trials = "30 %"\n[limits]\np50_ms = 3\n'),
            ["new", "--limits", "own.toml"],
        )[-1], 1, "1 of 3 trials failed"),
    "the baseline crashed": (
        lambda p: (
            p.experiment("base", ("fine", "half failed")),
            p.experiment("new", ("fine", "good")),
            ["new", "--baseline", "base", "--limits", "relative.toml"],
        )[-1], 3, "[failed trials]"),
    "a planned server was never run": (tried(("fine", "good"), ("other", "not run")), 3, "[missing cells]"),
    # calls that the load generator cancelled: nobody knows what would have become of them
    **{
        f"cancelled calls, with a limit on {limit}": (limited(f"[limits]\n{limit}\n", "cancelled"), 3, "[cancelled]")
        for limit in (
            "error_share = 0.1", "error_share = 0", "requests_per_second = 50", "accuracy = 0.5",
            "mismatch_share = 0.1", "p50_ms = 900",
        )
    },
    # missing cells and limits
    "a cell of the baseline is missing": (
        lambda p: (
            p.runs("base", "batch"),
            typed("new", "--baseline", "base", "--limits", "relative.toml")(p),
        )[-1], 3, "[missing cells]"),
    "a cell of the committed baseline is missing": (the_committed_cells, 3, "[missing cells]"),
    "one of two requests is missing": (
        typed("new", "--baseline", "base", "--limits", "relative.toml", base="two requests"), 3, "Classify"),
    "a limit has no cell": (limited("[[cells]]\nbatch = 512\nlimits = { p50_ms = 9 }\n"), 3, "no cell"),
    "a limit has no metric": (limited("[limits]\nrecovery_seconds_s = 9\n", "good"), 3, "not measured"),
    "a baseline of something else, with absolute limits only": (
        typed("new", "--baseline", "base", "--limits", "absolute.toml", base="batch"), 2, "batch: 32 and 1"),
    # apples and oranges
    "another rate": (replaced(load={"kind": "constant", "rate": 500.0}), 2, "load"),
    "other users": (replaced(load={"users": 4}), 2, "load"),
    "another batch size": (replaced("batch"), 2, "batch: 1 and 32"),
    "another request": (replaced("request"), 2, "request: Predict and Classify"),
    "another scenario": (replaced(scenario="mnist_open"), 2, "scenario: mnist and mnist_open"),
    "another model": (replaced(model={"sha256": "9" * 64}), 2, "model files"),
    "another payload": (
        replaced(payload={"PredictUser": {"sha256": "9" * 64, "messages": 100, "batch": 1}}), 2, "payload"),
    "a smaller payload": (
        replaced(payload={"PredictUser": {"sha256": "2" * 64, "messages": 1, "batch": 1}}), 2, "payload.messages"),
    "more connections": (replaced(load={"connections": 8}), 2, "load.connections: 1 and 8"),
    "a longer request timeout": (replaced(load={"deadline": 99.0}), 2, "load.deadline"),
    "a longer run": (replaced(load={"run_time": 60}), 2, "load.run_time"),
    "other options of the scenario": (replaced(options={"pool": "1"}), 2, "options.pool"),
    "another warm-up": (replaced(warmup={"rule": "given", "seconds": 3.0}), 2, "warm-up"),
    "other flags of the server": (
        lambda p: (
            p.runs("base", target=MANIFEST["target"] | {"flags": "--fast"}),
            p.runs("new", target=MANIFEST["target"] | {"flags": "--slow"}),
            ["new", "--baseline", "base", "--limits", "relative.toml"],
        )[-1], 2, "server flags: --fast and --slow"),
    "flags of the server that are not known of the baseline": (
        replaced(target={"flags": "--slow"}), 3, "server flags differs"),
    "another commit and another version": (
        replaced("version", git={"commit": "b" * 40}), 2, "--by version --by commit"),
    "declared is something else": (
        lambda p: [*replaced("batch")(p), "--by", "version"], 2, "batch: 1 and 32"),
    "another machine": (replaced(machine={"cpu_model": "B"}), 3, "CPU differs"),
    # no new measurement
    "the baseline itself": (typed("base", "--baseline", "base", "--limits", "relative.toml"), 2, "same run"),
    "the committed baseline's own runs": (the_committed_itself, 2, "same run"),
    "one run copied four times": (copied, 2, "same run"),
    "one run linked": (linked, 2, "same run"),
    "a run of the baseline among the candidate's": (copied_from_the_baseline, 2, "same run"),
    "a copy of a run from before there were ids": (copied_of_before_ids, 2, "same run"),
    # mixtures
    "an older good commit beside the new one": (
        lambda p: mixed(p, git={"commit": "b" * 40}), 2, "--latest"),
    "another model beside": (lambda p: mixed(p, model={"sha256": "9" * 64}), 2, "model files"),
    "another payload beside": (
        lambda p: mixed(p, payload={"PredictUser": {"sha256": "9" * 64, "messages": 100, "batch": 1}}), 2, "payload"),
    "another machine beside": (lambda p: mixed(p, machine={"cpu_model": "B"}), 3, "CPU differs between its runs"),
    "the slow one is the newest": (
        lambda p: [*mixed(p, git={"commit": "b" * 40}, started="2030-01-01T00:00:00+00:00"), "--latest"],
        3, "left out: 3 of 4 trials, with --latest"),
    "a commit that there is not": (lambda p: [*mixed(p), "--commit", "cccc"], 2, "no run is of it"),
    # silent loss
    "slow runs two folders deeper": (deeper, 3, "inconclusive"),
    "an empty folder among the runs": (an_empty_folder, 3, "[unreadable]"),
    "an empty folder beside the runs": (an_empty_path, 3, "[unreadable]"),
    "a run of the experiment is deleted": (without_a_run, 3, "its run is not there"),
    "measured runs moved out of an experiment": (moved_out, 3, "whether others failed is not known"),
    "the journal of the experiment is deleted": (without_a_journal, 3, "whether trials failed is not known"),
    "slow trials without a partner": (unpaired, 3, "[unpaired trials]"),
    # damaged and edited
    "a warm-up edited in": (absolute(warm_up), 2, "warm-up: 3 s, by rule"),
    "a manifest edited": (absolute(rewritten("manifest.json", lambda t: t + " ")), 3, "manifest.json changed;"),
    "lines taken out of the histograms": (
        absolute(rewritten("histograms.hlog", without_lines)), 3, "[files changed]"),
    "lines taken out of the counts": (absolute(rewritten("counts.jsonl", without_lines)), 3, "[files changed]"),
    "the checksums taken away": (absolute(lambda run: (run / checksums.FILE).unlink()), 3, "[files changed]"),
    "telemetry put in": (absolute(lambda run: (run / "telemetry.jsonl").write_text("")), 3, "[files changed]"),
    "the manifest taken away": (absolute(lambda run: (run / "manifest.json").unlink()), 3, "[unreadable]"),
    "all but the telemetry taken away": (
        absolute(lambda run: [(run / "telemetry.jsonl").touch(), *(f.unlink() for f in run.iterdir() if f.stem != "telemetry")]),
        3, "[unreadable]"),
    "not finished": (absolute(lambda run: edit(run, state="running")), 3, "[unfinished]"),
    "interrupted": (absolute(lambda run: edit(run, state="interrupted")), 3, "[interrupted]"),
    "changed, then taken as the baseline": (damaged_then_committed, 3, "[files changed]"),
    "a warning": (absolute(noted("client saturated")), 3, "[client saturated]"),
    "a warning of another name is accepted": (
        absolute(noted("behind"), 'accept = ["client saturated"]\n[limits]\np50_ms = 9\n'), 3, "[behind]"),
    # units, names and usage
    "5 for 5 %": (limited("[worse_than_baseline]\np50 = 5\n"), 2, "allows 500%"),
    "1 for 1 %": (limited("[worse_than_baseline]\np50 = 1\n"), 2, "allows 100%"),
    "all may fail": (limited("[limits]\nerror_share = 1\n", "some errors"), 2, 'write "1 %" or "100 %"'),
    "no rate at all is enough": (limited("[limits]\nrequests_per_second = 0\n"), 2, "every run keeps that"),
    "all trials may fail": (limited("failed_trials = 1\n[limits]\np50_ms = 9\n"), 2, "a share below 1"),
    "a name that no warning has": (limited('accept = ["slow"]\n[limits]\np50_ms = 9\n'), 2, "no warning has"),
    "no limit": (limited("accept = []\n"), 2, "no limit in it"),
    "a unit of something else": (limited('[limits]\np50_ms = "300 %"\n'), 2, "is no share"),
    "--by without a baseline": (typed("new", "--limits", "absolute.toml", "--by", "version"), 2, "no baseline"),
    "--budget without --run": (typed("new", "--limits", "absolute.toml", "--budget", "5"), 2, "goes with --run"),
    "a baseline that is not there": (typed("new", "--baseline", "none", "--limits", "relative.toml"), 2, "none"),
    "an empty baseline": (
        lambda p: ((p.path / "none").mkdir(), typed("new", "--baseline", "none", "--limits", "relative.toml")(p))[1],
        2, "needs a baseline"),
    "a path that is not there, beside good ones": (
        typed("new", "nowhere", "--limits", "absolute.toml"), 3, "nowhere: does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_no_gate_passes_wrongly(name: str, tmp_path: Path, recorded: Path) -> None:
    make, code, text = CASES[name]
    done = bench("gate", *make(Checkout(tmp_path, recorded)), cwd=tmp_path)
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, shown
    assert text in shown


def test_there_are_enough_cases_and_none_may_pass() -> None:
    assert len(CASES) >= 40
    assert {code for _, code, _ in CASES.values()} <= {1, 2, 3}


@pytest.mark.parametrize(
    "make",
    [
        replaced(),
        replaced(git={"commit": "b" * 40}),
        replaced("version"),
        typed("new", "--limits", "absolute.toml"),
        tried(("fine", "good"), ("other", "good")),
        lambda p: [*replaced("version", git={"commit": "b" * 40})(p), "--by", "version", "--by", "commit"],
        lambda p: committed(p, str(p.runs("new")[0].parent.relative_to(p.path))),
        lambda p: [
            *[
                p.runs("new"),
                p.runs("new", "slow", git={"commit": "b" * 40}),
                ["new", "--limits", "absolute.toml"],
            ][-1],
            "--commit",
            "aaaa",
        ],
        lambda p: (
            p.experiment("new", ("fine", "half failed")),
            (p.path / "own.toml").write_text('failed_trials = "40 %"\n[limits]\np50_ms = 3\n'),
            ["new", "--limits", "own.toml"],
        )[-1],
    ],
)
def test_what_is_right_passes(make: Callable[[Checkout], list[str]], tmp_path: Path, recorded: Path) -> None:
    """The same checkouts without the fault: a suite of which everything fails would show nothing."""
    done = bench("gate", *make(Checkout(tmp_path, recorded)), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("kind", "code"), [("good", 0), ("slow", 1)])
def test_a_reader_that_leaves_changes_no_verdict(
    kind: str, code: int, tmp_path: Path, recorded: Path
) -> None:
    import os
    import subprocess
    import sys

    Checkout(tmp_path, recorded).runs("new", kind)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "bench", "gate", "new", "--limits", "absolute.toml"]
    done = subprocess.run(command, stdout=writing, stderr=writing, cwd=tmp_path, check=False, timeout=120)
    os.close(writing)
    assert done.returncode == code


def test_a_crash_within_a_gate_is_no_verdict(
    tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Checkout(tmp_path, recorded).runs("new")
    monkeypatch.setattr("bench.analysis.gate.judge_absolute", lambda *_: 1 // 0)
    assert bench("gate", "new", "--limits", "absolute.toml", cwd=tmp_path).returncode == 70
    assert process("gate", "nowhere", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize("form", ["--json", "--markdown"])
def test_comparisons_list_what_gave_no_trial(form: str, tmp_path: Path, recorded: Path) -> None:
    """In every form: a table in a pull request has no standard error beside it."""
    place = Checkout(tmp_path, recorded)
    place.runs("base")
    place.experiment("new", ("fine", "half failed"), ("other", "not run"))
    (place.runs("new", count=1)[0] / "manifest.json").unlink()
    done = bench("compare", "base", "new", "--by", "server", form, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split()).replace("\\", "")
    assert "signal 11" in shown and "not run" in shown and "manifest.json" in shown
    told = bench("history", "base", "new", cwd=tmp_path).stderr
    assert "signal 11" in told and "not run" in told and "manifest.json" in told
