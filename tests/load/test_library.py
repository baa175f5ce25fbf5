"""Locust as a library: programs that run their tests themselves record them, or say why not and do not end with 0."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.launch import server_process
from bench.runs.run import Run
from tests import forks
from tests.load.locust_runs import SECONDS
from tests.load.test_users import HEAD, server, written
from tests.load.web_form import Form
from tests.ports import free_port
from tests.server.clients import eventually

__all__ = ["server"]


def program(tmp_path: Path, text: str, server: server_process.Server) -> list[str]:
    """The command that runs it, in `tmp_path`."""
    return [sys.executable, "-m", Path(written(tmp_path, text, server)).stem]


LIBRARY = (
    HEAD
    + """
class A(Digits, PredictUser):
    pass

if sys.argv[1] == "environment":
    from locust.env import Environment
    environment = Environment(user_classes=[A], host="HOST")
    environment.create_local_runner()
    environment.runner.start(2, spawn_rate=2)
    while environment.stats.total.num_requests < 100:
        gevent.sleep(0.1)
    environment.runner.quit()
else:
    from locust import run_single_user
    del sys.argv[1:]
    A.host = "HOST"
    main, seen = gevent.getcurrent(), []
    def look(**_):
        seen.append(1)
        if len(seen) == 100:
            gevent.get_hub().loop.run_callback(main.throw, SystemExit)
    from locust import events
    events.request.add_listener(look)
    run_single_user(A)
"""
)


REFUSED = LIBRARY.replace("    pass\n", "    over_rest = ('Predict',)\n").replace(
    "while environment.stats.total.num_requests < 100", "for _ in range(WAITS)"
)


@pytest.mark.parametrize(
    ("host", "waits", "code", "told"),
    [
        (None, 600, 2, "bench: --rest: this scenario sends over REST too"),
        ("127.0.0.1:1", 5, 3, "nothing was measured: the test was stopped before its load began"),
    ],
)
def test_a_program_whose_test_does_not_begin_says_why(
    server: server_process.Server, tmp_path: Path, host: str | None, waits: int, code: int, told: str
) -> None:
    text = REFUSED.replace("WAITS", str(waits)).replace("HOST", host or "HOST")
    command = [*program(tmp_path, text, server), "environment"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.count(told) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "results").glob("*")), done.stderr


UNMEASURED = (
    HEAD
    + "import gevent.event\n"
    + """
class A(Digits, PredictUser):
    @task
    def nothing(self):
        begun.set()
        gevent.sleep(0.1)

begun = gevent.event.Event()
from locust.env import Environment
environment = Environment(user_classes=[A], host="HOST")
environment.create_local_runner()
if sys.argv[1] == "form":
    environment.create_web_ui("127.0.0.1", 0)
environment.runner.start(2, spawn_rate=2)
begun.wait()
if sys.argv[1] == "form":
    environment.runner.quit()
    print("code", environment.process_exit_code)
    sys.exit(environment.process_exit_code)
elif sys.argv[1] == "looks":
    try:
        environment.runner.quit()
    finally:
        print("code", environment.process_exit_code)
else:
    gevent.spawn(environment.runner.quit)
    environment.runner.greenlet.join()
print("not reached")
"""
)


@pytest.mark.parametrize("way", ["looks", "waits", "form"])
def test_a_program_that_measures_nothing_does_not_end_with_0(
    server: server_process.Server, tmp_path: Path, way: str
) -> None:
    command = [*program(tmp_path, UNMEASURED, server), way]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("nothing was measured") == 1, done.stderr
    assert ("code 3" in done.stdout) == (way in ("looks", "form"))
    assert "not reached" not in done.stdout
    assert "Traceback" not in done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    assert Run.open(folder).manifest.raw["counts"]["recorded"] == 0


FORM = (
    HEAD
    + """
class A(Digits, PredictUser):
    pass

