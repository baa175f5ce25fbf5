"""Client and server are held against each other: counts, and where the time of a request went."""

import contextlib
import io
import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.analysis.reading.reconciliation import TOLERANCE, Stage, check, split
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.showing.page import render_page
from bench.analysis.showing.report import plain, report
from bench.analysis.showing.split_table import TITLE, split_table
from bench.analysis.showing.table import markdown
from bench.cli.tables import show_report
from bench.launch.kinds import launched
from bench.launch.running import Running, Served
from bench.launch.servers_file import read_servers
from bench.load.observing.counters import counters
from bench.load.site import exported
from bench.protocol.registry import api_named
from bench.runs.chunk import Chunk
from bench.runs.run import Run
from tests.analysis.delay_line import delay_line
from tests.load.locust_runs import locust, start, until_recorded
from tests.recorded import end, requests, write

TIMEOUT, HOLD = 0.2, 0.1
"""Seconds. Forty times what has to be found at the least, so that little else matters; the true sizes are in
tests/benchmarks/latency_split.py."""
SHORTER = 0.005
"""Seconds by which a part may seem shorter than it is, since clocks and pages round."""


def test_an_injected_delay_shows_up_in_its_part(tmp_path: Path) -> None:
    servers = tmp_path / "servers.toml"
    servers.write_text(
        '[servers.it]\nkind = "embedded"\n'
        f"batching = {{ max_batch_size = 1000, batch_timeout_micros = {TIMEOUT * 1e6:.0f} }}\n"
    )
    models = [Served("mnist", exported("mnist", ["--pair"], versions=(1, 2), say=print), (2,))]
    with launched(read_servers(servers)["it"], models, tmp_path / "place") as server:
        run, held = through_a_delay_line(server, tmp_path / "results")
    found = split(run)
    assert found is not None
    taken_back = int((run.samples["status"] != 0).sum())  # by the end of the load, where a machine is slow
    assert 0 < found.requests <= found.server_requests <= found.requests + taken_back
    assert check(run) == []
    # the counters were read while the load ran, too
    during = [row for row in run.telemetry if row["source"] == "counters" and "ok" in row]
    counted = run.manifest.raw["server_counters"]
    assert counted["before"]["ok"] < during[-1]["ok"] <= counted["after"]["ok"]
    # A busy machine makes each part longer, and none shorter: a delay in another part than its own leaves its own too short,
    # and a part that is too long makes the sum too long.
    assert held > HOLD - SHORTER
    assert found.seconds(Stage.WIRE) > held - SHORTER
    assert found.seconds(Stage.BATCHING_QUEUE) > TIMEOUT - SHORTER
    assert found.off < TOLERANCE


def through_a_delay_line(server: Running, results: Path) -> tuple[Run, float]:
    """A run of a few seconds with one user, and the mean of the seconds for which its requests were really held."""
    assert server.metrics is not None
    with delay_line(server.address, HOLD) as line:
        arguments = ["--host", line.address, "--server-metrics", server.metrics]
        done = locust(results, "-u", "1", "-t", "3s", "--exit-code-on-error", "0", *arguments)
        return done.run(), sum(line.held) / len(line.held)


def test_a_server_that_lies_gives_a_warning(tmp_path: Path) -> None:
    """One request too many, and latencies of a second, are told by a page beside the true one."""
    servers = tmp_path / "servers.toml"
    servers.write_text(
        '[servers.it]\nkind = "embedded"\nflags = { backend = "synthetic", service_time = "constant(5ms)" }\n'
    )
    models = [Served("mnist", None, ())]
    with launched(read_servers(servers)["it"], models, tmp_path / "place") as server:
        assert server.metrics is not None
        with lying_page(server.metrics) as page:
            arguments = ["--host", server.address, "--server-metrics", page, "-u", "2"]
            run = until_recorded(start(tmp_path / "results", *arguments), tmp_path / "results", 20).run()
    answered = run.manifest.raw["counts"]["recorded"]
    reasons = [warning.reason for warning in check(run)]
    assert f"{answered:,} requests were answered OK, the server counts {answered + 1:,}" in reasons
    assert any(reason.startswith("server: time of a request ") for reason in reasons)


