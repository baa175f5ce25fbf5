"""Calls that wait for an answer when their user or the run ends: they are waited for, and never the server's failures."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.launch import server_process
from bench.runs.sample import CANCELLED_BY_CLIENT
from tests.load.locust_runs import SECONDS, UNASKED, Finished, finish, locust, start
from tests.load.test_endings import wait_for

SHAPE = """
from locust import LoadTestShape, task
from bench import mnist
from bench.load.users import ArrivalUser, PredictUser
from bench.payload import Pool

class Digits:
    @classmethod
    def payload(cls, options):
        digits = mnist.load("test")
        return Pool.mnist(digits.images[:20], digits.labels[:20], **options.asked.request(), size=20)

class Closed(Digits, PredictUser):
    request_name = "closed"

class Rest(Digits, PredictUser):
    request_name = "rest"
    over_rest = ("rest",)

class Forever(Digits, PredictUser):
    request_name = "forever"
    @task
    def forever(self):
        while True:
            self.predict()

class Opened(Digits, ArrivalUser):
    request_name = "opened"
    schedule = "constant:5"

class Down(LoadTestShape):
    full = None
    def tick(self):
        now = self.get_run_time()
        if self.full is None and self.get_current_user_count() == 12:
            self.full = now
        since = now - self.full if self.full is not None else 0
        return None if since > 4.5 else (4, 100) if since > 1.5 else (12, 100)
"""


@pytest.fixture(scope="module")
def slow() -> Iterator[server_process.Server]:
    """Takes 1.2 s for each answer."""
    taking = ["--backend=synthetic", "--model_name=mnist", "--service-time=constant(1200ms)"]
    with server_process.embedded([*taking, "--drain_seconds=0", "--rest_api_port=0"]) as launched:
        yield launched


def outcomes(done: Finished) -> dict[str, int]:
    counts = done.run().counts
    return {str(name): int(number) for name, number in counts.groupby("outcome")["requests"].sum().items()}


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_users_that_are_taken_away_leave_no_call_without_its_answer(
    slow: server_process.Server, tmp_path: Path, transport: str
) -> None:
    path = tmp_path / "slow.py"
    path.write_text(SHAPE)
    arguments = [
        "--host",
        slow.address,
        "--rest",
        str(slow.rest),
        "--transport",
        transport,
        "--references",
        "0",
    ]
    done = locust(tmp_path / "results", *arguments, scenario=str(path))
    assert done.code == 0, done.output
    assert set(outcomes(done)) == {"OK"}
    run = done.run()
    counts, samples = run.manifest.raw["counts"], run.samples
    assert counts["sent"] == counts["recorded"] == len(samples)
    assert set(samples["name"]) == {"closed", "rest", "forever", "opened"}
    # the users left at once, in the midst of a call, and did not hold the shape up until it had ended
    stopped = run.manifest.raw["stopped"]
    lately = samples[(samples["due"] > stopped - 1) & (samples["name"] != "opened")]
    assert len(lately) <= 4
    assert "waiting for" in done.output


@pytest.mark.parametrize(("ended", "processes"), [("by Ctrl-C", ["--processes", "2"]), ("by --run-time", [])])
def test_ctrl_c_while_answers_are_waited_for_ends_at_once(
    tmp_path: Path, ended: str, processes: list[str]
) -> None:
    path, results = tmp_path / "unasked.py", tmp_path / "results"
    path.write_text(UNASKED)
    hanging = ["--backend=synthetic", "--model_name=mnist", "--service-time=constant(100s)"]
    with server_process.embedded([*hanging, "--drain_seconds=0"]) as server:
        limits = ["-t", "5s"] if ended == "by --run-time" else []
        load = ["--host", server.address, "-u", "3", "-r", "3", "--deadline", "300", "--references", "0"]
        process = start(results, *load, *limits, *processes, scenario=str(path))
        wait_for(lambda: list(results.glob("*/telemetry.jsonl")))
        if not limits:
            wait_for(lambda: telemetry_of_users(results))
            time.sleep(1)  # users start a moment after that
            os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        while "waiting for" not in process.stdout.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        done = finish(process, results)
    run = done.run()
    assert run.finished, done.output
    assert outcomes(done) == {CANCELLED_BY_CLIENT: 3}
    assert "Traceback" not in done.output
    waited = run.histogram("latency", lambda key: key.outcome == CANCELLED_BY_CLIENT)
    assert waited.percentile(50) > 0.5
    assert waited.percentile(100) < SECONDS


def telemetry_of_users(results: Path) -> bool:
    """Whether load processes have reported themselves."""
    return any('"source":"worker' in path.read_text() for path in results.glob("*/telemetry.jsonl"))
