"""The recipes for CI do what they say: their own lines are executed, up to the load, which tests/benchmarks/recipes.py adds."""

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from bench.runs.chunk import Chunk
from tests.cli.inside import bench
from tests.recipes import ROOT, Recipe, action, execute, quoted, recipes
from tests.recorded import requests, write

BENCH = """#!/bin/sh
case "$1" in
gate) exec {python} -m bench "$@" --budget 1 ;;  # refused when all else is right: a block takes longer
run) exec {python} -m bench "$@" --dry-run ;;
*) exec {python} -m bench "$@" ;;
esac
"""
PYTHON = """#!/bin/sh
test "$1 $2" = "-m venv" && mkdir -p "$3/bin" && cp {programs}/pip {programs}/bench "$3/bin"
"""
PIP = """#!/bin/sh
echo "$@" >> {log}
"""
RECIPES = [*recipes(), action(), action(folder="load-tests", budget="300", package="serving-bench==1.0")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with what `bench init` writes, and two nights of history."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    assert bench("init", "load-tests", cwd=folder).returncode == 0
    for night in range(2):
        rows = requests(night, count=50)
        write(folder / "load-tests" / "history" / str(night), [Chunk.of(**rows, keep_samples=False)])
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a runner: its variables, and programs that install nothing and send nothing."""
    programs, temporary = tmp_path / "programs", tmp_path / "runner"
    programs.mkdir()
    temporary.mkdir()
    where = {
        "python": quoted(sys.executable),
        "programs": quoted(programs),
        "log": quoted(tmp_path / "installed"),
    }
    for name, text in {"bench": BENCH, "python3": PYTHON, "pip": PIP}.items():
        (programs / name).write_text(text.format(**where))
        (programs / name).chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RUNNER_TEMP": str(temporary),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_each_line_does_what_it_is_there_for(
    recipe: Recipe, checkout: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    code, output = execute(recipe, checkout, environment)
    if any("nightly.sh" in line for line in recipe.lines):
        assert code == 0, output
        assert re.search(r"planned|trials", output), output
        assert (checkout / "load-tests" / "history.html").stat().st_size > 10_000
    else:
        assert code == 2, output
        assert "bench: --budget 1: a block takes " in output
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    (installed,) = (tmp_path / "installed").read_text().splitlines()
    wanted = installed.split()[-1]
    if wanted != str(ROOT):
        found = re.fullmatch(r"serving-bench(?:\[(\w+)\])?(?:==[\d.]+)?", wanted)
        assert found is not None, installed
        assert {found[1]} - {None} <= extras


def test_the_action_tells_how_it_ended(checkout: Path, environment: dict[str, str], tmp_path: Path) -> None:
    code, output = execute(action(), checkout, environment)
    assert (tmp_path / "output").read_text() == f"code={code}\n", output


def test_what_is_kept_is_what_the_scripts_write() -> None:
    scripts = "".join((ROOT / "bench" / "starting" / name).read_text() for name in ("gate.sh", "nightly.sh"))
    kept = {Path(path) for recipe in RECIPES for path in recipe.kept}
    assert {path.parts[0] for path in kept} == {"load-tests"}
    written = {path.name for path in kept} - {"results"}
    assert written == {"gate.xml", "history.html"}
    assert all(name in scripts for name in written)
    assert len(RECIPES) == 7, "a recipe of the page was not found"
