"""What is used of Locust beyond its documentation is there, in the installed and in the lowest supported Locust."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, ClassVar

import gevent
import locust
import pytest
from gevent.event import Event
from locust import User, main, runners, tag, task
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.rpc import Message, zmqrpc
from locust.runners import (
    STATE_INIT,
    STATE_MISSING,
    STATE_RUNNING,
    STATE_STOPPED,
    STATE_STOPPING,
    WorkerNode,
    WorkerRunner,
)
from locust.user.task import LOCUST_STATE_RUNNING

from bench.load.locust_glue import internals
from tests.load.locust_runs import ROOT, start, until_recorded
from tests.load.lowest_locust import FOLDER, installed_is_lowest, lowest

VARIABLE = "BENCH_TEST_LOWEST_LOCUST"
"""Set where the lowest supported Locust has to be the one that is imported."""


class Socket:
    """Stands for a socket of Locust's: keeps what is sent."""

    made: ClassVar[list[tuple[Any, ...]]] = []

    def __init__(self, *where: Any) -> None:
        self.made.append(where)
        self.sent: list[Any] = []
        self.port = 1

    def recv_from_client(self) -> Any:
        gevent.sleep(1e6)

    def send_to_client(self, message: Any) -> None:
        self.sent.append(message)

    def close(self, linger: int | None = None) -> None:
        pass


@pytest.fixture
def environment() -> Iterator[Environment]:
    options = get_parser(default_config_files=[]).parse_args([])
    made = Environment(user_classes=[Tagged], tags=["a"], parsed_options=options)
    yield made
    if made.runner is not None:
        made.runner.quit()


class Tagged(User):
    @tag("a")
    @task
    def first(self) -> None:
        pass

    @task
    def second(self) -> None:
        pass


def test_it_is_the_locust_that_is_to_be_tested() -> None:
    assert installed_is_lowest() or VARIABLE not in os.environ


def test_users_without_constructor_have_all_that_locust_reads_of_one(environment: Environment) -> None:
    """The rest is set when a user is started."""
    own = {name: value for name, value in vars(Tagged(environment)).items() if name.startswith("_")}
    known = {name for name in vars(internals.UserState) if not name.startswith("__")}
    assert own.keys() - known == {"_greenlet", "_taskset_instance"}
    assert known <= own.keys()


def test_a_user_stops_that_was_told_to_while_it_ran(environment: Environment) -> None:
    user = Tagged(environment)
    user._state = LOCUST_STATE_RUNNING
    assert not internals.stopping(user)
    assert not user.stop()
    assert internals.stopping(user)


def test_listeners_to_requests_are_known(environment: Environment) -> None:
    environment.create_local_runner()
    assert {each.__module__ for each in internals.request_listeners(environment)} == {"locust.runners"}
    mine = environment.events.request.add_listener(lambda **_: None)
    assert mine in internals.request_listeners(environment)


def test_tasks_are_those_that_the_tags_choose(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tagged, "tasks", list(Tagged.tasks))
    internals.filter_tasks_by_tags(environment)
    assert Tagged.tasks == [Tagged.first]


def test_a_runner_lives_until_it_quits(environment: Environment) -> None:
    runner = environment.create_local_runner()
    assert internals.alive(runner)
    runner.quit()
    assert not internals.alive(runner)


