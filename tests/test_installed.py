"""A client without TensorFlow, from the wheel and outside the checkout: load, reports and gates never import it."""

import importlib.abc
import inspect
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import bench as package
from bench import BenchError, packaged
from bench.launch import server_process
from tests.cli.inside import bench
from tests.load.locust_runs import ROOT, SECONDS


def absent(distribution: str, extra: str) -> str:
    return f"{distribution} is not installed: pip install 'serving-bench[{extra}]'"


REMEDY = absent("tensorflow", "server")


class Blocker(importlib.abc.MetaPathFinder):
    """Finds nothing that extras bring, as where none is installed."""

    ABSENT = frozenset(
        (
            "tensorflow",
            "tensorflow_serving",
            "keras",
            "pyarrow",
            "matplotlib",
            "PIL",
            "grpc",
            "pynvml",
            "yaml",
        )
    )

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self.ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@pytest.fixture
def _blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [Blocker(), *sys.meta_path])
    for name in Blocker.ABSENT & set(sys.modules):
        monkeypatch.delitem(sys.modules, name)


EXPERIMENT = 'scenario = "{scenario}"\nservers = ["s"]\nloads = [{{ users = 1 }}]\n'
"""Served by what `servers.toml` declares."""


@pytest.mark.usefixtures("_blocked")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["export", "models", "--pair"], f"bench export: {REMEDY}"),
        (["serve", "--model_base_path", "/m"], f"--backend tensorflow (the default): {REMEDY}"),
        (["run", "e.toml"], f"servers.toml: servers.s: {REMEDY}"),
        (["report", "--html", "x.html"], f"--html x.html: {absent('matplotlib', 'pictures')}"),
        (["kubernetes", "render", "--host", "m:1"], f"bench kubernetes: {absent('pyyaml', 'kubernetes')}"),
        (["plot"], f"bench plot: {absent('matplotlib', 'pictures')}"),
        (
            ["status", "--host", "127.0.0.1:1", "--model", "m", "--transport", "grpcio"],
            f"transport grpcio: {absent('grpcio', 'grpcio')}",
        ),
    ],
)
def test_a_verb_that_needs_it_says_so_in_one_line(
    arguments: list[str], complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "e.toml").write_text(EXPERIMENT.format(scenario=ROOT / "scenarios/mnist.py"))
    (tmp_path / "servers.toml").write_text('[servers.s]\nkind = "embedded"\n')
    done = bench(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"bench: {complaint}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.toml", "servers.toml"]


@pytest.mark.usefixtures("_blocked")
def test_figures_without_matplotlib_name_the_extra() -> None:
    with pytest.raises(BenchError, match="matplotlib is not installed"):
        package.plot  # noqa: B018 - it is imported when it is first used


