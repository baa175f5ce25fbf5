"""Open-loop scenarios with real processes: Locust sends what the schedule says, in however many of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.run import Run
from bench.schedule import Open, Poisson, message_indices, times
from bench.schedule.rates import Floats
from bench.serve import launch
from tests.load.locust_runs import locust

OPEN = "scenarios/mnist_open.py"
SEED = 1


@pytest.fixture(scope="module")
def server() -> Iterator[launch.Server]:
    """Answers at once, always the same."""
    with launch.embedded(["--backend", "null"]) as launched:
        yield launched


def slow_server(milliseconds: int) -> "contextlib.AbstractContextManager[launch.Server]":
    """Answers every request with the digit's label after so long."""
    service_time = f"constant({milliseconds}ms)"
    return launch.embedded(
        ["--backend", "synthetic", "--model_name", "mnist", "--service-time", service_time]
    )


def due_times(run: Run, user_class: str = "MnistOpen") -> Floats:
    """Due instants of all requests, in seconds since the start of the schedule."""
    begin = run.manifest["arrivals"][user_class]["begin"]
    instants: Floats = run.samples["due"].to_numpy() - begin
    return instants


def planned(schedule: Open, count: int, users: int) -> Floats:
    """The first instants of a schedule."""
    whole = np.concatenate([*times(schedule, 0, 1, 60.0, seed=SEED, users=users, salt="MnistOpen")])
    return whole[:count]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_sent_is_the_schedule_in_any_number_of_processes(
    server: launch.Server, tmp_path: Path, processes: int
) -> None:
    several = ["--processes", str(processes)] if processes > 1 else []
    arguments = ["--host", server.address, "-u", "3", "-r", "3", "-t", "4s", "--schedule", "poisson:200"]
    done = locust(tmp_path, *arguments, *several, scenario=OPEN)
    assert done.code == 0, done.output
    run = done.run()
    samples, due = run.samples, due_times(run)
    assert run.manifest["arrivals"]["MnistOpen"]["users"] == [[0.0, 3]], done.output
    assert len(due) > 500
    assert np.abs(due - planned(Poisson(200), len(due), users=3)).max() < 1e-8
    counts = run.manifest["counts"]
    assert counts["sent"] == counts["recorded"] == len(samples)
    assert [worker["late_plans"] for worker in run.manifest["workers"]] == [0] * processes
    assert set(samples["worker"]) == set(range(processes))
    assert (samples["sent"] >= samples["due"]).all()
    assert (samples["status"] == 0).all()
    assert run.manifest["load"]["kind"] == "poisson"
    assert run.manifest["load"]["schedule"] == {"kind": "poisson", "rate": 200.0}
    # workers hear a little later than the master that the test stops
    assert -0.2 < run.manifest["stopped"] - samples["due"].max() < 0.5
    expected = {f"worker {i}" for i in range(processes)}
    assert expected <= {row["source"] for row in run.telemetry}


def test_digits_are_sent_in_the_order_that_the_seed_decides(tmp_path: Path) -> None:
    with slow_server(1) as server:
        arguments = ["--host", server.address, "-t", "2s", "--schedule", "constant:300", "--seed", "7"]
        done = locust(tmp_path, *arguments, scenario=OPEN)
    assert done.code == 0, done.output
    samples = done.run().samples
    assert (samples["correct"] == 1).all(), "the synthetic server knows every digit of the test set"
    order = message_indices(np.arange(len(samples)), 1000, 7, "MnistOpen")
    assert len(np.unique(order)) == min(1000, len(samples))


def test_a_slow_server_does_not_hold_the_load_back(tmp_path: Path) -> None:
    with slow_server(300) as server:
        arguments = ["--host", server.address, "-t", "3s", "--schedule", "constant:200"]
        done = locust(tmp_path, *arguments, scenario=OPEN)
    assert done.code == 0, done.output
    run = done.run()
    samples, due = run.samples, due_times(run)
    assert np.abs(np.diff(due) - 0.005).max() < 1e-8
    assert (samples["done"] - samples["due"] >= 0.3).all()
    assert len(samples) > 400
    assert (samples["status"] == 0).all(), "answers are waited for at the end"


