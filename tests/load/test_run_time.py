"""A run time counts from the beginning of the load, however long Locust and the machine take to begin it."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import numpy as np
import pytest
from gevent.event import AsyncResult

from bench.launch import server_process
from bench.load.locust_glue import attach
from bench.load.locust_glue.ending import LOOK_SECONDS
from bench.load.locust_glue.session import Session
from bench.load.sources import Source
from bench.runs.run import Run
from tests.load.locust_runs import ROOT, check_plan, locust, wait_for
from tests.load.web_form import Form, opened
from tests.ports import free_port
from tests.recorded import KEPT
from tests.scenarios.answered import unsent
from tests.server.clients import eventually
from tests.test_mnist import write_idx

HELD_UP = 0.6
SECONDS = 2
"""Of loads by several processes at once: a slow machine may begin them when one second is over."""
SCENARIO = f"""
import sys
import time
sys.path.insert(0, {str(ROOT)!r})
from locust import events
from scenarios.mnist_open import MnistOpen

@events.test_start.add_listener
def held_up(**_):
    time.sleep({HELD_UP})

@events.init.add_listener
def again(**_):
    events.test_start.add_listener(held_up)
"""
"""Takes long to begin: before the run's own beginning, and after it."""
RATE = 100
OPEN = ("--schedule", f"constant:{RATE}")
CLOSED = ("--schedule", "closed:10ms")


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    """Answers at once, always the same."""
    with server_process.embedded(
        ["--backend", "synthetic", "--model_name", "mnist", "--rest_api_port=0"]
    ) as launched:
        yield launched


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenario") / "held_up.py"
    path.write_text(SCENARIO)
    return path


def check_open(run: Run, users: int, seconds: float) -> None:
    """All that is due in these seconds is there, and nothing else."""
    begin, end = run.manifest.raw["arrivals"]["MnistOpen"]["begin"], run.manifest.planned_end
    assert end == pytest.approx(begin + seconds)
    assert run.manifest.stopped == end
    check_plan(run, "MnistOpen", RATE)
    due = np.sort(run.samples["due"].to_numpy()) - begin
    assert -KEPT <= due[0] <= KEPT
    assert len(due) == users * RATE * seconds


def check_closed(run: Run, *, alone: bool) -> None:
    """alone: by one process, whose first request is due as soon as its first user is there."""
    first, end = run.samples["due"].min(), run.manifest.planned_end
    assert run.manifest.stopped >= end >= HELD_UP + SECONDS
    assert end - SECONDS <= first + KEPT or not alone
    assert run.manifest.counts.recorded


def test_a_load_lasts_as_long_as_it_should_once_it_has_begun(
    server: server_process.Server, scenario: Path, tmp_path: Path
) -> None:
    port = ["--master-port", str(free_port())]
    rest = ["--protocol", "tfs-rest", "--host", server.rest or ""]
    loads = {
        "open-master": [*OPEN, "--master", "--expect-workers", "1", "--master-bind-port", port[1]],
        "closed-rest": [*CLOSED, *rest],
        "open-processes": [*OPEN, "-u", "2", "--processes", "2"],
        "closed-processes": [*CLOSED, "-u", "2", "--processes", "2", *rest],
    }
    write_idx(
        tmp_path
    )  # as JSON, a thousand digits take a second of each process, and ten where it has a tenth of a core
    common = ["-t", f"{SECONDS}s", "-r", "9", "--host", server.address, "--mnist", str(tmp_path)]
    command = [sys.executable, "-m", "locust", "-f", str(scenario), "--worker", *port]
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
        ThreadPoolExecutor(
            2
        ) as pool,  # all at once, a slow machine may not have begun one within its ten seconds
    ):
        running = {
            name: pool.submit(locust, tmp_path / name, *common, *more, scenario=str(scenario))
            for name, more in loads.items()
        }
        ended = {name: each.result() for name, each in running.items()}
    for name, done in ended.items():
        run = done.run()
        assert done.code == (1 if unsent(run) else 0), done.output
        assert done.output.index("recording into") < done.output.index("--run-time limit reached")
        assert run.manifest.state == "finished"
        assert any(row["source"] == "worker 0" for row in run.telemetry)
        if name.startswith("open"):
            check_open(run, 2 if name == "open-processes" else 1, SECONDS)
        else:
            check_closed(run, alone=name == "closed-rest")