@contextlib.contextmanager
def lying_page(url: str) -> Iterator[str]:
    """The page at the URL, from its second reading on with one OK request and 100 s more."""
    served = 0

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal served
            with urllib.request.urlopen(url) as answer:  # noqa: S310 - the server that this test has started
                text = answer.read().decode()
            if served:
                text = re.sub(r"(request_count\{.*OK.*\}) (\d+)", lambda m: f"{m[1]} {int(m[2]) + 1}", text)
                text = re.sub(
                    r"(request_latency_sum\{.*\}) (\S+)", lambda m: f"{m[1]} {float(m[2]) + 1e8}", text
                )
            served += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/"
        finally:
            http.shutdown()
            thread.join()


BEFORE = {"ok": 5.0, "failed": 0.0, "request_seconds": 1.0, "request_count": 5.0, "runtime_seconds": 0.5,
          "runtime_count": 5.0, "queue_seconds": 0.0, "queue_count": 0.0, "other_count": 0.0, "batches": 0.0}  # fmt: skip


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run of 20 requests that took 10 ms each, 1 ms of it the client's own lag."""
    import numpy as np

    from bench.runs.chunk import Chunk
    from bench.runs.recording import RunWriter

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
    end(writer, counts={"sent": 20, "unsent": 0, "recorded": 20})
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
    assert {part.stage: round(part.seconds * 1e3, 2) for part in found.parts} == {
        "client queue": 1.0,
        "wire and gRPC": 5.0,
        "server pre/post": 1.0,
        "batching queue": 1.0,
        "runtime": 2.0,
    }
    assert found.off < 0.002
    assert check(run) == []


OFF = "not reconciled"
SUM = "(means): the parts of the latency add up to"


@pytest.mark.parametrize(
    ("growth", "name", "reasons"),
    [
        (
            AGREEING | {"ok": 21},
            OFF,
            ["20 requests were answered OK, the server counts 21", "counts 21 requests"],
        ),
        (
            AGREEING | {"ok": 19},
            OFF,
            ["20 requests were answered OK, the server counts only 19", "counts 19 requests"],
        ),
        (
            AGREEING | {"request_count": 19},
            OFF,
            ["the server counts 20 requests answered OK, and has measured the latency of 19"],
        ),
        # the client saw 9 ms, and 2 % of the latency are 0.2 ms
        (
            AGREEING | {"request_seconds": 0.30},
            OFF,
            [f"server: time of a request 15.0 ms, the client waits 9.00 ms {SUM} 160% of it"],
        ),
        (
            AGREEING | {"request_seconds": 0.185},
            OFF,
            [f"server: time of a request 9.25 ms, the client waits 9.00 ms {SUM} 103% of it"],
        ),
        (AGREEING | {"request_seconds": 0.183}, OFF, []),
        (
            AGREEING | {"runtime_seconds": 0.10},
            OFF,
            [f"server: time of the model 5.00 ms, a whole request 4.00 ms {SUM} 110% of it"],
        ),
        (
            AGREEING | {"queue_seconds": 0.10},
            OFF,
            [
                f"server: time in the batching queue 5.00 ms, waiting and the model take 3.00 ms {SUM} 120% of it"
            ],
        ),
        ({"ok": -5}, "restarted", ["the server ended, or was restarted: its counters fell (ok)"]),
        ({}, OFF, ["the server did not report its counters after the run"]),
    ],
)
def test_disagreement_is_a_warning(
    recorded: Path, growth: dict[str, float], name: str, reasons: list[str]
) -> None:
    found = check(told(recorded, **growth))
    assert len(found) == len(reasons)
    for warning, reason in zip(found, reasons, strict=True):
        assert isinstance(warning, RunWarning)
        assert warning.check == name
        assert reason in warning.reason
        assert warning.remedy


def unanswered(root: Path, status: int, **manifest: Any) -> Path:
    """The run of `recorded`, and 5 requests that ended otherwise."""
    rows = requests(1, count=25, rate=10) | {"status": np.where(np.arange(25) < 20, 0, status)}
    return write(root, [Chunk.of(**rows, keep_samples=False)], scenario="unanswered", **manifest).path


