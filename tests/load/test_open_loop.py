"""Open-loop scenarios with real processes: Locust sends what the schedule says, in however many of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.run import Run
from bench.schedule import Open, Poisson, times
from bench.schedule.rates import Floats
from bench.serve import launch
from tests.load.locust_runs import Finished, finish, locust, start
from tests.recorded import KEPT

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


def test_what_is_sent_is_the_schedule_in_any_number_of_processes(
    server: launch.Server, tmp_path: Path
) -> None:
    arguments = ["--host", server.address, "-u", "3", "-r", "3", "-t", "3s", "--schedule", "poisson:200"]
    for processes, done in in_any_number_of_processes(tmp_path, *arguments, scenario=OPEN):
        run = done.run()
        samples = run.samples
        assert_sent_until_the_stop(run, done)
        assert run.manifest["arrivals"]["MnistOpen"]["users"] == [[0.0, 3]], done.output
        assert set(samples["worker"]) == set(range(processes))
        assert_beginnings_of_the_shares(run, Poisson(200), users=3)
        counts = run.manifest["counts"]
        assert counts["sent"] + counts["unsent"] == counts["recorded"] == len(samples) > 500
        assert [worker["late_plans"] for worker in run.manifest["workers"]] == [0] * processes
        assert (samples["sent"].dropna() >= samples["due"][samples["sent"].notna()]).all()
        assert run.manifest["load"]["kind"] == "poisson"
        assert run.manifest["load"]["schedule"] == {"kind": "poisson", "rate": 200.0}
        expected = {f"worker {i}" for i in range(processes)}
        assert expected <= {row["source"] for row in run.telemetry}


def assert_sent_until_the_stop(run: Run, done: Finished) -> None:
    """All is answered; but where Locust takes long to stop, what is due meanwhile is told as unsent."""
    unsent = run.samples["status"].isna()
    assert done.code == (1 if unsent.any() else 0), done.output
    assert (run.samples["status"].dropna() == 0).all()
    assert (run.samples["due"][unsent] > run.manifest["stopped"] - 1.0).all()


def assert_beginnings_of_the_shares(run: Run, schedule: Open, users: int) -> None:
    """Each process has sent its own arrivals from the first on, without a gap; no arrival is sent by two.

    Processes hear that a test stops some milliseconds apart: only up to the first of them is the schedule whole.
    """
    due, workers = due_times(run), run.samples["worker"].to_numpy()
    plan = planned(schedule, 2 * len(due), users)
    owners: set[int] = set()
    ends = []
    for worker in np.unique(workers):
        mine = np.sort(due[workers == worker])
        numbers = np.abs(plan[:, np.newaxis] - mine[np.newaxis, :]).argmin(axis=0)
        streams = set((numbers % users).tolist())
        assert not owners & streams
        owners |= streams
        share = plan[np.isin(np.arange(len(plan)) % users, list(streams))]
        assert np.abs(mine - share[: len(mine)]).max() < KEPT
        ends.append(share[len(mine)])
    assert owners == set(range(users))
    whole = plan[plan < min(ends)]
    assert np.abs(np.sort(due)[: len(whole)] - whole).max() < KEPT
    stopped = run.manifest["stopped"] - run.manifest["arrivals"]["MnistOpen"]["begin"]
    assert all(-0.5 < stopped - end < 0.5 for end in ends)


def in_any_number_of_processes(
    results: Path, *arguments: str, scenario: str
) -> Iterator[tuple[int, Finished]]:
    """The same load from one process and from two, at the same time; gives the number of processes."""
    several = {1: [], 2: ["--processes", "2"]}
    started = {
        count: start(results / str(count), *arguments, *more, scenario=scenario)
        for count, more in several.items()
    }
    ended = {count: finish(process, results / str(count)) for count, process in started.items()}
    yield from ended.items()


def test_a_slow_server_does_not_hold_the_load_back(tmp_path: Path) -> None:
    with slow_server(300) as server:
        arguments = ["--host", server.address, "-t", "2s", "--schedule", "constant:300", "--seed", "7"]
        done = locust(tmp_path, *arguments, scenario=OPEN)
    run = done.run()
    samples, due = run.samples, due_times(run)
    assert_sent_until_the_stop(run, done)
    assert np.abs(np.diff(due) - 1 / 300).max() < 2 * KEPT
    answered = samples[samples["status"] == 0]
    assert (answered["done"] - answered["due"] >= 0.3).all()
    assert len(answered) > 300, "answers are waited for at the end"
    assert (answered["correct"] == 1).all(), "the synthetic server knows every digit of the test set"
    assert not samples["mismatched"].any()


def test_beyond_the_cap_requests_are_recorded_as_unsent(tmp_path: Path) -> None:
    with slow_server(200) as server:
        arguments = [
            "--host",
            server.address,
            "-t",
            "2s",
            "--schedule",
            "constant:100",
            "--max-in-flight",
            "5",
        ]
        done = locust(tmp_path, *arguments, scenario=OPEN)
    assert done.code == 1, "Locust counts what was not sent among the failures"
    run = done.run()
    samples, due = run.samples, due_times(run)
    assert np.abs(np.diff(due) - 0.01).max() < 2 * KEPT, "nothing is missing"
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
        return (1, 10) if t < 1.5 else (4, 10) if t < 3.5 else (2, 10) if t < 5.5 else None
"""


