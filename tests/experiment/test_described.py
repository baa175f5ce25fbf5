"""An experiment is resumed with what it began with: its keys, servers, scenario, files and models."""

import json
import re
import shutil
from pathlib import Path

import pytest

from bench import BenchError
from bench.cli.run_display import Lines
from bench.experiment.beginning import begin, prepare, resume
from bench.experiment.folder import Folder
from bench.experiment.plan import PlannedTrial
from bench.experiment.runner import Runner
from bench.experiment.trial import Local
from bench.runs.journal import Ended
from tests.experiment.experiments import ROOT, write


@pytest.mark.parametrize(
    ("file", "before", "now", "told"),
    [
        ("small.toml", "users = 2", "users = 3", "small.toml: loads is"),
        ("small.toml", "connections = 4", "connections = 2", "options.connections is 2 and was 4 when"),
        ("small.toml", "seconds = 1", "seconds = 1\nseed = 2", "seed is 2 and was 1 when"),
        (
            "servers.toml",
            "constant(4ms)",
            "constant(5ms)",
            "servers.toml: servers.quick.flags.service_time is",
        ),
        ("servers.toml", "servers.pair", "servers.four", "four"),
        ("mine.py", "How fast", "How quickly", "mine.py (scenario): changed since"),
        ("texts.jsonl", "1", "2", "texts.jsonl (options.requests): changed since"),
    ],
)
def test_a_changed_experiment_is_not_gone_on_with(
    tmp_path: Path, file: str, before: str, now: str, told: str
) -> None:
    path = begun(tmp_path)
    changed = tmp_path / file
    text = changed.read_text()
    assert before in text
    changed.write_text(text.replace(before, now))
    with pytest.raises(BenchError, match=re.escape(told)):
        resume(path, tmp_path / "results")
    changed.write_text(text)
    assert len(resume(path, tmp_path / "results")[1].trials) == 2


def begun(place: Path) -> Path:
    """The file of an experiment with a scenario and a file of requests of its own, which was begun and has no trial yet."""
    path = write(
        place, f'[options]\nconnections = 4\nrequests = "{place}/texts.jsonl"', servers='["quick", "pair"]'
    )
    text = path.read_text()
    path.write_text(text.replace(f"{ROOT}/scenarios/mnist.py", "mine.py"))
    shutil.copy(ROOT / "scenarios" / "mnist.py", place / "mine.py")
    (place / "texts.jsonl").write_text("1\n")
    begin(prepare(path, {"trials": 1}), place / "results", None)
    return path


def test_an_experiment_goes_on_from_another_folder_and_with_a_version_that_knows_more_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path)
    shutil.rmtree(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    folder = begin(prepare(Path("small.toml"), {"trials": 1}), Path("results"), None)
    place = folder.path.resolve()
    description = json.loads((place / "experiment.json").read_text())
    del description["experiment"]["samples"]
    (place / "experiment.json").write_text(json.dumps(description))
    monkeypatch.chdir("/")
    assert resume(place, Path("results"))[1].path == place


def test_a_file_that_only_the_first_working_directory_has_has_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begun(tmp_path)
    shutil.rmtree(tmp_path / "results")
    path.write_text(path.read_text().replace(f"{tmp_path}/texts.jsonl", "texts.jsonl"))
    monkeypatch.chdir(tmp_path)
    begin(prepare(path, {"trials": 1}), tmp_path / "results", None)
    monkeypatch.chdir("/")
    with pytest.raises(BenchError, match=r"texts.jsonl \(options.requests\): no such file seen from /;"):
        resume(path, tmp_path / "results")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("models/mnist/1/weights", "models.mnist: version 1 changed since"),
        ("mine.py", "mine.py (scenario): changed"),
    ],
)
def test_what_is_changed_while_an_experiment_runs_ends_it(tmp_path: Path, changed: str, told: str) -> None:
    path = begun(tmp_path)
    prepared, folder = resume(path, tmp_path / "results")
    ended = []

    class Edited(Lines):
        def ended(self, trial: PlannedTrial, ended_: Ended, seconds: float) -> None:
            with (tmp_path / changed).open("a") as edited:
                edited.write("\n")
            ended.append(ended_)

    servers = {each.name: each for each in prepared.servers}
    runner = Runner(prepared.study, servers, folder, Local(1), Edited(folder.path))
    with folder.locked() as lock, pytest.raises(BenchError, match=re.escape(told)):
        runner.run(lock)
    assert len(ended) == 1
    with folder.locked() as lock, pytest.raises(BenchError, match=re.escape(told)):  # as `--resume` does
        Runner(prepared.study, servers, Folder.open(folder.path), Local(1), Lines(folder.path)).run(lock)
