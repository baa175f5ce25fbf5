"""Calls that wait for an answer when their user or the run ends: they are waited for, and never the server's failures."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.launch import server_process
from bench.runs.run import Run
from bench.runs.sample import CANCELLED_BY_CLIENT
from tests.load.locust_runs import SECONDS, UNASKED, Finished, finish, locust, start
from tests.load.test_endings import wait_for
from tests.scenarios.answered import unsent

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

    preflight = False  # answers would be waited for

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
        return None if since > 3.5 else (4, 100) if since > 0.5 else (12, 100)
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


TRANSPORTS = ("native", "grpcio")


@pytest.fixture(scope="module")
def loads(
    slow: server_process.Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Future[Finished]]:
    """By transport; they run beside each other."""
    folder = tmp_path_factory.mktemp("loads")
    path = folder / "slow.py"
    path.write_text(SHAPE)
    with ThreadPoolExecutor() as pool:
        arguments = ["--host", slow.address, "--rest", str(slow.rest), "--references", "0"]
        return {
            name: pool.submit(locust, folder / name, *arguments, "--transport", name, scenario=str(path))
            for name in TRANSPORTS
        }


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_users_that_are_taken_away_leave_no_call_without_its_answer(
    loads: dict[str, Future[Finished]], transport: str
) -> None:
    done = loads[transport].result()
    run = done.run()
    assert done.code == (1 if unsent(run) else 0), done.output
    # a slow machine may have had no turn to send the last ones of the schedule
    assert set(outcomes(done)) == ({"OK", "UNSENT"} if unsent(run) else {"OK"})
    counts, samples = run.manifest.raw["counts"], run.samples
    assert counts["sent"] + unsent(run) == counts["recorded"] == len(samples)
    assert set(samples["name"]) == {"closed", "rest", "forever", "opened"}
    # the users left at once, in the midst of a call, and did not hold the shape up until it had ended
    stopped = run.manifest.raw["stopped"]
    lately = samples[(samples["due"] > stopped - 1) & (samples["name"] != "opened")]
    assert len(lately) <= 4
    assert "waiting for" in done.output or unsent(run), "what had no turn at the end is waited for by nobody"


@pytest.mark.parametrize(("ended", "processes"), [("by Ctrl-C", ["--processes", "2"]), ("by --run-time", [])])
def test_ctrl_c_while_answers_are_waited_for_ends_at_once(
    tmp_path: Path, ended: str, processes: list[str]
) -> None:
    path, results = tmp_path / "unasked.py", tmp_path / "results"
    path.write_text(UNASKED)
    hanging = ["--backend=synthetic", "--model_name=mnist", "--service-time=constant(100s)"]
    with server_process.embedded([*hanging, "--drain_seconds=0"]) as server:
        limits = ["-t", "2s"] if ended == "by --run-time" else []
        load = ["--host", server.address, "-u", "3", "-r", "3", "--deadline", "300", "--references", "0"]
        process = start(results, *load, *limits, *processes, scenario=str(path))
        wait_for(lambda: list(results.glob("*/telemetry.jsonl")))
        if not limits:
            wait_for(lambda: in_flight(results) == 3)
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


def in_flight(results: Path) -> int:
    """Requests that wait for their answers, as all load processes have told last."""
    (folder,) = results.iterdir()
    told = {
        row["source"]: row["in_flight_max"] for row in Run.open(folder).telemetry if "in_flight_max" in row
    }
    return int(sum(told.values()))