def test_a_load_shape_sets_the_rate_through_the_users(server: launch.Server, tmp_path: Path) -> None:
    scenario = tmp_path / "stairs.py"
    scenario.write_text(SHAPE)
    arguments = ["--host", server.address, "--schedule", "constant:100"]
    for _, done in in_any_number_of_processes(tmp_path, *arguments, scenario=str(scenario)):
        run = done.run()
        assert_sent_until_the_stop(run, done)
        users = run.manifest["arrivals"]["MnistOpen"]["users"]
        assert [count for _, count in users][:3] == [1, 4, 2]
        due, changes = due_times(run), [at for at, _ in users]
        # two processes end some milliseconds apart, with the arrivals of one of them missing
        last = float(due[-1]) - 0.2
        for (begin, count), end in zip(users[:3], [*changes[1:3], last], strict=True):
            inside = due[(due >= begin - KEPT) & (due < end - KEPT)]
            assert np.abs(np.diff(inside) - 0.01 / count).max() < 2 * KEPT
            assert len(inside) == pytest.approx((end - begin) * 100 * count, abs=1.5)
        assert run.manifest["load"]["shape"] == "Stairs"


def test_a_trace_is_replayed_with_its_batches(server: launch.Server, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = [(i / 100, 1 if i % 4 else 8) for i in range(150)]
    trace.write_text("time,batch\n" + "".join(f"{at},{batch}\n" for at, batch in rows))
    arguments = ["--host", server.address, "-u", "2", "-r", "2", "-t", "3s", "--schedule", f"trace:{trace}"]
    done = locust(tmp_path / "results", *arguments, scenario=OPEN)
    assert done.code == 0, done.output
    run = done.run()
    assert np.allclose(due_times(run), [at for at, _ in rows], rtol=0, atol=KEPT)
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


UNFIT = [
    (OPEN, "closed", "--schedule closed: MnistOpen sends without waiting"),
    ("scenarios/mnist.py", "poisson:10", "closed-loop users only"),
    (OPEN, "poisson:fast", "--schedule: schedule 'poisson:fast': poisson:1000 is the form"),
    (OPEN, "trace:/nonexistent.csv", "--schedule: trace /nonexistent.csv"),
]


def test_schedules_that_do_not_fit_are_one_line_and_code_2(server: launch.Server, tmp_path: Path) -> None:
    started = [
        start(tmp_path, "--host", server.address, "--schedule", schedule, "-t", "1s", scenario=scenario)
        for scenario, schedule, _ in UNFIT
    ]
    for process, (_, _, told) in zip(started, UNFIT, strict=True):
        done = finish(process, tmp_path)
        assert done.code == 2, done.output
        lines = [line for line in done.output.splitlines() if line.startswith("bench:")]
        assert len(lines) == 1
        assert told in lines[0]
    assert not tmp_path.exists() or list(tmp_path.iterdir()) == []