def test_beyond_the_cap_requests_are_recorded_as_unsent(tmp_path: Path) -> None:
    with slow_server(200) as server:
        arguments = [
            "--host",
            server.address,
            "-t",
            "3s",
            "--schedule",
            "constant:100",
            "--max-in-flight",
            "5",
        ]
        done = locust(tmp_path, *arguments, scenario=OPEN)
    assert done.code == 1, "Locust counts what was not sent among the failures"
    run = done.run()
    samples, due = run.samples, due_times(run)
    assert np.abs(np.diff(due) - 0.01).max() < 1e-8, "nothing is missing"
    unsent = samples["status"].isna()
    assert 0.6 < unsent.mean() < 0.9, "5 in flight for 0.2 s each are 25/s of 100/s"
    assert samples.loc[unsent, ["sent", "done"]].isna().all(axis=None)
    assert run.manifest["counts"]["unsent"] == unsent.sum()
    assert run.manifest["counts"]["sent"] == (~unsent).sum()


SHAPE = """
from locust import LoadTestShape
from scenarios.mnist_open import MnistOpen

class Stairs(LoadTestShape):
    def tick(self):
        t = self.get_run_time()
        return (1, 10) if t < 2 else (4, 10) if t < 5 else (2, 10) if t < 8 else None
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_load_shape_sets_the_rate_through_the_users(
    server: launch.Server, tmp_path: Path, processes: int
) -> None:
    scenario = tmp_path / "stairs.py"
    scenario.write_text(SHAPE)
    several = ["--processes", str(processes)] if processes > 1 else []
    arguments = ["--host", server.address, "--schedule", "constant:100", *several]
    done = locust(tmp_path / "results", *arguments, scenario=str(scenario))
    assert done.code == 0, done.output
    run = done.run()
    users = run.manifest["arrivals"]["MnistOpen"]["users"]
    assert [count for _, count in users][:3] == [1, 4, 2]
    due, changes = due_times(run), [at for at, _ in users]
    for (begin, count), end in zip(users[:3], [*changes[1:3], float(due[-1])], strict=True):
        inside = due[(due >= begin) & (due < end)]
        assert np.abs(np.diff(inside) - 0.01 / count).max() < 1e-8
        assert len(inside) == pytest.approx((end - begin) * 100 * count, abs=1.5)
    assert run.manifest["load"]["shape"] == "Stairs"


def test_a_trace_is_replayed_with_its_batches(server: launch.Server, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = [(i / 100, 1 if i % 4 else 8) for i in range(150)]
    trace.write_text("time,batch\n" + "".join(f"{at},{batch}\n" for at, batch in rows))
    arguments = ["--host", server.address, "-u", "2", "-r", "2", "-t", "4s", "--schedule", f"trace:{trace}"]
    done = locust(tmp_path / "results", *arguments, scenario=OPEN)
    assert done.code == 0, done.output
    run = done.run()
    assert np.allclose(due_times(run), [at for at, _ in rows], rtol=0, atol=1e-8)
    assert run.samples["batch"].tolist() == [batch for _, batch in rows]
    assert {pool["batch"] for pool in run.manifest["payload"].values()} == {1, 8}


def test_closed_loop_users_think(server: launch.Server, tmp_path: Path) -> None:
    arguments = ["--host", server.address, "-u", "2", "-r", "2", "-t", "2s", "--schedule", "closed:100ms"]
    done = locust(tmp_path, *arguments)
    assert done.code == 0, done.output
    run = done.run()
    assert 4 < len(run.samples) <= 2 * 21
    assert run.manifest["load"]["kind"] == "closed"
    assert run.manifest["load"]["schedule"] == {"kind": "closed", "think": 0.1}


@pytest.mark.parametrize(
    ("scenario", "schedule", "told"),
    [
        (OPEN, "closed", "--schedule closed: MnistOpen sends without waiting"),
        ("scenarios/mnist.py", "poisson:10", "closed-loop users only"),
        (OPEN, "poisson:fast", "--schedule: schedule 'poisson:fast': poisson:1000 is the form"),
        (OPEN, "trace:/nonexistent.csv", "--schedule: trace /nonexistent.csv"),
    ],
)
def test_schedules_that_do_not_fit_are_one_line_and_code_2(
    server: launch.Server, tmp_path: Path, scenario: str, schedule: str, told: str
) -> None:
    done = locust(tmp_path, "--host", server.address, "--schedule", schedule, "-t", "1s", scenario=scenario)
    assert done.code == 2, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("bench:")]
    assert len(lines) == 1
    assert told in lines[0]
    assert done.folders == []
