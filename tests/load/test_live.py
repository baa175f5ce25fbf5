"""Metrics while a run lasts: what a collector receives at the end, and what Prometheus reads, is what the run folder holds."""

import http.server
import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.reading.run_warning import KNOWN
from bench.launch import server_process
from bench.load.observing.signs import Signs
from bench.load.observing.totals import BOUNDS, Totals, buckets
from bench.runs.chunk import Chunk
from bench.runs.histogram import Histogram
from tests.load.locust_runs import ROOT, interrupt, start, until_recorded, wait_for
from tests.ports import free_port
from tests.recorded import requests


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """URL, and the bodies that were posted to it."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/metrics", bodies
    finally:
        server.shutdown()
        server.server_close()


def test_buckets_hold_every_duration_once_within_a_tenth_of_a_per_cent() -> None:
    durations = np.random.default_rng(3).lognormal(-6, 2, 20_000)
    found = buckets(Histogram.of(durations))
    assert found.total == sum(found.counts) == len(durations)
    assert found.sum == pytest.approx(durations.sum(), rel=1e-3)
    until = 0
    for bound, count in zip(BOUNDS, found.counts, strict=False):
        until += count
        assert (durations <= bound).sum() <= until <= (durations <= bound * 1.001).sum()


def test_totals_grow_by_what_is_handed_over() -> None:
    totals = Totals()
    for seed in range(3):
        totals.add(Chunk.of(**requests(seed, count=500, errors=0.1), keep_samples=False))
    assert sum(totals.requests.values()) == 1500
    assert {series.outcome for series in totals.requests} == {"OK", "UNAVAILABLE"}
    assert sum(each.total for _, each in totals.durations("latency")) == 1500
    totals.observe({"time": 1.0, "source": "worker 0", "in_flight_max": 3.0, "cpu_seconds": 1.0})
    assert totals.gauges == {("in_flight_max", "worker 0"): 3.0}


def test_goodput_is_what_was_answered_rightly_within_each_bound() -> None:
    totals = Totals()
    chunk = Chunk.of(**requests(5, count=4000, errors=0.2, mismatched=0.3, service=0.004), keep_samples=True)
    totals.add(chunk)
    ((series, found),) = totals.durations("goodput")
    assert series.outcome == "OK"
    given = requests(5, count=4000, errors=0.2, mismatched=0.3, service=0.004)
    right = (given["status"] == 0) & ~given["mismatched"]
    latency = (given["done"] - given["due"])[right]
    assert found.total == right.sum()
    assert found.sum == pytest.approx(latency.sum(), rel=1e-3)
    for bound, count in zip(BOUNDS, np.cumsum(found.counts), strict=False):
        assert (latency <= bound * 0.999).sum() <= count <= (latency <= bound * 1.001).sum()


def test_signs_of_warnings_are_counted_in_the_second_in_which_they_arise() -> None:
    signs = Signs(open_loop=True)
    signs.add(Chunk.of(**requests(1, count=500)))
    for each in (
        {"source": "worker 0", "cpu_seconds": 1.0, "run_delay": 0.05, "loop_delay": 0.001},
        {"source": "machine", "steal": 0.01},
        {"source": "load", "workers": 2},
        {"source": "server", "processes": 3},
    ):
        signs.observe({"time": 1.0, **each})
    assert not signs.seconds
    signs.add(Chunk.of(**requests(2, count=500, errors=0.1, mismatched=0.1, lag=0.01)))
    signs.add(Chunk.of(**requests(3, count=500, cancelled=0.5)))
    for each in (
        {"source": "worker 0", "cpu_seconds": 1.9, "run_delay": 0.5, "loop_delay": 0.2},
        {"source": "worker 1", "run_delay": 0.5},
        {"source": "machine", "steal": 0.2},
        {"source": "load", "workers": 1},
        {"source": "server", "processes": 0},
    ):
        signs.observe({"time": 2.0, **each})
    assert signs.seconds == {
        **dict.fromkeys(["errors", "wrong answers", "behind", "client saturated", "client paused"], 1),
        **dict.fromkeys(["stolen time", "lost worker", "restarted"], 1),
        "client held up": 2,
    }
    assert set(signs.seconds) <= set(KNOWN), "names by which the report has them"
    closed = Signs()
    closed.add(Chunk.of(**requests(2, count=500, lag=0.01)))
    assert not closed.seconds


def test_a_collector_receives_what_the_run_holds(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'serving-bench[otel]'")
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    with server_process.embedded(["--backend", "null"]) as server, collector() as (url, bodies):
        load = [
            "--host",
            server.address,
            "-u",
            "2",
            "-r",
            "2",
            "--schedule",
            "closed:5ms",
            "--otlp",
            url,
        ]
        done = until_recorded(start(tmp_path, *load), tmp_path, 50)
    assert done.code == 0, done.output
    run = done.run()
    message = ExportMetricsServiceRequest.FromString(bodies[-1])
    (resource,) = message.resource_metrics
    metrics = {each.name: each for each in resource.scope_metrics[0].metrics}
    counted = sum(
        point.as_int or point.as_double for point in metrics["serving_bench.requests"].sum.data_points
    )
    assert counted == run.manifest.counts.recorded
    for name, kind in (("latency", "latency"), ("send_delay", "lag")):
        points = metrics[f"serving_bench.{name}"].histogram.data_points
        whole = run.within(*run.seconds).histogram(kind, lambda _: True)
        assert sum(point.count for point in points) == whole.count
        assert sum(point.sum for point in points) == pytest.approx(whole.mean * whole.count, rel=1e-9)
        assert sum(sum(point.bucket_counts) for point in points) == whole.count
    (good,) = metrics["serving_bench.goodput"].histogram.data_points
    assert good.count == sum(
        tally.requests - tally.mismatched for (key, _), tally in run.tallies.items() if key.outcome == "OK"
    )
    told = {
        point.attributes[0].value.string_value
        for point in metrics["serving_bench.warnings"].gauge.data_points
    }
    assert told == {doubt.check for doubt in run.manifest.doubts}
    assert {each.value.string_value for each in resource.resource.attributes if each.key == "run"} == {
        run.path.name
    }


def test_a_port_is_offered_while_a_run_lasts(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="pip install 'serving-bench[prometheus]'")
    where = f"127.0.0.1:{free_port()}"

    def offered() -> bool:
        try:
            with urllib.request.urlopen(f"http://{where}/metrics") as page:
                return 'serving_bench_requests_total{outcome="OK"' in page.read().decode()
        except OSError:
            return False

    with server_process.embedded(["--backend", "null"]) as server:
        load = ["--host", server.address, "-u", "2", "-r", "2", "--schedule", "closed:5ms"]
        process = start(tmp_path, *load, "--prometheus", where)
        wait_for(offered, process)
        done = interrupt(process, tmp_path)
    assert done.code == 0, done.output


def test_the_dashboard_draws_metrics_that_there_are() -> None:
    pytest.importorskip("prometheus_client", reason="pip install 'serving-bench[prometheus]'")
    from bench.load.locust_glue.live import as_prometheus

    board = json.loads((ROOT / "deploy" / "grafana" / "serving-bench.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) == 8
    drawn = {
        re.sub("_(total|bucket)$", "", name)
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"serving_bench_\w+", target["expr"])
    }
    assert drawn == {family.name for family in as_prometheus(Totals())}


def test_prometheus_reads_the_same() -> None:
    client = pytest.importorskip("prometheus_client", reason="pip install 'serving-bench[prometheus]'")
    from prometheus_client.parser import text_string_to_metric_families

    from bench.load.locust_glue.live import as_prometheus

    totals = Totals()
    totals.add(Chunk.of(**requests(1, count=500, errors=0.1), keep_samples=False))
    registry = client.CollectorRegistry()
    registry.register(type("Own", (), {"collect": lambda _: as_prometheus(totals)})())
    families = {
        each.name: each for each in text_string_to_metric_families(client.generate_latest(registry).decode())
    }
    requested = sum(sample.value for sample in families["serving_bench_requests"].samples)
    assert requested == 500
    counts = [s.value for s in families["serving_bench_latency_seconds"].samples if s.name.endswith("_count")]
    assert sum(counts) == 500


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--otlp", "localhost:4318"], "--otlp localhost:4318: expected a URL"),
        (["--prometheus", "nowhere"], "address 'nowhere': expected host:port"),
    ],
)
def test_what_is_no_address_is_one_line(option: list[str], told: str) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'serving-bench[otel]'")
    pytest.importorskip("prometheus_client", reason="pip install 'serving-bench[prometheus]'")
    from types import SimpleNamespace

    from bench import BenchError
    from bench.load.locust_glue.live import live_options

    given = {"otlp": "", "prometheus": ""} | {option[0].removeprefix("--"): option[1]}
    with pytest.raises(BenchError) as refused:
        live_options(SimpleNamespace(**given))
    assert told in str(refused.value)
