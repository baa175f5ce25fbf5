"""Client and server are held against each other: counts, and where the time of a request went."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.doubt import Doubt
from bench.analysis.reconciliation import TOLERANCE, check, split
from bench.config.servers import read_servers
from bench.load.counters import counters
from bench.load.site import exported
from bench.run import Run
from bench.serve.launching.kinds import launched
from bench.serve.launching.running import Served
from tests.analysis.delay_line import delay_line
from tests.load.locust_runs import locust

TIMEOUT, HOLD = 0.05, 0.02
"""Seconds. Ten times what has to be found at the least, so that a busy machine does not matter."""


def test_an_injected_delay_shows_up_in_its_part(tmp_path: Path) -> None:
    servers = tmp_path / "servers.toml"
    servers.write_text(
        '[servers.it]\nkind = "embedded"\n'
        f"batching = {{ max_batch_size = 1000, batch_timeout_micros = {TIMEOUT * 1e6:.0f} }}\n"
    )
    models = [Served("mnist", exported("mnist", ["--pair"], versions=(1, 2), say=print), (2,))]
    with launched(read_servers(servers)["it"], models, tmp_path / "place") as server:
        assert server.metrics is not None
        with delay_line(server.address, HOLD) as line:
            arguments = ["--host", line.address, "--server-metrics", server.metrics]
            done = locust(
                tmp_path / "results", "-u", "1", "-t", "3s", "--exit-code-on-error", "0", *arguments
            )
    run = done.run()
    found = split(run)
    assert found is not None, done.output
    assert found.requests == found.server_requests > 20
    assert check(run) == []
    assert found.off < TOLERANCE
    held = sum(line.held) / len(line.held)
    assert held == pytest.approx(HOLD, rel=0.1)
    assert found.seconds("wire and gRPC") == pytest.approx(held, rel=0.1)
    assert found.seconds("batching queue") == pytest.approx(TIMEOUT, rel=0.1)
    assert found.mean == pytest.approx(TIMEOUT + held, rel=0.1)
    # the counters were read while the load ran, too
    during = [row for row in run.telemetry if row["source"] == "counters" and "ok" in row]
    assert 0 < during[-1]["ok"] <= found.server_requests


BEFORE = {"ok": 5.0, "failed": 0.0, "request_seconds": 1.0, "request_count": 5.0, "runtime_seconds": 0.5,
          "runtime_count": 5.0, "queue_seconds": 0.0, "queue_count": 0.0, "batches": 0.0}  # fmt: skip


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run of 20 requests that took 10 ms each, 1 ms of it the client's own lag."""
    import numpy as np

    from bench.chunk import Chunk
    from bench.recording import RunWriter

    writer = RunWriter.create(tmp_path, "recorded", None, {"load": {"kind": "closed"}})
    due = np.arange(20) * 0.1
    writer.append(
        0,
        Chunk.of(
            names=["Predict"],
            name_codes=np.zeros(20, np.int32),
            batch=np.ones(20, np.int32),
            due=due,
            sent=due + 0.001,
            done=due + 0.010,
            status=np.zeros(20, np.int16),
            version=np.ones(20, np.int64),
            correct=np.ones(20, np.int32),
            mismatched=np.zeros(20, np.bool_),
            keep_samples=False,
        ),
    )
    writer.finish(counts={"sent": 20, "unsent": 0, "recorded": 20})
    return writer.path


def told(path: Path, **growth: float) -> Run:
    """The run with server counters that have grown."""
    manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    after = {name: value + growth.get(name, 0.0) for name, value in BEFORE.items()}
    manifest["server_counters"] = {"url": "http://h", "before": BEFORE, "after": after if growth else None}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return Run.open(path)


AGREEING = {"ok": 20, "request_seconds": 0.08, "request_count": 20, "runtime_seconds": 0.06, "runtime_count": 20,
            "queue_seconds": 0.02, "queue_count": 20}  # fmt: skip


def test_the_parts_add_up_to_the_latency(recorded: Path) -> None:
    run = told(recorded, **AGREEING)
    found = split(run)
    assert found is not None
    assert {part.name: round(part.seconds * 1e3, 2) for part in found.parts} == {
        "client queue": 1.0,
        "wire and gRPC": 5.0,
        "server pre/post": 1.0,
        "batching queue": 1.0,
        "runtime": 2.0,
    }
    assert found.off < 0.002
    assert check(run) == []


@pytest.mark.parametrize(
    ("growth", "name", "reason"),
    [
        (AGREEING | {"ok": 21}, "not reconciled", "20 requests were answered OK, the server counts 21"),
        (AGREEING | {"ok": 19}, "not reconciled", "20 requests were answered OK, the server counts 19"),
        # the server says that a request took it 15 ms, of which the client saw 9
        (
            AGREEING | {"request_seconds": 0.30},
            "not reconciled",
            "the parts of the latency add up to 160% of it",
        ),
        ({"ok": -5}, "restarted", "the server's counters fell during the run (ok): it was started anew"),
        ({}, "not reconciled", "the server did not tell its counters after the run"),
    ],
)
def test_disagreement_is_a_doubt(recorded: Path, growth: dict[str, float], name: str, reason: str) -> None:
    (doubt,) = check(told(recorded, **growth))
    assert isinstance(doubt, Doubt)
    assert (doubt.check, doubt.reason) == (name, reason)
    assert doubt.remedy


def test_without_counters_nothing_is_said(recorded: Path) -> None:
    assert split(Run.open(recorded)) is None
    assert check(Run.open(recorded)) == []


def test_a_page_of_the_original_is_read() -> None:
    page = """
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="mnist",status="OK"} 7
:tensorflow:serving:request_count{model_name="mnist",status="NOT_FOUND"} 2
:tensorflow:serving:request_count{model_name="other",status="OK"} 9
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="mnist",API="Predict",entrypoint="GRPC",le="10"} 3
:tensorflow:serving:request_latency_sum{model_name="mnist",API="Predict",entrypoint="GRPC"} 2.5e+06
:tensorflow:serving:request_latency_count{model_name="mnist",API="Predict",entrypoint="GRPC"} 7
:tensorflow:serving:request_latency_sum{model_name="mnist",API="predict",entrypoint="REST"} 9e+06
:tensorflow:serving:runtime_latency_sum{model_name="mnist",API="Predict",runtime="TF1"} 1e+06
:tensorflow:serving:runtime_latency_count{model_name="mnist",API="Predict",runtime="TF1"} 7
:tensorflow:serving:batching_session:queuing_latency_sum{thread_pool_name=""} 500000
:tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name=""} 7
:tensorflow:serving:batching_session:wrapped_run_count{} 4
"""
    assert counters(page, "mnist") == {
        "ok": 7,
        "failed": 2,
        "request_seconds": 2.5,
        "request_count": 7,
        "runtime_seconds": 1.0,
        "runtime_count": 7,
        "queue_seconds": 0.5,
        "queue_count": 7,
        "batches": 4,
    }
