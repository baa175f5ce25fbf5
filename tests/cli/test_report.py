"""`bench report` as it is typed: tables that fit, exit codes, pages."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench.analysis.showing.table import Column, Table
from bench.cli.tables import show_table
from bench.runs.chunk import Chunk
from bench.runs.run import Run, RunWriter
from tests.cli import inside
from tests.recorded import requests, write


def bench(*arguments: str | Path, columns: int = 80) -> "subprocess.CompletedProcess[str]":
    return inside.bench("report", *arguments, cwd=Path.cwd(), COLUMNS=str(columns))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    for version in (1, 2):
        for batch in (1, 32):
            chunks = [
                Chunk.of(
                    **requests(i, count=500, rate=500, start=float(i), version=version, batch=batch),
                    keep_samples=False,
                )
                for i in range(12)
            ]
            write(root, chunks, note=f"v{version}-b{batch}")
    return root


@pytest.mark.parametrize("columns", [45, 60, 80, 100, 120, 200])
def test_every_number_is_shown_at_every_width(results: Path, columns: int) -> None:
    done = bench(results, columns=columns)
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert "…" not in done.stdout
    for title in ("version", "batch", "req/s", "inf/s", "p50", "p99.9", "errors", "accuracy", "warnings"):
        assert title in done.stdout
    for note in ("v1-b1", "v1-b32", "v2-b1", "v2-b32"):
        assert note in done.stdout


def test_one_format_on_standard_output(results: Path) -> None:
    assert len(json.loads(bench(results, "--json").stdout)["runs"]) == 4
    assert bench(results, "--csv").stdout.count("\n") == 5
    assert bench(results, "--markdown").stdout.count("\n| v") == 4
    both = bench(results, "--csv", "--json")
    assert both.returncode == 2
    assert "give one of them" in both.stderr


@pytest.mark.parametrize("errors", [0.0, 0.1])
def test_the_end_of_a_run_packs_and_reports_it_and_imports_what_it_needs(
    tmp_path: Path, errors: float
) -> None:
    """It is part of each load test. What packs is another process; single requests are read where some failed."""
    writer = RunWriter.create(tmp_path, "mnist", None, {})
    writer.append(0, Chunk.of(**requests(1, count=1000, errors=errors)))
    writer.finish(counts={"sent": 1000, "unsent": 0, "recorded": 1000})
    program = (
        "import sys; from bench.cli import main\n"
        "try: main(['conclude', sys.argv[1]])\n"
        "finally: print({'pyarrow', 'pandas', 'scipy', 'rich', 'jinja2', 'matplotlib', 'locust', 'bench.config.servers'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(writer.path)], capture_output=True, text=True, check=True
    )
    assert bool(json.loads(done.stdout)["runs"][0]["interruptions"]) == bool(errors)
    assert done.stderr == ("{'pyarrow'}\n" if errors else "set()\n")
    assert Run.open(writer.path).altered == []
    assert not (writer.path / "samples").exists()


def test_what_cannot_be_read_is_told_beside_the_rest(results: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    done = bench(results, tmp_path)
    assert done.returncode == 0
    assert f"leftout{tmp_path}" in "".join(done.stdout.split())  # wherever its lines were broken
    asked = bench(results, tmp_path, "--json")
    assert json.loads(asked.stdout)["unreadable"][0]["path"] == str(tmp_path)
    assert "left out" in asked.stderr


@pytest.mark.parametrize("case", ["missing", "empty", "unreadable"])
def test_nothing_to_read_is_code_2_and_one_line(tmp_path: Path, case: str) -> None:
    path = tmp_path / "results"
    if case != "missing":
        path.mkdir()
    if case == "unreadable":
        (path / "manifest.json").write_text("{")
    done = bench(path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert str(path) in done.stderr


def test_a_page_that_cannot_be_written_is_one_line(results: Path, tmp_path: Path) -> None:
    done = bench(results, "--html", tmp_path / "nowhere" / "page.html")
    assert done.returncode == 2
    assert "nowhere/page.html: No such file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_page_is_written(results: Path, tmp_path: Path) -> None:
    run = next(path for path in results.iterdir() if path.is_dir())  # tests/analysis/test_page.py has more
    done = bench(run, "--html", tmp_path / "page.html")
    assert done.returncode == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_what_lies_deeper_is_shown_and_what_failed_is_named(tmp_path: Path) -> None:
    experiment = tmp_path / "results" / "experiment"
    experiment.mkdir(parents=True)
    cells = [
        {"server": name, "build": name, "model": "mnist", "version": 2, "batch": 1, "load": "16 users"}
        for name in ("quick", "crashing", "later")
    ]
    plan = [{"block": 1, "number": n, "seed": 1, "cell": cell} for n, cell in enumerate(cells)]
    (experiment / "experiment.json").write_text(json.dumps({"plan": plan, "scenario": "scenarios/mnist.py"}))
    ended = {"number": 1, "outcome": "failed", "reason": "the server ended with signal 11", "folder": None}
    (experiment / "trials.jsonl").write_text(json.dumps(ended) + "\n")
    run = write(
        experiment,
        [Chunk.of(**requests(1), keep_samples=False)],
        experiment={"name": "x", "block": 1, "trial": 0, "cell": cells[0]},
    )
    shutil.copytree(run.path, tmp_path / "results" / "zcopy")
    (tmp_path / "results" / "lost").mkdir()
    told = json.loads(bench(tmp_path / "results", "--json").stdout)
    assert [each["run"] for each in told["runs"]] == [run.name]
    assert [(each["server"], each["reason"]) for each in told["failed_trials"]] == [
        ("crashing", "the server ended with signal 11")
    ]
    assert [each["server"] for each in told["not_run"]] == ["later"]
    left_out = {Path(each["path"]).name: each["reason"] for each in told["unreadable"]}
    assert set(left_out) == {"zcopy", "lost"}
    for arguments in ((), ("--markdown",), ("--csv",), ("--html", tmp_path / "page.html")):
        done = bench(tmp_path / "results", *arguments)
        shown = done.stdout + done.stderr
        page = tmp_path / "page.html"
        shown += page.read_text() if page.exists() else ""
        for text in ("signal 11", "later", "an empty folder", "a copy of"):
            assert text in " ".join(shown.split()), arguments


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen trials: four batch sizes in four blocks, each batch twice as fast as the one before."""
    root = tmp_path_factory.mktemp("experiment")
    for block in range(4):
        for at in range(4):
            cell = {
                "server": "a",
                "build": "a",
                "model": "mnist",
                "version": 2,
                "batch": 2**at,
                "load": "16 users",
            }
            arguments = requests(
                4 * block + at, count=1000, rate=500, batch=2**at, service=0.002 * (1 + at / 50)
            )
            number = 4 * block + at
            write(
                root,
                [Chunk.of(**arguments, keep_samples=False)],
                note=f"t{number:02}",
                started=f"2026-03-01T12:{number:02}:00+00:00",
                experiment={"name": "sizes", "cell": cell, "block": block, "trial": number},
            )
    return root


