"""Loads that signals end before their time: the run says so, and nothing is left of the embedded server."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench.launch import server_process
from bench.runs.run import Run
from tests.load.locust_runs import UNASKED, finish, manifest, start, wait_for_folder
from tests.load.test_endings import ended, scenario, wait_for

__all__ = ["scenario"]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the processes of a test have their temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("number", "more", "state"),
    [
        (signal.SIGTERM, [], "interrupted"),
        (signal.SIGINT, ["-t", "120s"], "interrupted"),
        (signal.SIGKILL, [], "running"),
    ],
)
def test_a_run_that_is_ended_early_says_so_and_nothing_is_left_of_the_embedded_server(
    tmp_path: Path,
    temporary: Path,
    scenario: Callable[[str], str],
    number: signal.Signals,
    more: list[str],
    state: str,
) -> None:
    results, environment = tmp_path / "results", {"TMPDIR": str(temporary)}
    process = start(
        results,
        "-u",
        "2",
        "-r",
        "2",
        "--schedule",
        "closed:2ms",
        *more,
        scenario=scenario(),
        environment=environment,
    )
    folder = wait_for_folder(results, process)
    assert list(temporary.glob("serving-bench-*/models.config"))
    server = psutil.Process(manifest(folder)["target"]["pid"])
    os.kill(process.pid, number)
    done = finish(process, results)
    wait_for(lambda: ended(server), seconds=45)
    assert list(temporary.glob("serving-bench-*")) == []
    assert "Traceback" not in done.output
    run = Run.open(folder)
    assert run.manifest.state == state, done.output
    assert not run.finished
    if state == "interrupted":
        assert done.code == 3, done.output
        assert "interrupted" in {warning.check for warning in run.manifest.doubts}
        assert run.manifest.raw["counts"]["recorded"] == len(run.samples) > 0
        assert run.altered == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_where_the_test_has_not_begun(
    tmp_path: Path, temporary: Path, scenario: Callable[[str], str], number: signal.Signals
) -> None:
    waiting = scenario('print("here", flush=True); time.sleep(60)')
    process = start(tmp_path / "results", scenario=waiting, environment={"TMPDIR": str(temporary)})
    assert process.stdout is not None
    while process.stdout.readline() != "here\n":
        assert process.poll() is None
    os.killpg(process.pid, number)
    done = finish(process, tmp_path / "results")
    assert (done.code, done.folders) == (130, [])
    assert "Traceback" not in done.output
    assert list(temporary.glob("serving-bench-*")) == []


def test_ctrl_c_during_the_imports_shows_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text(
        'import time\nfrom bench.load.users import PredictUser\nprint("here", flush=True)\ntime.sleep(60)\n'
    )
    process = start(tmp_path / "results", scenario=str(path))
    assert process.stdout is not None
    while process.stdout.readline() != "here\n":
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    done = finish(process, tmp_path / "results")
    assert done.code in (130, -signal.SIGINT)
    assert done.output.strip().splitlines()[-1] == "bench: interrupted"
    assert "Traceback" not in done.output


CHECKED_FOR_A_MINUTE = """
import time
from bench.load import verdict

verdict.conclude = lambda *_: time.sleep(60)
"""


def test_ctrl_c_again_and_again_leaves_a_readable_folder(tmp_path: Path) -> None:
    path, results = tmp_path / "unasked.py", tmp_path / "results"
    path.write_text(UNASKED + CHECKED_FOR_A_MINUTE)  # as a long run is, and longer than the user is patient
    hanging = ["--backend", "synthetic", "--model_name", "mnist", "--service-time", "constant(60s)"]
    with server_process.embedded([*hanging, "--drain_seconds", "0"]) as server:
        arguments = ["--host", server.address, "-u", "2", "-r", "2", "--deadline", "30", "--references", "0"]
        process = start(results, *arguments, scenario=str(path))
        wait_for(lambda: list(results.glob("*/telemetry.jsonl")))
        while process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.1)
        done = finish(process, results)
    assert done.code == 130
    assert "Traceback" not in done.output
    assert done.output.count("Ctrl-C again leaves") == 1
    assert done.run().manifest.raw["state"] in ("running", "finished")
