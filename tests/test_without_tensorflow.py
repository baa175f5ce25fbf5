"""A client without TensorFlow: what sends load and reads results never imports it, and what needs it says so."""

import importlib.abc
import inspect
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from bench.launch import server_process
from tests.cli.inside import bench
from tests.load.locust_runs import ROOT, SECONDS

REMEDY = "tensorflow is not installed: pip install 'serving-bench[server]'"


class Blocker(importlib.abc.MetaPathFinder):
    """Finds no package of TensorFlow, as where none is installed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in {"tensorflow", "tensorflow_serving", "keras"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@pytest.fixture
def _blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [Blocker(), *sys.meta_path])
    for name in [each for each in sys.modules if each.partition(".")[0] == "tensorflow"]:
        monkeypatch.delitem(sys.modules, name)


LOAD = ("locust", "-f", ROOT / "scenarios/mnist.py", "--headless", "--only-summary")
EXPERIMENT = 'scenario = "{scenario}"\nservers = ["s"]\nloads = [{{ users = 1 }}]\n'
"""Served by what `servers.toml` declares."""


@pytest.mark.usefixtures("_blocked")
@pytest.mark.parametrize(
    ("arguments", "purpose"),
    [
        (["export", "models", "--pair"], "bench export"),
        (["serve", "--model_base_path", "/m"], "--backend tensorflow (the default)"),
        (["run", "e.toml"], "servers.toml: servers.s"),
    ],
)
def test_a_verb_that_needs_it_says_so_in_one_line(arguments: list[str], purpose: str, tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(EXPERIMENT.format(scenario=ROOT / "scenarios/mnist.py"))
    (tmp_path / "servers.toml").write_text('[servers.s]\nkind = "embedded"\n')
    done = bench(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"bench: {purpose}: {REMEDY}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.toml", "servers.toml"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of processes that find no TensorFlow, and none of the models that it once trained."""
    site = inspect.getsource(Blocker)
    head = "import importlib.abc, sys\nfrom collections.abc import Sequence\nfrom importlib.machinery import ModuleSpec\nfrom types import ModuleType\n"
    (tmp_path / "sitecustomize.py").write_text(f"{head}{site}\nsys.meta_path.insert(0, Blocker())\n")
    path = os.pathsep.join(map(str, (tmp_path, ROOT)))
    return os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "100"}


def run(*arguments: str | Path, cwd: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )


def test_load_report_and_gate_do_without(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environment)  # of the server, too, which answers without a model
    load = [*LOAD, "-u", "2", "-r", "2", "-t", "1s"]
    with server_process.embedded(["--backend", "synthetic", "--model_name", "mnist"]) as server:
        loaded = run(*load, "--host", server.address, cwd=tmp_path, environment=environment)
    assert loaded.returncode == 0, loaded.stderr
    limits = tmp_path / "limits.toml"
    limits.write_text("[limits]\naccuracy = 0.9\n")
    for verb in (["report"], ["gate", "results", "--limits", limits]):
        read = run("bench", *verb, cwd=tmp_path, environment=environment)
        assert (read.returncode in {0, 3}, read.stderr) == (True, ""), read.stdout  # 3: a busy machine
    assert "accuracy" in read.stdout


def test_a_load_without_a_host_says_so_in_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(*LOAD, "-t", "1s", cwd=tmp_path, environment=environment)
    assert done.returncode == 2
    said = "mnist is to be trained for the embedded server (--host HOST:PORT names another)"
    assert done.stderr.splitlines()[-1].endswith(f"bench: {said}: {REMEDY}")