def test_an_experiment_fits_a_screen_and_ends_with_a_conclusion(experiment: Path) -> None:
    shown = bench(experiment).stdout
    assert len(shown.splitlines()) <= 30
    ratios = [float(word[1:]) for word in shown.split() if word.startswith("x") and word[1:2].isdigit()]
    assert ratios == pytest.approx([2.0**at for at in range(4)], rel=0.1)
    assert "batch 8 has" in shown
    assert "times the throughput of batch 1" in shown
    assert "t05" not in shown
    listed = bench(experiment, "--trials").stdout
    assert all(f"t{number:02}" in listed for number in range(16))


def test_the_newest_the_order_and_the_columns_can_be_chosen(experiment: Path) -> None:
    def names(*options: str) -> list[str]:
        lines = bench(experiment, *options, columns=200).stdout.splitlines()
        return [
            line.split()[0]
            for line in lines
            if line.split()[:1] and line.split()[0][:1] == "t" and line.split()[0][1:].isdigit()
        ]

    assert names("--last", "3") == ["t13", "t14", "t15"]
    assert names("--last", "4", "--sort", "inferences_per_second") == ["t15", "t14", "t13", "t12"]
    rows = bench(experiment, "--last", "1", "--columns", "p99,req/s").stdout
    assert "p50 " not in rows.split("answer")[-1].split("throughput")[-1]
    wrong = bench(experiment, "--columns", "p98")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "did you mean 'p99'" in wrong.stderr or "valid names" in wrong.stderr


def test_many_runs_fit_a_screen_and_wide_shows_each_in_a_line(tmp_path: Path) -> None:
    for number in range(24):
        rows = requests(number, count=500, rate=500, service=0.002 + 1e-4 * (number * 7 % 24))
        started = f"2026-03-01T{number:02}:00:00+00:00"
        write(tmp_path, [Chunk.of(**rows, keep_samples=False)], note=f"t{number:02}", started=started)

    def names(*options: str) -> list[str]:
        shown = bench(tmp_path, *options).stdout
        assert "4 runs not in the table" in shown or options == ("--wide",)
        assert len(shown.splitlines()) <= 40
        return [line.split()[0] for line in shown.splitlines() if line.startswith(" t")]

    assert names() == [f"t{number:02}" for number in range(4, 24)], "the newest"
    assert names("--sort", "p50")[0] == "t00", "the best of all"
    assert names("--wide") == [f"t{number:02}" for number in range(24)]
    assert "p99.9 ms   max ms" in bench(tmp_path, "--wide").stdout


def test_a_narrow_terminal_names_the_columns_that_it_leaves_out(results: Path) -> None:
    assert "columns left out" in bench(results, columns=80).stdout
    assert "columns left out" not in bench(results, columns=200).stdout
    assert "columns left out" not in bench(results, "--wide", columns=80).stdout


def test_a_row_too_wide_for_the_terminal_keeps_its_name() -> None:
    texts = {"limit": "requests_per_second vs baseline", "measured": "13.8/s", "allowed": "20.00% worse"}
    columns = [Column(title, title == "limit", [text], [False]) for title, text in texts.items()]
    file = io.StringIO()
    show_table(Console(file=file, width=46), Table(columns, [], []))
    lines = [line.split(maxsplit=1) for line in file.getvalue().splitlines() if line.strip()]
    assert {title: text.strip() for title, text in lines} == texts
