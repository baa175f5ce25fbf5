"""`bench gate` and `bench baseline` as continuous integration calls them."""

import json
from pathlib import Path

import pytest

from bench.runs.chunk import Chunk
from tests.cli.inside import bench, process
from tests.recorded import requests, write

RELATIVE = "[worse_than_baseline]\np50 = 0.10\n"


def campaign(root: Path, service: float, trials: int = 3, **manifest: object) -> Path:
    for number in range(trials):
        chunks = [
            Chunk.of(
                **requests(
                    100 * number + i,
                    count=600,
                    rate=600,
                    start=float(i),
                    service=service * (1 + 0.002 * number),
                ),
                keep_samples=False,
            )
            for i in range(7)
        ]
        write(root, chunks, note=f"t{number}", **manifest)
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a baseline, an equal and a slower candidate."""
    root = tmp_path_factory.mktemp("checkout")
    campaign(root / "old", 0.002)
    campaign(root / "same", 0.002)
    campaign(root / "slow", 0.003)
    (root / "scenarios").mkdir()
    (root / "scenarios" / "mnist.toml").write_text(RELATIVE)
    assert bench("baseline", "set", "old", cwd=root).returncode == 0
    return root


def test_kept_and_broken(place: Path) -> None:
    same, slow = process("gate", "same", cwd=place), process("gate", "slow", cwd=place)
    assert (same.returncode, slow.returncode) == (0, 1)
    assert "pass: 1 pass" in same.stdout
    assert "FAIL" in slow.stdout
    assert max(map(len, slow.stdout.splitlines())) <= 100


def test_files_for_others(place: Path, tmp_path: Path) -> None:
    files = ["--junit", tmp_path / "j.xml", "--markdown", tmp_path / "m.md", "--json", tmp_path / "r.json"]
    done = bench("gate", "slow", *files, cwd=place, GITHUB_ACTIONS="true")
    assert done.returncode == 1
    assert "<failure" in (tmp_path / "j.xml").read_text()
    assert json.loads((tmp_path / "r.json").read_text())["code"] == 1
    assert done.stdout.count("::error title=") == 1
    bench("gate", "same", *files, cwd=place)
    assert (tmp_path / "m.md").read_text().count("**Gate") == 2  # a summary grows


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["gate", "nowhere"], 2, "nowhere: does not exist"),
        (["gate", "same", "--limits", "none.toml"], 2, "none.toml: no such file"),
        (["gate", "same", "--baseline", "none"], 2, "none: no baseline there"),
        (["gate", "same", "--limits", "typo.toml"], 2, "did you mean p"),
        (["gate", "same", "--limits", "nan.toml"], 2, "a finite number"),
        (["gate", "same", "--junit", "no/where.xml"], 2, "no/where.xml: No such file"),
        (["gate", "same", "--limits", "other_cell.toml"], 3, "no cell that was measured"),
        (["gate", "one"], 3, "one trial on a side"),
        (["gate", "cut"], 3, "was not finished"),
        (["gate", "empty", "--limits", "absolute.toml"], 3, "no request"),
        (["gate", "elsewhere"], 3, "CPU differs"),
        (["gate", "failed", "--limits", "absolute.toml"], 1, "1 of 1 trial failed: every request failed"),
        (["gate", "failed"], 1, "1 of 1 trial failed: every request failed"),
        (["gate", "same", "--limits", "absolute_typo.toml"], 2, "did you mean p"),
        (["gate", "same", "--limits", "no_unit.toml"], 2, "without a unit"),
        (["gate", "same", "--limits", "no_limit.toml"], 2, "no limit in it"),
        (["gate", "few", "--limits", "too_far_out.toml"], 3, "do not support p99.9"),
        (["gate", "same", "--limits", "other_question.toml"], 3, "not measured in 3 of 3 trials"),
        (["gate", "same", "--limits", "other_cell_relative.toml"], 3, "no cell that was measured"),
        (["gate", "saturated"], 3, "client saturated"),
        (["gate"], 2, "name the runs to judge"),
    ],
)
def test_never_open_without_reason(place: Path, arguments: list[str], code: int, text: str) -> None:
    for name, content in {
        "typo.toml": "[worse_than_baseline]\np5 = 0.1\n",
        "nan.toml": "[limits]\np50_ms = nan\n",
        "other_cell.toml": "[[cells]]\nbatch = 512\nlimits = { p50_ms = 9 }\n",
        "absolute.toml": "[limits]\np50_ms = 9\n",
        "absolute_typo.toml": "[limits]\np5_ms = 9\n",
        "no_unit.toml": "[limits]\np50 = 9\n",
        "no_limit.toml": "accept = []\n",
        "too_far_out.toml": "[limits]\np999_ms = 900\n",
        "other_question.toml": "[limits]\nrecovery_seconds_s = 9\n",
        "other_cell_relative.toml": "[[cells]]\nversion = 7\nworse_than_baseline = { p50 = 0.5 }\n",
    }.items():
        (place / name).write_text(content)
    if not (place / "one").exists():
        campaign(place / "one", 0.002, 1)
        campaign(place / "elsewhere", 0.002, machine={"cpu_model": "another"})
        said = {
            "check": "client saturated",
            "reason": "client saturated: 99 % of a core",
            "remedy": "use more",
        }
        campaign(place / "saturated", 0.002, doubts=[said])
        failing = Chunk.of(**requests(1, count=5000, rate=600, errors=1.0), keep_samples=False)
        write(place / "failed", [failing])
        write(place / "empty", [])
        write(place / "few", [Chunk.of(**requests(1, count=3000, rate=600), keep_samples=False)])
        write(place / "cut", [Chunk.of(**requests(1, count=5000, rate=600))], finish=False)
    done = bench(*arguments, cwd=place)
    assert done.returncode == code, done.stdout + done.stderr
    assert text in " ".join((done.stdout + done.stderr).split())
    if code == 2:
        assert done.stdout == ""


def test_a_baseline_is_renewed_cell_by_cell(tmp_path: Path) -> None:
    campaign(tmp_path / "one", 0.002)
    campaign(tmp_path / "two", 0.002, 2)
    campaign(tmp_path / "other", 0.002, 1, load={"kind": "closed", "users": 99})
    folder = tmp_path / "results" / "baseline"
    assert "3 runs of 1 cell taken, 0 replaced" in bench("baseline", "set", "one", cwd=tmp_path).stdout
    assert "1 run of 1 cell taken, 0 replaced" in bench("baseline", "set", "other", cwd=tmp_path).stdout
    assert "2 runs of 1 cell taken" in bench("baseline", "set", "two", cwd=tmp_path).stdout
    kept = sorted(p.name for p in folder.iterdir())
    assert len(kept) == 3
    assert not list(folder.rglob("samples*"))
    shown = bench("baseline", "show", cwd=tmp_path)
    assert shown.returncode == 0
    assert "99 users" in shown.stdout


def test_sessions_are_added_to_a_baseline(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "baseline"
    (tmp_path / "limits.toml").write_text(RELATIVE)
    one_server = {"address": "127.0.0.1:8500", "kind": "remote", "model": "mnist", "version": 2, "pid": 7}
    campaign(tmp_path / "one", 0.002, target=one_server)
    campaign(tmp_path / "new", 0.002)
    first = bench("baseline", "set", "one", cwd=tmp_path)
    assert "1 session in it" in first.stderr
    gated = ("gate", "new", "--limits", "limits.toml", "--json", "g.json")
    assert bench(*gated, cwd=tmp_path).returncode == 3
    warnings = json.loads((tmp_path / "g.json").read_text())["doubts"]
    assert [warning["check"] for warning in warnings] == ["one session"]
    for pid in (8, 9):
        campaign(tmp_path / f"at{pid}", 0.002, 2, target=one_server | {"pid": pid})
        added = bench("baseline", "add", f"at{pid}", cwd=tmp_path)
    assert added.stderr == ""
    assert len(list(folder.iterdir())) == 3 + 2 + 2
    assert bench(*gated, cwd=tmp_path).returncode == 0


def test_a_baseline_with_warnings_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "cut", [Chunk.of(**requests(1, count=5000, rate=600))], finish=False)
    refused = bench("baseline", "set", "cut", cwd=tmp_path)
    assert refused.returncode == 3
    assert "not finished" in refused.stderr
    assert not (tmp_path / "results").exists()
    assert bench("baseline", "set", "cut", "--accept", "unfinished", cwd=tmp_path).returncode == 0
    for arguments in (["baseline", "set", "nowhere"], ["baseline", "show", "--folder", "nowhere"]):
        done = bench(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


def test_compare_as_it_is_typed(place: Path) -> None:
    done = bench("compare", "old", "slow", "--metric", "p50", cwd=place)
    assert done.returncode == 0
    assert "worse: p50 +" in done.stdout
    assert bench("compare", "old", "slow", "--metric", "p50", "--check", cwd=place).returncode == 1
    assert (
        bench(
            "compare", "old", "same", "--metric", "p50", "--tolerance", "0.2", "--check", cwd=place
        ).returncode
        == 0
    )
    assert json.loads(bench("compare", "old", "slow", "--json", cwd=place).stdout)["comparisons"]
    for arguments in (
        ["old"],
        ["old", "nowhere"],
        ["old", "--by", "batch"],
        ["old", "slow", "--metric", "p5"],
    ):
        failed = bench("compare", *arguments, cwd=place)
        assert failed.returncode == 2
        assert failed.stdout == ""
