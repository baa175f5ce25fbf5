"""The main job with real processes: Locust, the embedded server, a run folder at the end."""

import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.analysis.reading.checks import STEADY_SECONDS
from bench.launch import server_process
from bench.runs.run import Run
from tests.launch.conftest import gone
from tests.load.locust_runs import (
    Finished,
    Process,
    finish,
    interrupt,
    interrupt_when,
    locust,
    manifest,
    start,
    until_recorded,
    wait_for_folder,
)

SLOWLY = ("--schedule", "closed:2ms")
"""Loads whose throughput is not in question leave the processor to others."""


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[server_process.Server]:
    """Versions 1 and 2 of MNIST, REST beside gRPC for its counters."""
    config = models / "all.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "mnist" base_path: "{models}/mnist" '
        'model_platform: "tensorflow" model_version_policy { all {} } } }'
    )
    monitoring = models / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    arguments = ["--model_config_file", str(config), "--rest_api_port", "0"]
    with server_process.embedded([*arguments, "--monitoring_config_file", str(monitoring)]) as launched:
        yield launched


@pytest.fixture(scope="module", autouse=True)
def unserved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Path]]:
    """A load whose server is not there, and its results. It looks for that for seconds: begun before all other tests."""
    results = tmp_path_factory.mktemp("unserved")
    process = start(results, "--host", "127.0.0.1:1", "-u", "1", "-t", "1s")
    yield process, results
    process.kill()
    process.communicate()


def answered(server: server_process.Server) -> int:
    """OK answers to Predict that the server has counted."""
    url = f"http://{server.rest}/monitoring/prometheus/metrics"
    with urllib.request.urlopen(url, timeout=10) as page:
        text = page.read().decode()
    prefix = ':tensorflow:serving:request_count{model_name="mnist",status="OK"}'
    return sum(int(line.split()[-1]) for line in text.splitlines() if line.startswith(prefix))


@pytest.mark.parametrize("processes", [1, 2])
def test_sent_recorded_and_answered_are_the_same_number(
    server: server_process.Server, tmp_path: Path, processes: int
) -> None:
    before = answered(server)
    several = ["--processes", "2"] if processes > 1 else []
    preflight = 1
    asked = ["--host", server.address, "--references", "0"]
    process = start(tmp_path, *asked, "-u", "8", "-r", "8", "--schedule", "closed:10ms", *several)
    done = until_recorded(process, tmp_path, 500, workers=processes)
    assert done.code == 0, done.output
    run = done.run()
    assert run.finished
    samples = run.samples
    counts = run.manifest.raw["counts"]
    assert counts["sent"] == counts["recorded"] == len(samples) == answered(server) - before - preflight
    assert len(samples) >= 500
    assert set(samples["worker"]) == set(range(processes))
    assert (samples["status"] == 0).all()
    assert (samples["version"] == 2).all()
    assert samples["correct"].mean() > 0.85
    assert (samples["sent"] >= samples["due"]).all()
    assert (samples["done"] > samples["sent"]).all()
    assert int(run.counts["requests"].sum()) == len(samples)
    assert "Response time percentiles" not in done.output, "its whole milliseconds stand for ours"
    shown = re.search(r"throughput +([0-9,]+) req/s", done.output)
    assert shown is not None
    assert int(shown[1].replace(",", "")) > 0
    assert re.search(r"latency +p50 [0-9.]+ (µs|ms|s)  p90 ", done.output)
    assert re.search(r"errors +none", done.output)
    told = [line for line in done.output.splitlines() if re.search(r"\[[a-z ]+\]$", line)]
    assert [d["reason"] in line for d, line in zip(run.manifest.raw["doubts"], told, strict=True)]
    short = any(warning["check"] == "short" for warning in run.manifest.raw["doubts"])
    assert short == (run.steady.duration < STEADY_SECONDS), "a busy machine may make it long enough"


def test_versions_and_batches_as_asked(server: server_process.Server, tmp_path: Path) -> None:
    arguments = ["--host", server.address, "-u", "2", "-r", "2", "--model-version", "1", "--batch-size", "32"]
    arguments += ["--schedule", "closed:10ms", "--note", "v1"]
    done = until_recorded(start(tmp_path, *arguments), tmp_path, 20)
    assert done.code == 0, done.output
    run = done.run()
    assert run.path.name.endswith("-mnist-v1")
    assert set(run.samples["version"]) == {1}
    assert set(run.samples["batch"]) == {32}
    accuracy = run.samples["correct"].sum() / run.samples["batch"].sum()
    assert 0.1 < accuracy < 0.85, "version 1 is the bad one"


def test_the_embedded_server_starts_and_ends_with_the_run(tmp_path: Path) -> None:
    process = start(tmp_path, "-u", "4", "-r", "4", "--schedule", "closed:10ms")
    done = until_recorded(process, tmp_path, 20)
    assert done.code == 0, done.output
    assert done.run().manifest.raw["target"]["kind"] == "embedded"
    assert done.run().manifest.raw["model"]["sha256"]
    assert gone(
        done.run().manifest.raw["target"]["pid"]
    )  # to be waited for, perhaps, by what it is a fork of


