"""Users and load processes that come and go while an open loop runs: by the web form, late, or killed."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.reading.checks import warnings_of
from bench.launch import server_process
from bench.runs.recording import WORKER_LOST
from bench.runs.run import Run
from tests.load.locust_runs import ROOT, at_rate, check_plan, manifest, run_folder, wait_for
from tests.ports import free_port
from tests.recorded import KEPT

SECONDS = 60


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    """Answers at once."""
    with server_process.embedded(["--backend", "null"]) as launched:
        yield launched


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Start]:
    """Starts Locust processes of the open-loop scenario; those that still run in the end are killed."""
    processes = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        scenario = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            str(ROOT / "scenarios/mnist_open.py"),
            "--only-summary",
        ]
        with (tmp_path / f"log-{len(processes)}").open("wb") as log:
            process = subprocess.Popen(
                [*scenario, *arguments], stdout=log, stderr=log, start_new_session=True, cwd=ROOT
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for log in sorted(tmp_path.glob("log-*")):
        print(f"--- {log.name}\n{log.read_text()}")  # shown where the test failed


def sources(folder: Path) -> set[str]:
    path = folder / "telemetry.jsonl"
    text = path.read_text() if path.exists() else ""
    return {f"worker {number}" for number in range(4) if f'"source":"worker {number}"' in text}


def seconds_together(folder: Path) -> float:
    """For how long, of what is recorded, workers 0 and 1 have both sent."""
    due = Run.open(folder).samples.groupby("worker")["due"]
    return float(due.max().min() - due.min().max()) if due.ngroups == 2 else 0.0


def sent_alone(folder: Path, worker: int) -> bool:
    """Whether in the last second one worker has sent every request of four users' plan, and nobody else any."""
    samples = Run.open(folder).samples
    if not len(samples):  # the records of a run are packed in this moment
        return False
    end = samples[samples["due"] > samples["due"].max() - 1]
    gaps = np.diff(np.sort(end["due"]))
    return set(end["worker"]) == {worker} and len(gaps) > 300 and bool(np.abs(gaps - 0.0025).max() < 2 * KEPT)


def test_the_web_form_sets_the_rate_through_the_users(
    server: server_process.Server, tmp_path: Path, started: Start
) -> None:
    port = str(free_port())
    results = tmp_path / "results"
    web = ["--web-host", "127.0.0.1", "--web-port", port]
    started(*web, "--host", server.address, "--results", str(results), "--schedule", "constant:100")

    def told(path: str, **form: str) -> dict[str, Any]:
        content = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", content, timeout=30) as page:
            said: dict[str, Any] = json.load(page)
            return said

    def ask(path: str, **form: str) -> bool:
        content = urllib.parse.urlencode(form).encode() if path != "/" else None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", content, timeout=30) as page:
                return bool(page.status == 200)
        except OSError:
            return False

    wait_for(lambda: ask("/"))
    for wrong, text in (({"batch_size": "0"}, "--batch-size 0: "), ({"host": "127.0.0.1:1"}, "127.0.0.1:1")):
        form = {"user_count": "1", "spawn_rate": "10", "host": server.address, "batch_size": "1"} | wrong
        answer = told("/swarm", **form)
        assert answer["success"] is False
        assert text in answer["message"], "the form shows it"
    assert not results.exists() or not list(results.iterdir())
    first = {"batch_size": "1", "user_count": "1", "spawn_rate": "10", "run_time": "600s"}
    assert ask("/swarm", host=server.address, **first)
    folder = wait_for(lambda: run_folder(results))
    wait_for(lambda: len(sources(folder)) == 1)
    wait_for(lambda: at_rate(folder, 100))
    assert ask("/swarm", user_count="3", spawn_rate="10", host=server.address)
    wait_for(lambda: at_rate(folder, 300))
    assert ask("/stop")
    wait_for(lambda: manifest(folder)["state"] == "finished")
    run = Run.open(folder)
    planned = [users for _, users in run.manifest.raw["arrivals"]["MnistOpen"]["users"]]
    assert planned in ([1, 3], [1, 2, 3])  # a slow machine takes its time between two users
    check_plan(run, "MnistOpen", 100)
    assert run.manifest.planned_end is None, "Locust's timer ended with the change of users"


