"""`bench plot` and `bench history` as they are typed."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.runs.chunk import Chunk
from tests.cli import inside
from tests.recorded import edit, requests, write


def bench(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return inside.bench(*arguments, cwd=Path.cwd())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    for number in range(12):
        service = 0.003 if number >= 7 else 0.002
        chunks = [
            Chunk.of(
                **requests(100 * number + i, count=300, rate=300, start=float(i), service=service),
                keep_samples=False,
            )
            for i in range(4)
        ]
        commit = {"commit": f"{number + 1:x}" * 20, "dirty": False}
        started = f"2026-03-{number + 1:02}T12:00:00+00:00"
        write(root, chunks, note=f"n{number:02}", started=started, git=commit)
    return root


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_become_files(results: Path, tmp_path: Path, kind: str, start: bytes) -> None:
    done = bench("plot", results, "--out", tmp_path / "new", "--format", kind, "--only", "percentile")
    assert done.returncode == 0
    (path,) = map(Path, done.stdout.splitlines())
    assert path == tmp_path / "new" / f"latency-by-percentile.{kind}"
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize(
    "arguments", [["nowhere"], ["RESULTS", "--only", "weather"], ["RESULTS", "--out", "/dev/null/x"]]
)
def test_nothing_drawn_is_code_2_and_one_line(results: Path, arguments: list[str]) -> None:
    done = bench("plot", *(str(results) if each == "RESULTS" else each for each in arguments))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == (2 if arguments == ["nowhere"] else 1)
    assert done.stdout == ""


def test_history_names_the_first_worse_run(results: Path, tmp_path: Path) -> None:
    done = bench(
        "history", results, "--metric", "p50", "--across", "version", "--html", tmp_path / "page.html"
    )
    assert done.returncode == 0
    assert "p50 +" in (tmp_path / "page.html").read_text().split('class="answers"')[1]
    assert "of 1 cell, 1 change" in done.stdout
    assert "since commit 888888888888, " in " ".join(done.stdout.split())
    assert "1 changes" not in done.stdout
    told = json.loads(bench("history", results, "--metric", "p50", "--json").stdout)
    assert [Path(point["first_run"]).name.endswith("n07") for point in told] == [True]
    assert told[0]["worse"] is True
    for arguments in (["nowhere"], [str(results), "--metric", "p5"]):
        failed = bench("history", *arguments)
        assert failed.returncode == 2
        assert failed.stdout == ""


def test_history_counts_a_run_once_and_leaves_the_baseline_out(results: Path, tmp_path: Path) -> None:
    """A copy is no further point, and warnings of the runs that count are told."""
    runs = sorted(results.iterdir())[:3]
    for run in runs:
        shutil.copytree(run, tmp_path / "results" / run.name)
        shutil.copytree(run, tmp_path / "results/baseline" / run.name)
    shutil.copytree(runs[0], tmp_path / "results/again")
    edit(tmp_path / "results" / runs[1].name, doubts=[{"check": "client saturated", "reason": "x"}])
    done = inside.bench("history", cwd=tmp_path)
    assert "3 trials of 1 cell" in done.stdout
    told = " ".join(done.stderr.split())
    assert "left out: results/baseline: the baseline" in told
    assert "a copy of" in told
    assert f"[client saturated]: 1 run: {runs[1].name}" in told
    both = inside.bench("history", "results", "results/baseline", cwd=tmp_path)
    assert "3 trials of 1 cell" in both.stdout
    assert both.stderr.count("a copy of") == 4


def test_a_plot_names_all_that_is_not_in_it(results: Path, tmp_path: Path) -> None:
    """Failed trials and those that were not run, as a report does."""
    cell = {"server": "a", "build": "", "model": "mnist", "version": 2, "batch": 1, "load": "16 users"}
    run = tmp_path / "new" / "run"
    shutil.copytree(next(results.iterdir()), run)
    edit(run, experiment={"name": "x", "block": 0, "trial": 1, "cell": cell})
    plan = [{"number": number, "block": number, "seed": 1, "cell": cell} for number in (1, 2)]
    plan.append({"number": 3, "block": 2, "seed": 1, "cell": cell | {"server": "b"}})
    (run.parent / "experiment.json").write_text(
        json.dumps({"schema": 1, "scenario": "x.py", "plan": plan, "state": "complete"})
    )
    failed = {"number": 2, "outcome": "failed", "reason": "signal 11", "folder": None}
    (run.parent / "trials.jsonl").write_text(json.dumps(failed) + "\n")
    done = inside.bench("plot", "new", "--out", "out", "--only", "percentile", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "failed: " in done.stderr and "not run: x, b" in done.stderr
