"""MLPerf's rules on runs whose truth is known, and on real ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.answers.answer import Answer
from bench.analysis.answers.questions import answers
from bench.launch import server_process
from tests.cli.inside import bench
from tests.load.locust_runs import locust
from tests.recorded import requests, seconds, write
from tests.scenarios.conftest import load


def judged(
    folder: Path, scenario: str, part: dict[str, Any], *, finish: bool = True, **options: str
) -> Answer:
    """The answer to a run of ten seconds."""
    run = write(
        folder,
        seconds(part),
        finish=finish,
        question="mlperf",
        load={"kind": "closed", "users": 1, "user_classes": [scenario]},
        options={"min-duration": "9", **{name.replace("_", "-"): value for name, value in options.items()}},
        stopped=10.0,
    )
    (found,) = answers(run)
    return found


def test_single_stream_claims_more_than_the_sample_shows(tmp_path: Path) -> None:
    part = requests(1, count=10_000, spread=0.3)
    found = judged(tmp_path, "SingleStream", part)
    latency = np.sort(part["done"] - part["due"])
    # LoadGen with 10,000 queries: t = 930 is the greatest with h + t <= 10,000; it takes the 930th from the end
    assert found.values["latency"] == pytest.approx(latency[10_000 - 930], rel=2e-3)
    assert found.values["latency"] > np.percentile(latency, 90)
    assert found.text.startswith("VALID, SingleStream: p90 is at most ")
    assert found.values["valid"] == 1
    assert found.values["queries"] == 10_000


def test_too_few_queries_are_invalid(tmp_path: Path) -> None:
    found = judged(tmp_path / "a", "SingleStream", requests(1, count=63, rate=6.3), min_duration="1")
    assert found.text.startswith("INVALID, SingleStream: no latency can be claimed; 63 queries")
    assert "64 do" in found.text
    found = judged(tmp_path / "b", "MultiStream", requests(1, count=661, rate=66.1), min_duration="1")
    assert "662 do" in found.text
    assert found.values["valid"] == 0
    found = judged(tmp_path / "c", "MultiStream", requests(1, count=662, rate=66.2), min_duration="1")
    assert found.text.startswith("VALID")


def test_a_server_has_to_keep_its_bound(tmp_path: Path) -> None:
    part = requests(1, count=10_000, spread=0.3)
    p99 = float(np.percentile(part["done"] - part["due"], 99))
    kept = judged(tmp_path / "kept", "Server", part, latency_bound=str(1.3 * p99))
    assert kept.text.startswith("VALID, Server: ")
    assert kept.values["rate"] == pytest.approx(1000, rel=0.02)
    broken = judged(tmp_path / "broken", "Server", part, latency_bound=str(0.9 * p99))
    assert broken.text.startswith("INVALID")
    assert "the latency bound is exceeded" in broken.text
    barely = judged(tmp_path / "barely", "Server", part, latency_bound=str(1.002 * p99))
    assert barely.values["valid"] == 0, "1 % of 10,000 beyond the bound does not claim 1 % of all at 99 %"
    assert "more within it are needed" in barely.text


def test_offline_wants_enough_samples(tmp_path: Path) -> None:
    few = judged(tmp_path / "few", "Offline", requests(1, count=95, rate=9.5, batch=256), min_duration="1")
    assert "24,320 samples, 24,576 are required" in few.text
    enough = judged(tmp_path / "enough", "Offline", requests(1, count=9_500, rate=950, batch=256))
    assert enough.text.startswith("VALID, Offline")
    assert enough.values["samples_per_second"] == pytest.approx(950 * 256, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"errors": 0.01}, "of 10,000 queries failed"),
        ({"unsent": 0.01}, "of 10,000 queries were due and not sent"),
    ],
)
def test_every_query_has_to_be_answered(tmp_path: Path, changes: dict[str, float], told: str) -> None:
    found = judged(tmp_path, "SingleStream", requests(1, count=10_000, **changes))  # type: ignore[arg-type]  # floats all
    assert found.text.startswith("INVALID")
    assert told in found.text


def test_it_has_to_last_and_to_end(tmp_path: Path) -> None:
    part = requests(1, count=10_000)
    short = judged(tmp_path / "short", "SingleStream", part, min_duration="600")
    assert short.text.startswith("INVALID")
    assert "600 s are required" in short.text
    cut = judged(tmp_path / "cut", "SingleStream", part, finish=False)
    assert "the run was not finished" in cut.text


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    """Answers with the digit's label after 2 ms."""
    with server_process.embedded(["--backend", "synthetic", "--model_name", "mnist"]) as launched:
        yield launched


@pytest.mark.parametrize(
    ("scenario", "arguments", "queries", "expected"),
    [
        ("single_stream", [], 1000, "VALID, SingleStream: p90 is at most"),
        ("multi_stream", [], 1000, "VALID, MultiStream: p99 is at most"),
        ("server", ["--schedule", "poisson:150", "--latency-bound", "10"], 500, "VALID, Server: "),
        ("offline", ["--batch-size", "64"], 1000, "VALID, Offline: "),
    ],
)
def test_the_scenarios_end_with_a_verdict(
    server: server_process.Server,
    tmp_path: Path,
    scenario: str,
    arguments: list[str],
    queries: int,
    expected: str,
) -> None:
    limits = ["--host", server.address, "-t", "3s", "--min-duration", "1"]
    done = load(tmp_path, " ".join([f"mlperf_{scenario}", *limits, *arguments]), queries)
    run = done.run()
    (found,) = answers(run)
    if unsent := run.manifest.raw["counts"]["unsent"]:  # a slow machine is behind the plan when the load ends
        assert scenario == "server"
        assert f"{unsent:,} of " in found.text
        expected = "INVALID, Server: "
    assert done.code == (1 if unsent else 0), done.output
    assert found.text.startswith(expected), found.text


def test_an_option_that_is_no_number_is_told_before_the_load(tmp_path: Path) -> None:
    arguments = ["--host", "127.0.0.1:1", "--latency-bound", "quick"]
    done = locust(tmp_path, *arguments, scenario="scenarios/mlperf_server.py")
    assert done.code == 2
    assert "bench: --latency-bound quick: expected a number of seconds" in done.output


def test_what_is_not_known_is_null_in_json(tmp_path: Path) -> None:
    """JSON has no nan: other programs refuse a file that holds one."""
    judged(tmp_path, "Server", requests(1, count=1000, errors=1.0), latency_bound="0.01")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    shown = bench("report", str(tmp_path), "--json", cwd=tmp_path)
    (run,) = json.loads(shown.stdout, parse_constant=refuse)["runs"]
    assert run["answers"][0]["values"]["p99"] is None
