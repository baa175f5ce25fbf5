"""Open-loop scenarios with real processes: Locust sends what the schedule says, in however many of them."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.launch import server_process
from bench.runs.run import Run
from bench.schedule import Open, Poisson, times
from bench.schedule.rates import Floats
from tests.load.locust_runs import (
    Finished,
    at_rate,
    check_plan,
    finish,
    interrupt,
    interrupt_when_recorded,
    run_folder,
    start,
    until_recorded,
    wait_for,
)
from tests.recorded import KEPT

OPEN = "scenarios/mnist_open.py"
SEED = 1


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    """Answers at once, always the same."""
    with server_process.embedded(["--backend", "null"]) as launched:
        yield launched


def slow_server(milliseconds: int) -> "contextlib.AbstractContextManager[server_process.Server]":
    """Answers every request with the digit's label after so long."""
    service_time = f"constant({milliseconds}ms)"
    return server_process.embedded(
        ["--backend", "synthetic", "--model_name", "mnist", "--service-time", service_time]
    )


def due_times(run: Run, user_class: str = "MnistOpen") -> Floats:
    """Due instants of all requests, in seconds since the start of the schedule."""
    begin = run.manifest.raw["arrivals"][user_class]["begin"]
    instants: Floats = run.samples["due"].to_numpy() - begin
    return instants


def planned(schedule: Open, count: int, users: int) -> Floats:
    """The first instants of a schedule."""
    whole = np.concatenate([*times(schedule, 0, 1, 60.0, seed=SEED, users=users, salt="MnistOpen")])
    return whole[:count]


def test_what_is_sent_is_the_schedule_in_any_number_of_processes(
    server: server_process.Server, tmp_path: Path
) -> None:
    arguments = ["--host", server.address, "-u", "3", "-r", "3", "--schedule", "poisson:200"]
    for processes, done in in_any_number_of_processes(tmp_path, *arguments, requests=600):
        run = done.run()
        samples = run.samples
        assert_sent_until_the_stop(run, done)
        assert run.manifest.raw["arrivals"]["MnistOpen"]["users"] == [[0.0, 3]], done.output
        assert set(samples["worker"]) == set(range(processes))
        assert_beginnings_of_the_shares(run, Poisson(200), users=3)
        counts = run.manifest.raw["counts"]
        assert counts["sent"] + counts["unsent"] == counts["recorded"] == len(samples) >= 600
        assert [worker["late_plans"] for worker in run.manifest.raw["workers"]] == [0] * processes
        assert (samples["sent"].dropna() >= samples["due"][samples["sent"].notna()]).all()
        assert run.manifest.raw["load"]["kind"] == "poisson"
        assert run.manifest.raw["load"]["schedule"] == {"kind": "poisson", "rate": 200.0}
        expected = {f"worker {i}" for i in range(processes)}
        assert expected <= {row["source"] for row in run.telemetry if row.get("in_flight_max") is not None}


def assert_sent_until_the_stop(run: Run, done: Finished) -> None:
    """All is answered; but what comes due while a process is being held up at the stop may be unsent, and is the last."""
    samples = run.samples
    unsent = samples["status"].isna()
    assert done.code == (1 if unsent.any() else 0), done.output
    assert (samples["status"].dropna() == 0).all()
    for _, each in samples.groupby("worker"):
        first_unsent = each["due"][
            each["status"].isna()
        ].min()  # NaN where all were sent, which nothing is above
        assert not (each["due"][each["status"].notna()] > first_unsent).any()


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
        # two arrivals within a microsecond may be taken for each other here; below, each is compared with its own
        streams = set(np.flatnonzero(np.bincount(numbers % users) > len(mine) / 10).tolist())
        assert not owners & streams
        owners |= streams
        share = plan[np.isin(np.arange(len(plan)) % users, list(streams))]
        assert np.abs(mine - share[: len(mine)]).max() < KEPT
        ends.append(share[len(mine)])
    assert owners == set(range(users))
    whole = plan[plan < min(ends)]
    assert np.abs(np.sort(due)[: len(whole)] - whole).max() < KEPT
    # the load is said to have ended between the last arrival that was recorded and the first that was not; workers hear
    # of it after that, but before long
    stopped = run.manifest.raw["stopped"] - run.manifest.raw["arrivals"]["MnistOpen"]["begin"]
    assert all(end >= stopped - KEPT for end in ends)
    if len(ends) == 1:
        assert due.max() < stopped + KEPT
    assert max(ends) < stopped + 5