def test_a_server_that_dies_leaves_a_finished_run_with_errors(tmp_path: Path) -> None:
    answering = ["--backend", "synthetic", "--service-time", "constant(1ms)", "--model_name", "mnist"]
    with server_process.embedded(answering) as own:
        process = start(tmp_path, "--host", own.address, "-u", "4", "-r", "4", *SLOWLY)
        folder = wait_for_folder(tmp_path, process)
        os.kill(own.pid, signal.SIGKILL)
        while (Run.open(folder).samples["status"] == 0).all():
            assert process.poll() is None, process.communicate()[0]
        done = interrupt(process, tmp_path)
    run = done.run()
    assert run.finished, done.output
    assert done.code == 1, "Locust's own exit code for a run with failures"
    statuses = run.samples["status"]
    assert (statuses == 0).any()
    assert (statuses == 14).any()
    assert run.manifest.raw["counts"]["recorded"] == len(run.samples)


def test_a_server_that_refuses_every_call_is_a_finished_run(tmp_path: Path) -> None:
    refusing = ["--backend", "synthetic", "--service-time", "constant(1ms)", "--error-rate", "1"]
    with server_process.embedded([*refusing, "--model_name", "mnist"]) as own:
        done = until_recorded(start(tmp_path, "--host", own.address, "-u", "2", "-r", "2"), tmp_path, 10)
    run = done.run()
    assert run.finished, done.output
    assert done.code == 1
    assert len(run.samples) >= 10
    assert (run.samples["status"] != 0).all()
    assert "Traceback" not in done.output


def test_a_worker_that_dies_is_told_and_its_samples_are_kept(
    server: server_process.Server, tmp_path: Path
) -> None:
    arguments = ["--host", server.address, "-u", "4", "-r", "4", *SLOWLY, "--processes", "2"]
    process = start(tmp_path, *arguments)
    folder = wait_for_folder(tmp_path, process, workers=2)
    victim = psutil.Process(process.pid).children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    done = interrupt(process, tmp_path)
    run = Run.open(folder)
    assert run.finished, done.output
    lost, kept = sorted(run.manifest.raw["workers"], key=lambda worker: not worker["lost"])
    assert (lost["lost"], kept["lost"]) == (True, False)
    assert lost["recorded"] > 0
    by_worker = run.samples["worker"].value_counts()
    assert by_worker[lost["worker"]] == lost["recorded"]
    assert by_worker[kept["worker"]] == kept["recorded"] == kept["sent"]
    checks = {warning["check"] for warning in run.manifest.raw["doubts"]}
    assert "lost worker" in checks
    assert "incomplete" not in checks, "what is known of the lost one was sent"


def test_no_samples_keeps_the_counts(server: server_process.Server, tmp_path: Path) -> None:
    asked = ["--host", server.address, "-u", "2", "-r", "2", "--schedule", "closed:10ms"]
    process = start(tmp_path, *asked, "--no-samples")
    interrupt_when(process, tmp_path, lambda run: len(run.counts))
    done = finish(process, tmp_path)
    run = done.run()
    assert not (run.path / "samples.parquet").exists()
    assert run.histogram("latency").count == run.manifest.raw["counts"]["sent"] > 0


@pytest.mark.parametrize("processes", [[], ["--processes", "2"]])
def test_a_load_process_is_small_and_ctrl_c_finishes_its_run(
    server: server_process.Server, tmp_path: Path, processes: list[str]
) -> None:
    process = start(
        tmp_path, "--host", server.address, "-u", "64", "-r", "64", "--schedule", "closed:20ms", *processes
    )
    wait_for_folder(tmp_path, process)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    resident = [each.memory_info().rss for each in family]
    done = interrupt(process, tmp_path)
    run = done.run()
    assert done.code == 0, done.output
    assert run.finished, done.output
    assert max(resident) < 120e6
    assert run.manifest.raw["counts"]["recorded"] == len(run.samples) > 0
    assert "Traceback" not in done.output


def test_kill_9_leaves_a_readable_unfinished_run(server: server_process.Server, tmp_path: Path) -> None:
    process = start(tmp_path, "--host", server.address, "-u", "4", "-r", "4", *SLOWLY)
    folder = wait_for_folder(tmp_path, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run = Run.open(folder)
    assert not run.finished
    assert manifest(folder)["state"] == "running"
    assert len(run.samples) > 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--host", "https://127.0.0.1:8500"], "--grpc-tls"),
        (["--model-name", "nope"], "nope"),
        (["--model-version", "99"], "99"),
        (["--version-label", "stable"], "stable"),
        (["--signature", "nosuch"], "predict_images"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--batch-size", "800000"], "batch 800000"),
        (["--server-container", "no-such-container"], "--server-container no-such-container: Docker"),
        (["--mnist", "/nonexistent"], "/nonexistent"),
        (["--deadline", "never"], "--deadline never"),
        (["--note", "a/b"], "--note"),
        (["--grpc-tls-ca", "/nonexistent.pem"], "/nonexistent.pem"),
        (["--metadata", "authorization=NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE"),
        (["--results", "/proc/results"], "/proc/results"),
    ],
)
def test_wrong_options_are_one_line_and_code_2(
    server: server_process.Server, tmp_path: Path, arguments: list[str], named: str
) -> None:
    host = [] if "--host" in arguments else ["--host", server.address]
    check_refusal(locust(tmp_path, *host, "-u", "1", "-t", "1s", *arguments), named)


def test_a_server_that_is_not_there_is_one_line_and_code_2(unserved: tuple[Process, Path]) -> None:
    check_refusal(finish(*unserved), "127.0.0.1:1")


def check_refusal(done: Finished, named: str) -> None:
    assert done.code == 2, done.output
    told = [line for line in done.output.splitlines() if line.startswith("bench: ")]
    assert len(told) == 1, done.output
    assert named in told[0]
    assert "Traceback" not in done.output
    assert done.folders == []