@pytest.mark.parametrize(
    ("status", "counted", "name"),
    [
        (4, 20, None),
        (4, 23, None),  # the server answered three that the client had given up
        (4, 25, None),
        (4, 26, OFF),
        (-2, 25, None),
        (3, 20, None),
        (3, 21, OFF),  # what the server refused it has not answered
        (14, 23, None),
        *((made, 23, None) for made in (2, 8, 12, 13)),  # of an answer that the client cannot take
        (13, 26, OFF),
        (14, 12, "restarted"),  # it was fresh before the run, so no counter fell
        (4, 12, OFF),
    ],
)
def test_what_the_client_gave_up_may_have_been_answered(
    tmp_path: Path, status: int, counted: int, name: str | None
) -> None:
    fresh = dict.fromkeys(BEFORE, 0.0)
    after = fresh | {"ok": counted, "request_count": counted, "runtime_count": counted}
    path = unanswered(tmp_path, status, server_counters={"url": "http://h", "before": fresh, "after": after})
    assert [warning.check for warning in check(Run.open(path))] == ([name] if name else [])


def test_a_request_that_was_sent_again_may_count_twice(tmp_path: Path) -> None:
    fresh = dict.fromkeys(BEFORE, 0.0)
    after = fresh | {"ok": 22, "request_count": 22, "runtime_count": 22}
    path = unanswered(tmp_path, 3, server_counters={"url": "http://h", "before": fresh, "after": after})
    said = json.loads((path / "manifest.json").read_text())
    said["counts"]["retries"] = 2
    (path / "manifest.json").write_text(json.dumps(said))
    assert check(Run.open(path)) == []


def test_every_form_of_a_report_tells_the_parts(recorded: Path) -> None:
    found = report([told(recorded, **AGREEING)])
    expected = {
        "mean ms": "10.0",
        "client queue ms": "1.00",
        "wire and gRPC ms": "5.00",
        "server pre/post ms": "1.00",
        "batching queue ms": "1.00",
        "runtime ms": "2.00",
    }
    drawn = split_table(found)
    assert drawn is not None
    assert {column.title: column.texts[0] for column in drawn.columns} == expected
    row = "| " + " | ".join(expected.values()) + " |"
    assert row in markdown(found, None, drawn)
    console = Console(file=io.StringIO(), width=120)
    show_report(console, found)
    assert isinstance(console.file, io.StringIO)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert list(expected.values()) in lines
    page = render_page(found)
    assert f"<h2>{TITLE}</h2>" in page
    assert all(f'data-title="{title}" class="number">{text}</td>' in page for title, text in expected.items())
    (run,) = plain(found)["runs"]
    assert run["split"]["parts"]["wire and gRPC"] == pytest.approx(0.005, abs=1e-5)
    assert (run["split"]["requests"], run["split"]["server_requests"]) == (20, 20)


def test_without_counters_no_form_tells_parts(recorded: Path) -> None:
    found = report([Run.open(recorded)])
    assert split_table(found) is None
    assert TITLE not in render_page(found)
    assert plain(found)["runs"][0]["split"] is None


def test_a_rounded_page_is_no_disagreement(recorded: Path) -> None:
    """A page has six digits: one that says 1e5 s may mean 0.5 s more or less, 25 ms for each of 20 requests."""
    told(recorded, **AGREEING | {"request_seconds": 0.30})
    manifest = json.loads((recorded / "manifest.json").read_text())
    for reading in ("before", "after"):
        manifest["server_counters"][reading]["request_seconds"] += 1e5
    (recorded / "manifest.json").write_text(json.dumps(manifest))
    assert check(Run.open(recorded)) == []


def test_what_was_asked_over_rest_is_not_split(recorded: Path) -> None:
    run = told(recorded, **AGREEING | {"request_count": 12, "other_count": 8})
    assert check(run) == []
    assert split(run) is None


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
:tensorflow:serving:request_latency_count{model_name="mnist",API="predict",entrypoint="REST"} 4
:tensorflow:serving:request_latency_count{model_name="other",API="Predict",entrypoint="GRPC"} 9
:tensorflow:serving:runtime_latency_sum{model_name="mnist",API="Predict",runtime="TF1"} 1e+06
:tensorflow:serving:runtime_latency_count{model_name="mnist",API="Predict",runtime="TF1"} 7
:tensorflow:serving:batching_session:queuing_latency_sum{thread_pool_name=""} 500000
:tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name=""} 7
:tensorflow:serving:batching_session:wrapped_run_count{} 4
"""
    assert counters(page, "mnist", api_named("tfs")) == {
        "ok": 7,
        "failed": 2,
        "request_seconds": 2.5,
        "request_count": 7,
        "other_count": 4,
        "runtime_seconds": 1.0,
        "runtime_count": 7,
        "queue_seconds": 0.5,
        "queue_count": 7,
        "batches": 4,
    }
