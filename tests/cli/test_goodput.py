"""Goodput is the same number wherever it is asked for: report, compare, history and gate, by one option."""

import json
from pathlib import Path

import pytest

from bench.runs.chunk import Chunk
from tests.cli.inside import bench
from tests.recorded import requests, write

WITHIN = ["--goodput-ms", "2.5"]
"""A little more than the median, of the baseline."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of a baseline and of a slower candidate, some requests of which fail or are answered wrongly."""
    root = tmp_path_factory.mktemp("goodput")
    for side, service in (("base", 0.002), ("new", 0.0025)):
        for number in range(3):
            chunks = [
                Chunk.of(
                    **requests(100 * number + second, count=300, rate=300, start=float(second), service=service,
                               errors=0.01, mismatched=0.02),
                    keep_samples=False,
                )
                for second in range(6)
            ]  # fmt: skip
            write(root / side, chunks, git={"commit": side, "dirty": False})
    (root / "goodput.toml").write_text("[limits]\ngoodput = 0.9\ngoodput_rate = 100\n")
    return root


def printed(recorded: Path, *arguments: str) -> dict:  # type: ignore[type-arg]
    done = bench(*arguments, cwd=recorded)
    found: dict = json.loads(done.stdout)  # type: ignore[type-arg]
    return found


def test_report_compare_and_gate_give_the_same_goodput(recorded: Path) -> None:
    lines = [run["lines"][0] for run in printed(recorded, "report", "new", "--json", *WITHIN)["runs"]]
    shares = [line["goodput"] for line in lines]
    assert all(0.3 < share < 0.6 for share in shares)
    (compared,) = printed(recorded, "compare", "base", "new", "--json", *WITHIN)["comparisons"]
    changes = {each["metric"]: each for each in compared["changes"]}
    assert changes["goodput_rate"]["after"] == pytest.approx(
        (lines[0]["goodput_rate"] * lines[1]["goodput_rate"] * lines[2]["goodput_rate"]) ** (1 / 3)
    )
    assert (shares[0] * shares[1] * shares[2]) ** (1 / 3) == pytest.approx(changes["goodput"]["after"])
    assert changes["goodput"]["verdict"] == "worse"
    done = bench("gate", "new", "--limits", "goodput.toml", "--json", "gate.json", *WITHIN, cwd=recorded)
    assert done.returncode in (1, 3), done.stderr
    (judged,) = [
        each
        for each in json.loads((recorded / "gate.json").read_text())["findings"]
        if each["limit"] == "limits.goodput"
    ]
    assert judged["measured"] == pytest.approx(sum(shares) / 3, rel=1e-3)
    assert judged["outcome"] == "FAIL"


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "base", "new", "--metric", "goodput"],
        ["history", "base", "--metric", "goodput_rate"],
        ["gate", "new", "--limits", "goodput.toml"],
    ],
)
def test_goodput_of_no_duration_is_refused(recorded: Path, arguments: list[str]) -> None:
    done = bench(*arguments, cwd=recorded)
    assert done.returncode == 2
    assert "time limit" in done.stderr
    assert "goodput" in done.stderr


def test_what_the_limits_file_says_stands(recorded: Path) -> None:
    (recorded / "own.toml").write_text("goodput_ms = 100\n[limits]\ngoodput = 0.9\n")
    done = bench("gate", "new", "--limits", "own.toml", "--json", "own.json", *WITHIN, cwd=recorded)
    assert done.returncode in (0, 3), done.stderr
    (judged,) = json.loads((recorded / "own.json").read_text())["findings"]
    assert judged["measured"] > 0.95


def test_history_looks_at_goodput(recorded: Path) -> None:
    (change,) = printed(recorded, "history", "base", "new", "--metric", "goodput", "--json", *WITHIN)
    assert change["metric"] == "goodput"
    assert change["worse"]