# longer than its run time: no user has had a turn when the timer goes off
PROGRAM = f"""{SCENARIO.replace(str(HELD_UP), "1.2")}
from locust.env import Environment
environment = Environment(user_classes=[MnistOpen], events=events)
environment.create_local_runner()
environment.create_web_ui("127.0.0.1", int(sys.argv[1]))
environment.web_ui.greenlet.join()
"""


def test_so_do_tests_of_a_program_with_a_form_the_first_too(
    server: server_process.Server, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    form = Form(free_port(), server.address, tmp_path / "results")
    process = subprocess.Popen([sys.executable, "program.py", str(form.port)], cwd=tmp_path)
    try:
        wait_for(lambda: answers(form))
        assert form.swarm(schedule=OPEN[1])[1]["success"]
        (timed,) = wait_for(lambda: list(form.results.glob("*/SHA256SUMS")))
        assert form.swarm(schedule=OPEN[1], run_time="")[1]["success"]
        (other,) = wait_for(
            lambda: {file.parent for file in form.results.glob("*/manifest.json")} - {timed.parent}
        )
        # Locust keeps the second of the test before
        wait_for(lambda: len(Run.open(other).samples) > 1.2 * RATE)
    finally:
        process.terminate()
        process.wait()
    check_open(Run.open(timed.parent), 1, 1.0)


def test_a_first_test_waits_for_users_who_have_had_no_turn_yet() -> None:
    """As where a slow machine is held up for the whole run time while they are spawned: the test ended before its load began."""

    class Ours:
        payload = None

    spawning, start = AsyncResult(), AsyncResult()
    runner = SimpleNamespace(user_classes_count={"Ours": 0}, spawning_greenlet=spawning)
    web = SimpleNamespace(_swarm_greenlet=start)
    environment = SimpleNamespace(runner=runner, web_ui=web, user_classes=[Ours])
    waiting = gevent.spawn(attach._outlast_run_time, environment)
    for happen in (lambda: None, start.set, lambda: runner.user_classes_count.update(Ours=1), spawning.set):
        happen()
        gevent.sleep(3 * LOOK_SECONDS)
        assert not waiting.ready()
    runner.user_classes_count["Ours"] = 0  # stopped by hand
    waiting.join(60)
    assert waiting.ready()


def answers(form: Form) -> bool:
    with contextlib.suppress(OSError):
        return form.ask("/")[0] == 200
    return False


@pytest.mark.parametrize(("users", "entered", "begun"), [
    ({}, None, 0.0), ({"Ours": 2}, None, None), ({"Ours": 2}, 12.5, 2.5),
    # by Locust's own count where it has users that nobody here hears of
    ({"Ours": 0, "Theirs": 1}, None, 0.0), ({"Ours": 1, "Theirs": 99}, 12.5, 0.0),
])  # fmt: skip
def test_users_of_others_do_not_wait_for_ours(
    users: dict[str, int], entered: float | None, begun: float | None
) -> None:
    class Ours:
        pass

    runner = SimpleNamespace(user_classes_count=users, target_user_count=sum(users.values()))
    load: Any = SimpleNamespace(
        _recorders={Source(Ours, 0, "Predict"): None},
        environment=SimpleNamespace(runner=runner),
        _entered=entered,
        run_time=lambda at: 10.0 + at,
    )
    assert Session.begun.fget(load) == begun  # type: ignore[attr-defined]


def test_so_do_tests_of_the_web_form_one_after_the_other(
    server: server_process.Server, scenario: Path, tmp_path: Path
) -> None:
    def ended(form: Form, count: int) -> bool:
        runs = json.loads(form.ask("/bench/runs")[2])["runs"]
        return len(runs) == count and bool(runs[-1]["finished"])

    with opened(tmp_path, server.address, *OPEN, file=scenario) as form:
        form.swarm(run_time="1s")
        eventually(lambda: ended(form, 1))
        form.swarm(run_time="")  # of which Locust keeps the second of the test before
        eventually(lambda: json.loads(form.ask("/stats/requests")[2])["state"] == "running")
        form.ask("/stop", {})
        eventually(lambda: ended(form, 2))
        form.swarm(run_time="1s")
        eventually(lambda: ended(form, 3))
        first, by_hand, last = (Run.open(form.results / name) for name in sorted(form.runs()))
    check_open(first, 1, 1.0)
    check_open(last, 1, 1.0)
    assert by_hand.manifest.planned_end is None