from locust.env import Environment
environment = Environment(user_classes=[A], host="HOST")
environment.create_local_runner()
environment.create_web_ui("127.0.0.1", int(sys.argv[1]))
environment.web_ui.greenlet.join()
"""
)
ELSEWHERE = {"Origin": "http://evil.test"}


def test_the_web_form_of_a_program_is_guarded_from_its_first_request_on(
    server: server_process.Server, tmp_path: Path
) -> None:
    """Nobody else's page starts a test, sets a secret, or reads anything; before a test, in one and after it."""
    form = Form(free_port(), server.address, tmp_path / "results")
    process = subprocess.Popen([*program(tmp_path, FORM, server), str(form.port)], cwd=tmp_path)

    def answered(path: str) -> tuple[int, dict[str, str], str] | None:
        with contextlib.suppress(OSError):
            return form.ask(path)
        assert process.poll() is None
        return None

    try:
        eventually(lambda: answered("/"))
        assert form.swarm(ELSEWHERE)[0] == 403
        status, answer = form.swarm(metadata="x-leak=PATH")
        assert (status, answer["success"]) == (200, False)
        # a wrong option of its first test is no end of the program
        for _ in range(2):
            status, answer = form.swarm(batch_size="0")
            assert (status, answer["success"]) == (200, False)
            assert answer["message"] == "--batch-size 0: expected an integer >= 1"
        assert form.runs() == []
        assert form.swarm(run_time="", batch_size="1")[1]["success"]
        # a test of which nothing was measured would end the program
        eventually(lambda: list(form.results.glob("*/samples/*.rows")))
        assert form.ask("/stop", method="POST", **ELSEWHERE)[0] == 403
        assert form.ask("/stop", method="POST", Host="evil.test")[0] == 403
        status, headers, _ = form.ask("/stop", method="POST")
        assert status == 200
        assert "Access-Control-Allow-Origin" not in headers
    finally:
        process.terminate()
        process.wait(SECONDS)


DISTRIBUTED = (
    HEAD
    + """
class A(Digits, PredictUser):
    pass

from bench.scenario import take_part
from locust import runners
runners.HEARTBEAT_LIVENESS = 60  # seconds for which a busy machine may hold a worker up
from locust.env import Environment
role, port, taking_part = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
if role == "worker":
    Environment(user_classes=[A]).create_worker_runner("127.0.0.1", port).greenlet.join()
else:
    environment = Environment(user_classes=[A], host="HOST")
    master = environment.create_master_runner("127.0.0.1", port)
    if taking_part:
        take_part(environment)
    while not master.clients.ready:
        gevent.sleep(0.02)
    master.start(2, spawn_rate=2)
    while master.clients and environment.stats.total.num_requests < 50:
        gevent.sleep(0.05)
    master.quit()
"""
)


@pytest.mark.parametrize("taking_part", [True, False])
def test_a_master_of_a_program_takes_part_or_its_worker_says_what_is_missing(
    server: server_process.Server, tmp_path: Path, taking_part: bool
) -> None:
    begun, port = program(tmp_path, DISTRIBUTED, server), str(free_port())
    master, worker = (
        subprocess.Popen(
            [*begun, role, port, str(taking_part)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for role in ("master", "worker")
    )
    told, _ = worker.communicate(timeout=SECONDS)
    if not taking_part:
        master.kill()
    said, _ = master.communicate(timeout=SECONDS)
    if not taking_part:
        assert worker.returncode == 2, told
        assert "Traceback" not in told
        assert "bench.scenario.take_part(environment)" in told
        assert not (tmp_path / "results").exists()
        return
    assert (master.returncode, worker.returncode) == (0, 0), said + told
    (folder,) = (tmp_path / "results").iterdir()
    run = Run.open(folder)
    assert run.finished
    assert run.manifest.raw["counts"]["sent"] == run.manifest.raw["counts"]["recorded"] >= 50


@pytest.mark.parametrize("use", ["environment", "run_single_user"])
def test_locust_as_a_library_records_its_run(server: server_process.Server, tmp_path: Path, use: str) -> None:
    # one is started as its user does: the others are forks
    with forks.as_users_do() if use == "environment" else contextlib.nullcontext():
        done = subprocess.run(
            [*program(tmp_path, LIBRARY, server), use],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    run = Run.open(folder)
    assert run.finished
    assert run.manifest.raw["target"]["address"] == server.address
    assert run.manifest.raw["counts"]["sent"] == run.manifest.raw["counts"]["recorded"] >= 100
    assert json.loads((folder / "manifest.json").read_text())["load"]["user_classes"] == ["A"]
