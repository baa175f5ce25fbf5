"""What the package brings for users to run: scenarios, experiments, a starting set, completion."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bench import packaged
from bench.cli import VERBS
from bench.experiment.study import read_experiment
from tests.cli.inside import bench, process


def test_scenarios_are_listed_with_their_questions(tmp_path: Path) -> None:
    listed = bench("scenario", cwd=tmp_path)
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert (listed.returncode, names) == (0, sorted(path.stem for path in packaged.SCENARIOS.glob("*.py")))
    assert "How fast does a server classify digits when each user waits" in listed.stdout


def test_locust_runs_a_scenario_wherever_it_is_started(tmp_path: Path) -> None:
    done = process("scenario", "mnist", "--list", cwd=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["Available", "Users:", "Mnist"]), done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["scenario", "mnits"],
            "mnits: no scenario of this package; did you mean mnist? (your own file ends in .py)",
        ),
        (["scenario", "../x"], "../x: no scenario of this package; there are batch_sizes, grpc_vs_rest, "),
        (
            ["scenario", "mnist", "-f", "x.py"],
            "scenario mnist is the locustfile; name your own file in its place",
        ),
        (["scenario", "mnist.py"], "mnist.py: no such file"),
        (["run", "scenarios/nothing.toml"], "Path 'scenarios/nothing.toml' does not exist."),
        (["reprot"], "No such command 'reprot'. (Did you mean one of: 'export', 'plot', 'report'?)"),
        (["report", "--htm"], "No such option '--htm'. Did you mean '--html'?"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'."),
    ],
)
def test_a_name_that_is_not_known_gets_a_line(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    done = bench(*arguments, cwd=tmp_path)
    assert (done.returncode, complaint in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("name", ["batch_sizes", "scenarios/experiments/batch_sizes.toml"])
def test_an_experiment_of_the_package_is_found(name: str, tmp_path: Path) -> None:
    planned = bench("run", name, "--dry-run", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "batch_sizes: 45 trials" in planned.stdout


def test_a_file_of_the_user_comes_before_that_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("scenarios/mnist.toml")
    assert packaged.resolved(path) == packaged.SCENARIOS / "mnist.toml"
    path.parent.mkdir()
    path.touch()
    assert packaged.resolved(path) == path
    Path("versions").mkdir()
    assert packaged.resolved(Path("versions")) == Path("versions")


def test_a_file_of_the_user_is_a_scenario_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    assert packaged.scenario(str(tmp_path / "mine.py")) == tmp_path / "mine.py"


def test_an_experiment_names_a_scenario_of_the_package_unless_a_file_is_called_so(tmp_path: Path) -> None:
    assert packaged.locustfile(tmp_path, "mnist") == packaged.SCENARIOS / "mnist.py"
    for name in ("mnits", "../mnist", "mnist.py"):
        assert packaged.locustfile(tmp_path, name) == (tmp_path / name).resolve()
    (tmp_path / "mnist").touch()
    assert packaged.locustfile(tmp_path, "mnist") == tmp_path / "mnist"
    experiment = tmp_path / "e.toml"
    experiment.write_text('scenario = "model"\nservers = ["s"]\nloads = [{ users = 1 }]\n')
    (tmp_path / "servers.toml").write_text('[servers.s]\nkind = "remote"\naddress = "127.0.0.1:1"\n')
    assert read_experiment(experiment).scenario == packaged.SCENARIOS / "model.py"


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_starting_set_overwrites_nothing(tmp_path: Path) -> None:
    names = sorted(path.name for path in packaged.starting_set())
    assert names == [
        "experiment.limits.toml",
        "experiment.toml",
        "gate.sh",
        "nightly.sh",
        "scenario.py",
        "servers.toml",
        "tune.toml",
    ]
    done = bench("init", "new/folder", cwd=tmp_path)
    folder = tmp_path / "new/folder"
    assert (done.returncode, listing(folder)) == (0, sorted([*names, "schemas"]))
    schemas = {
        path: (folder / path.read_text().partition("#:schema ")[2].partition("\n")[0]).resolve()
        for path in folder.glob("*.toml")
    }
    assert sorted(schemas.values()) == sorted((folder / "schemas").resolve().iterdir())
    for path, schema in schemas.items():
        Draft202012Validator(json.loads(schema.read_text())).validate(tomllib.loads(path.read_text()))
    (tmp_path / "servers.toml").write_text("mine")
    done = bench("init", cwd=tmp_path)
    complaint = "servers.toml: exists; nothing was written: name another folder, or remove the file"
    assert (done.returncode, done.stderr) == (2, f"bench: {complaint}\n")
    assert listing(tmp_path) == ["new", "servers.toml"]
    assert (tmp_path / "servers.toml").read_text() == "mine"
    done = bench("init", "servers.toml", cwd=tmp_path)
    assert done.returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_asks_bench(shell: str, tmp_path: Path) -> None:
    script = bench("completion", shell, cwd=tmp_path)
    assert (script.returncode, "_BENCH_COMPLETE" in script.stdout) == (0, True), script.stderr


def completions(*words: str) -> set[str]:
    asked = {
        "_BENCH_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("bench", *words)),
        "COMP_CWORD": str(len(words)),
    }
    command = [sys.executable, "-m", "bench"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    return {line.removeprefix("plain,") for line in done.stdout.splitlines()}


def test_verbs_options_and_scenarios_are_completed() -> None:
    assert completions("re") == {verb for verb in VERBS if verb.startswith("re")}
    assert completions("report", "--h") == {"--html", "--help"}
    assert completions("scenario", "mnist_") == {"mnist_open"}