def in_any_number_of_processes(
    results: Path,
    *arguments: str,
    scenario: str = OPEN,
    requests: int = 0,
    meanwhile: Callable[[list[Path]], None] | None = None,
) -> Iterator[tuple[int, Finished]]:
    """The same load from one process and from two, at the same time; gives the number of processes.

    It ends after so many requests, or by itself: then `meanwhile` is called with the run folders.
    """
    several = {1: [], 2: ["--processes", "2"]}
    started = {
        count: start(results / str(count), *arguments, *more, scenario=scenario)
        for count, more in several.items()
    }
    if meanwhile is not None:
        meanwhile(
            [wait_for(lambda c=count: run_folder(results / str(c)), started[count]) for count in started]
        )
    for count, process in started.items():
        if requests:
            interrupt_when_recorded(process, results / str(count), requests, workers=count)
    yield from [(count, finish(process, results / str(count))) for count, process in started.items()]


def test_a_slow_server_does_not_hold_the_load_back(tmp_path: Path) -> None:
    with slow_server(300) as server:
        arguments = ["--host", server.address, "--schedule", "constant:300", "--seed", "7"]
        done = until_recorded(start(tmp_path, *arguments, scenario=OPEN), tmp_path, 300)
    run = done.run()
    samples, due = run.samples, due_times(run)
    assert_sent_until_the_stop(run, done)
    assert np.abs(np.diff(due) - 1 / 300).max() < 2 * KEPT
    answered = samples[samples["status"] == 0]
    assert (answered["done"] - answered["due"] >= 0.3).all()
    assert len(answered) >= 300, "answers are waited for at the end"
    assert (answered["correct"] == 1).all(), "the synthetic server knows every digit of the test set"
    assert not samples["mismatched"].any()


def test_beyond_the_cap_requests_are_recorded_as_unsent(tmp_path: Path) -> None:
    with slow_server(200) as server:
        arguments = ["--host", server.address, "--schedule", "constant:100", "--max-in-flight", "5"]
        process = start(tmp_path, *arguments, scenario=OPEN)

        def enough() -> bool:
            """However slowly a busy machine answers, room has been used again."""
            folder = run_folder(tmp_path)
            sent = Run.open(folder).samples["sent"].notna() if folder else np.zeros(0, np.bool_)
            return sent.sum() >= 15 and len(sent) >= 150

        wait_for(enough, process)
        done = interrupt(process, tmp_path)
    assert done.code == 1, "Locust counts what was not sent among the failures"
    run = done.run()
    samples, due = run.samples, due_times(run)
    assert np.abs(np.diff(due) - 0.01).max() < 2 * KEPT, "nothing is missing"
    unsent = samples["status"].isna()
    assert unsent.mean() > 0.6, (
        "5 in flight for 0.2 s each are 25/s of 100/s, or fewer where the machine is slow"
    )
    assert samples.loc[unsent, ["sent", "done"]].isna().all(axis=None)
    assert run.manifest.raw["counts"]["unsent"] == unsent.sum()
    assert run.manifest.raw["counts"]["sent"] == (~unsent).sum() >= 15, "room is used again"
    sent, answered = np.sort(samples["sent"].dropna()), np.sort(samples["done"].dropna())
    assert (answered[:-5] <= sent[5:]).all(), "each waited until fewer than 5 were in flight"


SHAPE = """
from pathlib import Path
from locust import LoadTestShape
from scenarios.mnist_open import MnistOpen

class Stairs(LoadTestShape):
    def tick(self):
        users = int(Path({users!r}).read_text())
        return (users, 10) if users else None
"""


