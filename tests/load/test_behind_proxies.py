"""Runs behind a proxy that ends its connections: nothing counts as lost; retries, addresses and waits are told."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.analysis.reading.checks import warnings_of
from bench.launch import server_process
from tests.cli.inside import bench
from tests.load.locust_runs import start, until_recorded
from tests.wire.proxies import needs, nginx


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with (
        server_process.embedded(["--backend", "null"]) as server,
        nginx(server.address, "keepalive_requests 20; http2_max_concurrent_streams 4;") as behind,
    ):
        yield behind


@needs("nginx")
@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        ("scenarios/mnist.py", ("-u", "32", "-r", "100", "--processes", "2")),
        ("scenarios/mnist_open.py", ("-u", "1", "--schedule", "poisson:1500")),
    ],
    ids=["closed loop, two processes", "open loop"],
)
def test_retries_are_no_lost_requests(
    address: str, tmp_path: Path, scenario: str, options: tuple[str, ...]
) -> None:
    process = start(tmp_path, "--host", address, "--references", "0", *options, scenario=scenario)
    done = until_recorded(process, tmp_path, 1_000, workers=2 if "--processes" in options else 1)
    run = done.run()
    counts = run.manifest.raw["counts"]
    assert "incomplete" not in {warning.check for warning in warnings_of(run)}, done.output
    assert counts["retries"] > 0
    assert counts["sent"] + counts["unsent"] == counts["recorded"] == len(run.samples)
    assert counts["addresses"] == {address: counts["sent"]}
    assert sum(worker["retries"] for worker in run.manifest.raw["workers"]) == counts["retries"]
    samples = run.samples[run.samples["status"] == 0]
    assert (samples["done"] > samples["sent"]).all()
    assert (
        json.loads(bench("report", run.path, "--json", cwd=tmp_path).stdout)["runs"][0]["retries"]
        == counts["retries"]
    )
    shown = " ".join(bench("report", run.path, cwd=tmp_path).stdout.split())
    assert f"{counts['retries']:,} times" in shown
    assert (
        sum(worker["waited"]["stream"] for worker in run.manifest.raw["workers"])
        == counts["waited"]["stream"]
    )
    assert counts["most_streams"] == 4
    assert "waited for a stream: the server allows 4 calls at once on a connection" in shown