class Installed(NamedTuple):
    """The wheel unpacked in a folder, for processes that import it from there, with no checkout and no TensorFlow."""

    names: set[str]
    metadata: str
    environment: dict[str, str]
    cwd: Path

    def run(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """What a module does when it is run."""
        return subprocess.run(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=self.cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )


def copied(folder: Path) -> Path:
    """What a wheel is built from, so that the build leaves nothing in the checkout."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("bench", "scenarios"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    source = copied(folder / "source")
    done = subprocess.run(
        [*build, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        names = set(archive.namelist())
    (metadata,) = site.glob("*.dist-info/METADATA")
    head = "import importlib.abc, sys\nfrom collections.abc import Sequence\nfrom importlib.machinery import ModuleSpec\nfrom types import ModuleType\n"
    (site / "sitecustomize.py").write_text(
        f"{head}{inspect.getsource(Blocker)}\nsys.meta_path.insert(0, Blocker())\n"
    )
    cwd, programs = folder / "elsewhere", folder / "programs"
    cwd.mkdir()
    programs.mkdir()
    program = programs / "bench"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bench "$@"\n')
    program.chmod(0o755)
    cache = {"XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "100"}
    cache["PATH"] = f"{programs}:{os.environ['PATH']}"
    return Installed(names, metadata.read_text(), os.environ | {"PYTHONPATH": str(site)} | cache, cwd)


def test_the_wheel_holds_every_file_of_the_package(installed: Installed) -> None:
    files = {
        str(path.relative_to(ROOT))
        for folder in (ROOT / "bench", packaged.SCENARIOS)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == {name for name in installed.names if name.startswith("bench/")}
    assert {"bench/scenarios/mnist.py", "bench/scenarios/mnist.toml"} <= files


def test_no_dependency_of_the_client_brings_tensorflow(installed: Installed) -> None:
    needed = [line for line in installed.metadata.splitlines() if line.startswith("Requires-Dist")]
    assert [line for line in needed if "tensorflow" in line] == [
        line for line in needed if "tensorflow" in line and 'extra == "server"' in line
    ]
    assert any("tensorflow" in line for line in needed)


EVERYTHING = """
import importlib, pkgutil, sys
import bench
for module in pkgutil.walk_packages(bench.__path__, "bench."):
    if not module.name.startswith(tuple(sys.argv[1:])):
        importlib.import_module(module.name)
"""
DRAWING = tuple(
    f"bench.analysis.showing.{name}" for name in ("plot", "pictures", "page", "figures", "history_page")
)
ROOMS = (
    *DRAWING,
    "bench.kubernetes.manifests",
    "bench.picture",
    "bench.wire.grpcio_client",
    "bench.__main__",
)
"""Beginnings of names: imported by those alone that have looked for the package which they need (or programs)."""


def test_no_other_module_needs_an_extra(installed: Installed) -> None:
    command = [sys.executable, "-c", EVERYTHING, *ROOMS]
    done = subprocess.run(
        command, cwd=installed.cwd, env=installed.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_load_without_a_host_says_so_in_one_line(installed: Installed) -> None:
    done = installed.run("bench", "scenario", "mnist", "--headless", "-t", "1s")
    assert done.returncode == 2
    said = (
        "mnist has to be trained for a server that is started here (to use a running one: --host HOST:PORT)"
    )
    assert done.stderr.splitlines()[-1].endswith(f"bench: {said}: {REMEDY}")


def test_a_starting_set_runs_as_it_is(installed: Installed) -> None:
    assert installed.run("bench", "init", "start").returncode == 0
    done = installed.run("bench", "run", "start/experiment.toml", "--trials", "1", "--seconds", "1")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 trials measured" in done.stderr
    for verb in (["report"], ["gate", "results", "--limits", "scenarios/mnist.toml"]):
        read = installed.run("bench", *verb)
        assert (read.returncode in {0, 3}, read.stderr) == (True, ""), read.stdout  # 3: a busy machine
    assert "accuracy" in read.stdout


def test_the_gate_of_a_starting_set_finds_what_it_needs(installed: Installed) -> None:
    """All but its three minutes of load, which tests/benchmarks/client_install.py runs."""
    assert installed.run("bench", "init", "gated").returncode == 0
    script = (installed.cwd / "gated/gate.sh").read_text()
    assert "--budget 180 " in script
    (installed.cwd / "gated/gate.sh").write_text(script.replace("--budget 180 ", "--budget 1 "))
    command = {"cwd": installed.cwd, "env": installed.environment, "capture_output": True, "text": True}
    done = subprocess.run(["sh", "gated/gate.sh"], check=False, **command)  # type: ignore[call-overload]
    assert done.returncode == 2
    assert done.stderr.startswith("bench: --budget 1: a block takes "), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_any_model_of_a_server_that_runs(installed: Installed) -> None:
    """Two models compared, and a load on one, by a client that has the wheel and what it depends on."""
    flags = ["--backend", "synthetic", "--service_time", "constant(2ms)", "--model_name", "digits"]
    with server_process.embedded(flags) as first, server_process.embedded(flags) as second:
        both = ("ab", first.address, "--against", second.address, "--model", "digits", "--examples", "20")
        done = installed.run("bench", *both, "--answers-only")
        assert done.returncode == 0, done.stderr
        assert "answers agree in all 20 examples" in " ".join(done.stdout.split())
        load = ("scenario", "model", "--host", first.address, "--model-name", "digits", "--examples", "20")
        done = installed.run("bench", *load, "--headless", "-t", "1s")
        assert done.returncode == 0, done.stderr
        (run,) = (installed.cwd / "results").glob("*-model/manifest.json")
        assert json.loads(run.read_text())["counts"]["recorded"] > 0


def test_the_program_has_the_package_name_too(installed: Installed) -> None:
    """As `uvx serving-bench` and `pipx run serving-bench` start it."""
    (entries,) = (name for name in installed.names if name.endswith("entry_points.txt"))
    assert {"bench = bench.cli:main", "serving-bench = bench.cli:main"} <= set(
        (installed.cwd.parent / "site" / entries).read_text().splitlines()
    )