def test_a_worker_that_is_held_up_keeps_its_share_and_the_load_ends_with_the_last_that_is_killed(
    server: server_process.Server, tmp_path: Path, started: Start
) -> None:
    port = str(free_port())
    results, log = tmp_path / "results", tmp_path / "log-0"
    master = started(
        "--master", "--headless", "--expect-workers", "2", "--master-bind-port", port, "-u", "4", "-r", "4",
        "--host", server.address, "--results", str(results), "--schedule", "constant:25",
    )  # fmt: skip
    workers = [started("--worker", "--master-port", port) for _ in range(2)]
    folder = wait_for(lambda: run_folder(results))
    wait_for(lambda: seconds_together(folder) > 0.5)

    def told(text: str) -> bool:
        return re.search(text, log.read_text()) is not None

    os.killpg(workers[0].pid, signal.SIGSTOP)
    wait_for(lambda: told(r"load process [01] has been silent for \d+\.\d s: it is held up"))
    os.killpg(workers[0].pid, signal.SIGCONT)
    wait_for(lambda: told(r"load process [01] is there again, after \d+\.\d s of silence"))
    again = Run.open(folder).samples["due"].max()
    wait_for(lambda: Run.open(folder).samples.groupby("worker")["due"].max().min() > again)
    for worker in workers:
        os.killpg(worker.pid, signal.SIGKILL)
    assert master.wait(timeout=SECONDS) == 2
    run = Run.open(folder)
    assert run.manifest.raw["arrivals"]["MnistOpen"]["users"] == [[0.0, 4]]
    check_plan(run, "MnistOpen", 25, until=again)
    assert [worker.lost for worker in run.manifest.workers] == [True, True]
    assert len([row for row in run.events if row["kind"] == WORKER_LOST]) == 2
    assert told("load process [01] is gone: its connection has ended")
    assert {"client paused", "behind", "lost worker"} <= {warning.check for warning in warnings_of(run)}


def test_a_late_worker_takes_its_share_and_a_killed_one_leaves_its_own_to_others(
    server: server_process.Server, tmp_path: Path, started: Start
) -> None:
    port = str(free_port())
    results = tmp_path / "results"
    options = ["--results", str(results), "--schedule", "constant:100"]
    limits = ["-u", "4", "-r", "4", "--host", server.address]
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", port]
    master = started(
        "--master", "--headless", "--enable-rebalancing", "--expect-workers", "1", *bind, *limits, *options
    )
    join = ["--worker", "--master-host", "127.0.0.1", "--master-port", port]
    first = started(*join)
    folder = wait_for(lambda: run_folder(results))
    wait_for(lambda: len(sources(folder)) == 1)
    started(*join)
    wait_for(lambda: len(sources(folder)) == 2)
    wait_for(lambda: seconds_together(folder) > 1.5)
    os.killpg(first.pid, signal.SIGKILL)
    wait_for(lambda: sent_alone(folder, 1))
    os.killpg(master.pid, signal.SIGINT)
    master.wait(timeout=SECONDS)
    run = Run.open(folder)
    assert run.finished
    workers = {worker["worker"]: worker for worker in run.manifest.raw["workers"]}
    assert workers[0]["lost"]
    assert workers[1]["joined"] > 1
    assert run.manifest.raw["load"]["processes"] == 2
    assert "load processes" in {warning["check"] for warning in run.manifest.raw["doubts"]}
    assert not workers[1]["lost"]
    assert workers[1]["late_plans"] == 0
    samples = run.samples
    # what had no answer yet was lost with the worker
    known = samples.loc[samples["worker"] == 0, "due"].max() - 1
    assert set(samples.loc[samples["due"] < known, "worker"]) == {0, 1}
    # before the first was killed, both sent the one sequence without a gap
    check_plan(run, "MnistOpen", 100, until=known)
    # in the end the second sends everything
    assert sent_alone(folder, 1)