def test_a_load_shape_sets_the_rate_through_the_users(server: server_process.Server, tmp_path: Path) -> None:
    scenario, users, steps = tmp_path / "stairs.py", tmp_path / "users", [1, 4, 3]
    scenario.write_text(SHAPE.format(users=str(users)))

    def step(number: int) -> None:
        (tmp_path / "next").write_text(str(number))
        (tmp_path / "next").rename(users)

    # of four users on two processes, those of one look like two: three cannot be mistaken
    def go_up_and_down(folders: list[Path]) -> None:
        for number in steps:
            step(number)
            for folder in folders:
                wait_for(lambda at=folder, rate=100.0 * number: at_rate(at, rate))
        step(0)

    step(steps[0])
    arguments = ["--host", server.address, "--schedule", "constant:100"]
    for processes, done in in_any_number_of_processes(
        tmp_path, *arguments, scenario=str(scenario), meanwhile=go_up_and_down
    ):
        run = done.run()
        assert_sent_until_the_stop(run, done)
        planned_users = [count for _, count in run.manifest.raw["arrivals"]["MnistOpen"]["users"]]
        up = planned_users.index(4)
        assert planned_users[0] == 1
        assert planned_users[: up + 1] == sorted(planned_users[: up + 1]), (
            "numbers in between count where they stay"
        )
        down = planned_users[up : planned_users.index(3, up) + 1]
        assert down == sorted(down, reverse=True)
        # two processes end some milliseconds apart, with the arrivals of one of them missing
        check_plan(run, "MnistOpen", 100, until=run.samples.groupby("worker")["due"].max().min())
        assert [worker["late_plans"] for worker in run.manifest.raw["workers"]] == [0] * processes
        assert run.manifest.raw["load"]["shape"] == "Stairs"


def test_a_trace_is_replayed_with_its_batches(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = [(i / 100, 1 if i % 4 else 8) for i in range(150)]
    trace.write_text("time,batch\n" + "".join(f"{at},{batch}\n" for at, batch in rows))
    results = tmp_path / "results"
    with slow_server(1) as server:  # of as many rows as the request: the null server's reply has always one
        arguments = ["--host", server.address, "-u", "2", "-r", "2", "--schedule", f"trace:{trace}"]
        done = until_recorded(start(results, *arguments, scenario=OPEN), results, len(rows))
    assert done.code == 0, done.output
    run = done.run()
    assert np.allclose(due_times(run), [at for at, _ in rows], rtol=0, atol=KEPT)
    assert run.samples["batch"].tolist() == [batch for _, batch in rows]
    assert (run.samples["correct"] == run.samples["batch"]).all(), (
        "labels go with their examples in each batch"
    )
    assert {pool["batch"] for pool in run.manifest.raw["payload"].values()} == {1, 8}


@pytest.mark.parametrize("scenario", ["scenarios/mnist.py", OPEN])
def test_closed_loop_users_think(server: server_process.Server, tmp_path: Path, scenario: str) -> None:
    arguments = ["--host", server.address, "-u", "2", "-r", "2", "--schedule", "closed:100ms"]
    done = until_recorded(start(tmp_path, *arguments, scenario=scenario), tmp_path, 10)
    assert done.code == 0, done.output
    run = done.run()
    assert 10 <= len(run.samples) <= 2 * (run.manifest.raw["stopped"] / 0.1 + 1)
    assert run.manifest.raw["load"]["kind"] == "closed"
    assert run.manifest.raw["load"]["schedule"] == {"kind": "closed", "think": 0.1}


UNFIT = [
    ("scenarios/mnist.py", "poisson:10", "closed-loop users only"),
    (OPEN, "poisson:fast", "--schedule: schedule 'poisson:fast': poisson:1000 is the form"),
    (OPEN, "trace:/nonexistent.csv", "--schedule: trace /nonexistent.csv"),
]


def test_schedules_that_do_not_fit_are_one_line_and_code_2(
    server: server_process.Server, tmp_path: Path
) -> None:
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
