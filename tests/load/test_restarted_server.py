"""A server that is killed under load and comes back is said to be one, however fresh it was before."""

import json
import os
import signal
import urllib.request
from pathlib import Path

from bench.analysis.reading.reconciliation import check
from bench.launch import server_process
from bench.load.observing.counters import counters
from bench.protocol.registry import api_named
from tests.load.locust_runs import finish, start, wait_for, wait_for_folder
from tests.ports import free_port


def test_a_server_that_was_killed_and_came_back(tmp_path: Path) -> None:
    config = tmp_path / "monitoring.config"
    config.write_text('prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }')
    rest = free_port()
    page = f"http://127.0.0.1:{rest}/monitoring/prometheus/metrics"
    arguments = ["--backend=synthetic", "--model_name=mnist", "--service-time=constant(5ms)"]
    arguments += [f"--port={free_port()}", f"--rest_api_port={rest}", f"--monitoring_config_file={config}"]
    with server_process.embedded(arguments) as first:
        load = ["--host", first.address, "--server-metrics", page, "--server-pid", str(first.pid)]
        process = start(tmp_path / "results", *load, "-u", "2", "-r", "2", "--exit-code-on-error", "0")
        wait_for_folder(tmp_path / "results", process)
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait()
    with server_process.embedded(arguments):

        def answered() -> bool:
            with urllib.request.urlopen(page) as said:
                return counters(said.read().decode(), "mnist", api_named("tfs"))["ok"] > 20

        def missed() -> bool:
            return any(
                json.loads(row).get("processes") == 0
                for path in (tmp_path / "results").glob("*/telemetry.jsonl")
                for row in path.read_text().splitlines()
                if row.endswith("}")
            )

        wait_for(answered, process)
        wait_for(missed, process)  # telemetry looks once a second
        process.send_signal(signal.SIGINT)
        run = finish(process, tmp_path / "results").run()
    assert run.manifest.target.pid == first.pid
    assert isinstance(run.manifest.target.started, float)
    (warning,) = check(run)
    assert warning.check == "restarted"
    assert "its process had ended at" in warning.reason
    assert "requests found no server or lost it" in warning.reason
    assert "its counters fell" in warning.reason or "it counts only" in warning.reason
