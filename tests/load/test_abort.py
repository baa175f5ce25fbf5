"""A load ends as soon as what its last seconds measured is beyond a limit, and its run passes no gate."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.analysis.reading.run_warning import accepted
from bench.launch import server_process
from bench.load.abort_rules import EXAMPLES, LEAST, Errors, Goodput, Percentile, Seen, Watch, limits_of
from bench.runs.chunk import Chunk
from tests.cli.inside import bench
from tests.load.locust_runs import locust


def seen(latencies: list[float], *, failed: int = 0, mismatched: int = 0) -> Seen:
    """Requests answered after so many seconds, the first of them with a wrong answer, and some that failed."""
    due = np.zeros(len(latencies) + failed)
    after = np.array([*latencies, *[0.5] * failed])
    return Seen.of(
        Chunk.of(
            names=["Predict"],
            name_codes=due.astype(int),
            batch=np.ones(len(due)),
            due=due,
            sent=due,
            done=due + after,
            status=np.array([0] * len(latencies) + [14] * failed),
            version=np.ones(len(due)),
            correct=np.full(len(due), -1),
            mismatched=np.arange(len(due)) < mismatched,
        )
    )


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", ()),
        ("errors > 5 % / 10 s", (Errors("errors>5%/10s", 0.05, 10.0),)),
        ("p99.9>200ms/1m", (Percentile("p99.9>200ms/1m", 0.2, 60.0, 99.9),)),
        ("goodput(50ms)<90%/10", (Goodput("goodput(50ms)<90%/10", 0.9, 10.0, 0.05),)),
    ],
)
def test_texts_mean_limits(text: str, limits: object) -> None:
    assert limits_of(text) == limits
    assert len(limits_of(", ".join(EXAMPLES))) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("errors", "--abort-if errors: expected errors>5%/10s or p99>200ms/10s or goodput(50ms)<90%/10s"),
        ("errors<5%/10s", "--abort-if errors<5%/10s: expected"),
        ("errors>5%/10s,p99", "--abort-if p99: expected"),
        ("p100>1s/10s", "p100 is not a percentile between 0 and 100"),
        ("errors>5%/0s", "over more than 0 s"),
        ("errors>1e999%/1s", "expected a finite limit"),
    ],
)
def test_other_texts_are_refused(text: str, told: str) -> None:
    with pytest.raises(BenchError) as refused:
        limits_of(text)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "within", "beyond"),
    [
        ("errors>5%/1s", seen([0.01] * 95, failed=5), seen([0.01] * 94, failed=6)),
        ("errors>5%/1s", seen([], failed=LEAST - 1), seen([], failed=LEAST)),
        ("p99>20ms/1s", seen([0.01] * 99, failed=1), seen([0.01] * 98, failed=2)),
        ("p90>20ms/1s", seen([0.01] * 90 + [0.03] * 10), seen([0.01] * 89 + [0.03] * 11)),
        ("p99>20ms/1s", seen([0.03] * 99), seen([0.03] * 100)),
        ("goodput(20ms)<90%/1s", seen([0.01] * 90 + [0.03] * 10), seen([0.01] * 89 + [0.03] * 11)),
        ("goodput(20ms)<90%/1s", seen([0.01] * 100, mismatched=10), seen([0.01] * 100, mismatched=11)),
        ("goodput(20ms)<90%/1s", seen([0.01] * 90, failed=10), seen([0.01] * 89, failed=11)),
    ],
)
def test_a_limit_is_exceeded_beyond_it(text: str, within: Seen, beyond: Seen) -> None:
    (limit,) = limits_of(text)
    assert limit.exceeded(within) is None
    reason = limit.exceeded(beyond)
    assert reason is not None
    assert reason.endswith(f"of {beyond.count} requests in the last 1 s, --abort-if {text}")


def test_only_the_last_seconds_count_and_all_of_them() -> None:
    told: list[str] = []
    watch = Watch(limits_of("errors>50%/10s"), 100.0, told.append)
    watch.judge(seen([], failed=100), 101.0)
    assert not told, "the load has not lasted as long as the limit looks back"
    watch.judge(seen([0.01] * 60), 112.0)
    assert not told, "what failed is no longer among the last ten seconds"
    watch.judge(seen([], failed=61), 121.0)
    assert len(told) == 1


def test_the_first_limit_that_is_exceeded_is_told_once() -> None:
    told: list[str] = []
    watch = Watch(limits_of("p50>1s/5s,errors>5%/10s"), 0.0, told.append)
    watch.judge(seen([0.01] * 50, failed=50), 9.0)
    watch.judge(seen([0.01] * 50), 11.0)
    watch.judge(seen([], failed=50), 12.0)
    assert told == ["errors 33.3% of 150 requests in the last 10 s, --abort-if errors>5%/10s"]


def test_a_run_that_was_aborted_passes_no_gate(tmp_path: Path) -> None:
    with server_process.embedded(["--backend", "null"]) as server:
        rules = "errors>5%/1s, p50>1us/1s"
        load = ["--host", server.address, "-u", "2", "-r", "2", "-t", "120s", "--schedule", "closed:10ms"]
        done = locust(tmp_path / "results", *load, "--abort-if", rules)
    assert done.code == 3, done.output
    run = done.run()
    assert run.manifest.state == "interrupted"
    assert run.manifest.raw["abort_if"] == ["errors>5%/1s", "p50>1us/1s"]
    (warning,) = [warning for warning in run.manifest.doubts if warning.check == "aborted"]
    assert "in the last 1 s, --abort-if p50>1us/1s" in warning.reason
    (event,) = [row for row in run.events if row["kind"] == "aborted"]
    assert str(event["text"]) in warning.reason
    limits = tmp_path / "limits.toml"
    limits.write_text('accept = ["interrupted", "short", "behind", "unsteady"]\n[limits]\np50_ms = 10_000\n')
    gate = bench("gate", run.path, "--limits", limits, "--json", tmp_path / "gate.json", cwd=tmp_path)
    assert gate.returncode == 3, gate.stdout + gate.stderr
    told = json.loads((tmp_path / "gate.json").read_text())
    assert "aborted" in {doubt["check"] for doubt in told["doubts"]}


def test_that_it_was_aborted_cannot_be_accepted() -> None:
    with pytest.raises(BenchError, match="--abort-if ended the load"):
        accepted(["aborted"], "limits.toml: accept")