def test_masters_and_workers_take_the_sockets_that_they_are_given(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Server", "Client"):
        monkeypatch.setattr(zmqrpc, name, getattr(zmqrpc, name))
    internals.use_sockets(Socket, Socket)
    master = environment.create_master_runner("127.0.0.1", 0)
    assert Socket.made == [("127.0.0.1", 0)]
    internals.send_home(master, "nobody")
    (message,) = master.server.sent
    assert (message.type, message.node_id) == ("quit", "nobody")
    assert "Client" in WorkerRunner.__init__.__code__.co_names


def test_a_master_quits_when_its_workers_have_left_and_once(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zmqrpc, "Server", Socket)
    monkeypatch.setattr(internals, "LEAVE_SECONDS", 1e6)
    master, finished = environment.create_master_runner("127.0.0.1", 0), Event()
    internals.quit_with_workers(master, finished.wait)
    for name, state in (("here", STATE_RUNNING), ("lost", STATE_MISSING)):
        master.clients[name] = WorkerNode(name, state)
    quitting = gevent.spawn(environment.events.quitting.fire, environment=environment)
    gevent.sleep(0.05)
    assert not quitting.ready()
    assert internals.alive(master)
    del master.clients["here"]
    gevent.sleep(0.05)
    assert internals.alive(master), "a test is being finished"
    finished.set()
    quitting.join()
    assert not internals.alive(master)
    master.quit()
    assert [(message.type, message.node_id) for message in master.server.sent] == [
        ("quit", "here"),
        ("quit", "lost"),
    ]


def test_a_master_gives_workers_up_when_it_is_told_to(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zmqrpc, "Server", Socket)
    monkeypatch.setattr(runners, "HEARTBEAT_LIVENESS", runners.HEARTBEAT_LIVENESS)
    master = environment.create_master_runner("127.0.0.1", 0)
    alive = {"state": STATE_RUNNING, "current_cpu_usage": 1, "current_memory_usage": 1}
    for name in ("speaks", "silent"):
        master.clients[name] = WorkerNode(name, STATE_RUNNING, heartbeat_liveness=0)
    internals.miss_workers_after(600, master)
    assert [client.heartbeat for client in master.clients.all] == [600, 600]
    for name in ("speaks", "silent"):
        internals.give_up(master, name)
    master.handle_message("speaks", Message("heartbeat", alive, "speaks"))
    with gevent.Timeout(60):
        while master.clients["silent"].state != STATE_MISSING:
            gevent.sleep(0.05)
    assert master.clients["speaks"].state == STATE_RUNNING


def test_a_test_has_stopped_when_the_workers_that_are_there_have(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zmqrpc, "Server", Socket)
    master = environment.create_master_runner("127.0.0.1", 0)
    internals.stop_without_missing(master)
    for name, state in (("ready", STATE_INIT), ("lost", STATE_RUNNING)):
        master.clients[name] = WorkerNode(name, state)
    master.update_state(STATE_STOPPING)
    states = []
    for master.clients["lost"].state in (STATE_RUNNING, STATE_MISSING):
        master.check_stopped()
        states.append(master.state)
    assert states == [STATE_STOPPING, STATE_STOPPED]


def test_workers_look_up_when_to_give_their_master_up() -> None:
    assert "MASTER_HEARTBEAT_TIMEOUT" in WorkerRunner.heartbeat_timeout_checker.__code__.co_names
    assert 1 <= internals.MASTER_SECONDS < 1e4


def test_a_new_web_interface_is_announced(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "create_web_ui", Environment.create_web_ui)
    monkeypatch.setattr(sys, "argv", ["locust"])  # whose options the interface shows
    seen: list[Any] = []
    internals.on_new_web_interface(lambda *found: seen.append(found))
    environment.create_local_runner()
    web = environment.create_web_ui("127.0.0.1", 0, delayed_start=True)
    assert seen == [(environment, web)]


def test_a_run_time_that_is_over_is_outlasted(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["locust"])
    monkeypatch.setattr(main, "gevent", gevent)
    environment.create_local_runner()
    web, waited, happened = environment.create_web_ui("127.0.0.1", 0, delayed_start=True), Event(), []
    monkeypatch.setattr(web, "_stop_runners", lambda: happened.append("form"))
    internals.outlast_run_time(waited.wait)
    internals.outlast_form(web, waited.wait)
    # as in Locust's main(), and where its form starts a test
    assert "spawn_later" in {name for code in functions_of(main.main) for name in code.co_names}
    assert "_stop_runners" in {name for code in functions_of(type(web).__init__) for name in code.co_names}
    assert not internals.timed(environment)
    timers = [
        main.gevent.spawn_later(0, lambda: happened.append("line")),
        gevent.spawn_later(0, web._stop_runners),
    ]
    gevent.sleep(0.05)
    assert not happened
    assert internals.timed(environment)
    waited.set()
    gevent.joinall(timers)
    assert sorted(happened) == ["form", "line"]
    assert not internals.timed(environment)


def test_a_start_from_the_form_is_known_until_all_users_are_there(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["locust"])
    environment.create_local_runner()
    assert not internals.starts(environment)
    web, spawned, seen = environment.create_web_ui("127.0.0.1", 0, delayed_start=True), Event(), []

    def start(*_: Any) -> None:
        seen.append(internals.in_start(environment))
        spawned.wait()

    monkeypatch.setattr(environment.runner, "start", start)
    form = {"user_count": "1", "spawn_rate": "1"}
    latest = []
    for more in ({"run_time": "1h"}, {}):
        assert web.app.test_client().post("/swarm", data=form | more).json["success"]
        assert internals.timed(environment) == bool(more)
        latest.append(internals.start_from_form(environment))
        gevent.sleep(0.01)
    assert latest[0] is not latest[1], "a change of users is another start"
    assert (seen, internals.starts(environment)) == ([True, True], True)
    spawned.set()
    gevent.sleep(0.01)
    assert not internals.starts(environment)
    start_that_hangs = web._swarm_greenlet = gevent.spawn(Event().wait)
    internals.spawn_no_more(environment)
    assert start_that_hangs.dead


def functions_of(function: Any) -> list[CodeType]:
    """The code of a function and of all that are defined in it."""
    found = [function.__code__]
    for code in found:
        found += [each for each in code.co_consts if isinstance(each, CodeType)]
    return found


def test_an_event_calls_the_first_listener_first(environment: Environment) -> None:
    called: list[int] = []
    environment.events.test_start.add_listener(lambda **_: called.append(2))
    internals.listen_first(environment.events.test_start, lambda **_: called.append(1))
    environment.events.test_start.fire(environment=environment)
    assert called == [1, 2]


SCENARIO = """
from bench import mnist
from bench.load.users import PredictUser
from bench.payload import Pool

class Digits(PredictUser):
    wait_time = lambda self: 0.01

    @classmethod
    def payload(cls, options):
        digits = mnist.load("test")
        return Pool.mnist(digits.images[:9], digits.labels[:9], **options.asked.request(), size=9)

    @classmethod
    def server(cls, site):
        return ["--backend", "null"]
"""


def test_a_run_of_two_workers_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "scenario.py").write_text(SCENARIO)
    results = tmp_path / "results"
    load = ("--processes", "2", "-u", "2", "-r", "2", "-t", "60s", "--schedule", "closed:2ms")
    process = start(results, *load, scenario=str(tmp_path / "scenario.py"))
    run = until_recorded(process, results, 20, workers=2).run()
    assert run.manifest.machine.packages["locust"] == locust.__version__


@pytest.mark.skipif(installed_is_lowest(), reason="the installed Locust is the lowest supported one")
def test_the_lowest_locust_does_the_same() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no Locust {lowest()} in {FOLDER.relative_to(ROOT)}: make lowest-locust")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "PYTHONPATH": str(FOLDER), VARIABLE: "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
