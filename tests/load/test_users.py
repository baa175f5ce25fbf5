"""User classes as people write them, and Locust as people use it: what is named is measured, or one line says why not."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from locust import SequentialTaskSet, TaskSet, constant

from bench import BenchError
from bench.launch import server_process
from bench.load.sources import refuse_other_waits, task_sets_that_wait
from bench.load.target import host_of
from bench.runs.run import Run
from bench.schedule import parse
from tests.load.locust_runs import (
    SECONDS,
    Finished,
    command,
    finish,
    interrupt_when,
    locust,
    start,
    until_recorded,
)
from tests.ports import free_port
from tests.scenarios.answered import unsent

HEAD = """
import os
import sys
import gevent
from locust import FastHttpUser, TaskSet, constant, constant_throughput, tag, task
from bench import mnist
from bench.load.users import ArrivalUser, PredictUser
from bench.payload import Pool

class Digits:
    @classmethod
    def payload(cls, options):
        digits = mnist.load("test")
        return Pool.mnist(digits.images[:20], digits.labels[:20], **options.asked.request(), size=20)

    def on_start(self):
        self.state = "mine"

    def on_stop(self):
        os.write(1, f"\\nstopped {type(self).__name__} {self.state}\\n".encode())  # at once: processes share the pipe
"""
KINDS = (
    HEAD
    + """
class Plain(Digits, PredictUser):
    request_name = "plain"

class Own(Digits, PredictUser):
    request_name = "own"
    wait_time = constant(30)
    def __init__(self, environment):
        self.mine = True

class Method(Own):
    request_name = "method"
    def wait_time(self):
        return 30

class Tasks(Plain):
    request_name = "tasks"
    wait_time = constant_throughput(0.01)
    @task
    def twice(self):
        assert self.state == "mine"
        self.predict()
        self.predict()
"""
)
HOSTS = (
    HEAD
    + """
class Closed(Digits, PredictUser):
    request_name = "closed"
    host = "HOST"
    wait_time = constant(0.01)

class Opened(Digits, ArrivalUser):
    request_name = "opened"
    schedule = "constant:20"

class Web(FastHttpUser):
    host = "http://127.0.0.1:1"
    @task
    def look(self):
        print("web", self.host, flush=True)
        gevent.sleep(100)
"""
)


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    """Answers at once."""
    with server_process.embedded(["--backend", "null"]) as launched:
        yield launched


def written(tmp_path: Path, text: str, server: server_process.Server) -> str:
    path = tmp_path / "scenario.py"
    path.write_text(text.replace("HOST", server.address))
    return str(path)


def stopped(done: Finished) -> set[str]:
    return {line.split()[1] for line in done.output.splitlines() if line.startswith("stopped")}


def names(run: Run) -> set[str]:
    """Of the requests that are recorded."""
    return set(run.samples["name"])


def users(run: Run) -> int:
    """The most users of each load process, together."""
    most: dict[str, int] = {}
    for row in run.telemetry:
        if "users" in row and str(row["source"]).startswith("worker"):
            most[row["source"]] = max(row["users"], most.get(row["source"], 0))
    return sum(most.values())


def test_classes_without_super_take_part_and_the_command_line_sets_their_think_time(
    server: server_process.Server, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    load = ["--host", server.address, "--schedule", "closed:0.05", "-u", "4", "-r", "4"]
    process = start(results, *load, scenario=written(tmp_path, KINDS, server))
    interrupt_when(process, results, lambda run: len(names(run)) == 4 and len(run.samples) >= 100)
    done = finish(process, results)
    assert done.code == 0, done.output
    run = done.run()
    assert run.manifest.raw["load"]["schedule"] == {"kind": "closed", "think": 0.05}
    by_name = run.samples.groupby("name")["due"]
    assert set(by_name.groups) == {"plain", "own", "method", "tasks"}
    for name, due in by_name:
        pauses = due.sort_values().diff().dropna()
        pauses = pauses[pauses > 0.03] if name == "tasks" else pauses
        # of single ones some are shorter on a busy machine: the loop's timers count from its last turn
        assert 0.0499 <= pauses.median() < 1, name
    assert stopped(done) == {"Plain", "Own", "Method", "Tasks"}


def test_the_host_of_a_class_is_the_target_and_others_keep_theirs(
    server: server_process.Server, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    process = start(results, "-u", "3", "-r", "3", scenario=written(tmp_path, HOSTS, server))
    interrupt_when(process, results, lambda run: names(run) == {"closed", "opened"} and users(run) == 3)
    done = finish(process, results)
    run = done.run()
    assert done.code == (1 if unsent(run) else 0), done.output
    assert run.manifest.raw["target"]["address"] == server.address
    assert names(run) == {"closed", "opened"}
    assert "web http://127.0.0.1:1\n" in done.output
    assert stopped(done) == {"Closed", "Opened"}


def test_the_host_of_the_command_line_goes_before_that_of_a_class_on_all_load_processes(
    server: server_process.Server, tmp_path: Path
) -> None:
    text = HOSTS.replace('host = "HOST"', 'host = "127.0.0.1:1"')
    limits = ["--host", server.address, "-u", "6", "-r", "6", "--processes", "2"]
    results = tmp_path / "results"
    process = start(results, *limits, scenario=written(tmp_path, text, server))
    interrupt_when(process, results, lambda run: names(run) == {"closed", "opened"} and users(run) == 6)
    done = finish(process, results)
    run = done.run()
    assert done.code == (1 if unsent(run) else 0), done.output
    assert run.manifest.raw["target"]["address"] == server.address
    assert run.manifest.raw["counts"]["addresses"].keys() == {server.address}
    assert names(run) == {"closed", "opened"}
    assert f"web {server.address}\n" in done.output, "as Locust does with classes that are not ours"
    assert stopped(done) == {"Closed", "Opened"}
    assert users(run) == 6
    assert {row["planned_users"] for row in run.telemetry if row["source"] == "load"} == {6}


LATER = (
    HEAD
    + """
from locust import events

class A(Digits, PredictUser):
    @classmethod
    def server(cls, site):
        return ["--backend", "null"]

@events.WHEN.add_listener
def name_the_target(environment, **_):
    WHAT.host = "HOST"
"""
)


@pytest.mark.parametrize(
    ("when", "what", "more"),
    [
        ("init", "environment", []),
        ("init", "A", ["--processes", "1"]),
        ("test_start", "environment", []),
    ],
)
def test_a_target_that_a_listener_names_is_the_one_that_is_measured(
    server: server_process.Server, tmp_path: Path, when: str, what: str, more: list[str]
) -> None:
    scenario = written(tmp_path, LATER.replace("WHEN", when).replace("WHAT", what), server)
    results = tmp_path / "results"
    done = until_recorded(start(results, "--schedule", "closed:10ms", *more, scenario=scenario), results, 10)
    assert done.code == 0, done.output
    run = done.run()
    assert run.manifest.raw["target"]["address"] == server.address
    assert run.manifest.raw["counts"]["addresses"].keys() == {server.address}


TWO_HOSTS = (
    "class A(Digits, PredictUser):\n    host = 'a:1'\nclass B(Digits, PredictUser):\n    host = 'b:1'\n"
)
TAGGED = (
    "class A(Digits, PredictUser):\n    @tag('slow')\n    @task\n    def one(self):\n        self.predict()\n"
)
WAITING = (
    "class Thinks(TaskSet):\n    wait_time = constant(3)\n    @task\n    def one(self):\n        self.user.predict()\n"
    "class A(Digits, PredictUser):\n    tasks = [Thinks]\n"
)
SELF = (
    "class A(Digits, PredictUser):\n    def __init__(self, environment):\n        self.host = 'a:1'\n"
    "    @classmethod\n    def server(cls, site):\n        return ['--backend', 'null']\n"
)
IDLE = "class A(Digits, PredictUser):\n    @task\n    def nothing(self):\n        gevent.sleep(0.1)\n"


def test_one_target_may_be_spelled_in_several_ways() -> None:
    spelled = [
        type("User", (), {"host": host, "payload": 1}) for host in ("grpc://a:8500", "a", "http://a:8500/")
    ]
    environment = SimpleNamespace(host=None, user_classes=spelled)
    assert host_of(environment, 8500) == "a:8500"
    with pytest.raises(BenchError, match="several targets"):
        host_of(environment, 8501)


@pytest.mark.parametrize(
    ("text", "arguments", "code", "told"),
    [
        (TWO_HOSTS, [], 2, "host: the user classes name several targets (A a:1, B b:1)"),
        (TAGGED, ["--tags", "quick"], 2, "--tags, --exclude-tags: they leave A without tasks"),
        (
            WAITING,
            ["--host", "HOST", "--schedule", "closed:1"],
            2,
            "--schedule closed:1s: Thinks defines wait_time",
        ),
        (IDLE, ["--host", "HOST"], 3, "nothing was measured"),
        (
            SELF,
            ["-u", "2", "-r", "2"],
            3,
            "a user of A sets its own host to a:1, the run measures 127.0.0.1:",
        ),
    ],
)
def test_what_measures_nothing_says_so_and_does_not_end_with_0(
    server: server_process.Server, tmp_path: Path, text: str, arguments: list[str], code: int, told: str
) -> None:
    scenario = written(tmp_path, HEAD + text, server)
    arguments = [each.replace("HOST", server.address) for each in arguments]
    done = locust(tmp_path / "results", *arguments, "-t", "1s", scenario=scenario)
    assert done.code == code, done.output
    assert done.output.count(told) == 1, done.output


REST_TOO = "class A(Digits, PredictUser):\n    over_rest = ('Predict',)\n"


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (IDLE, 3, "nothing was measured: no request ended"),
        (REST_TOO, 2, "--rest: this scenario sends over REST too"),
    ],
)
def test_a_web_form_that_starts_and_ends_by_itself_has_the_codes_of_a_headless_run(
    server: server_process.Server, tmp_path: Path, text: str, code: int, told: str
) -> None:
    line = command(tmp_path / "results", scenario=written(tmp_path, HEAD + text, server))
    line.remove("--headless")
    line += ["--host", server.address, "--autostart", "--autoquit", "0", "-t", "1s"]
    line += ["--web-host", "127.0.0.1", "--web-port", str(free_port())]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.count(told) == 1, done.stderr


class Thinking(TaskSet):
    """A wait time of its own, for those that inherit it."""

    wait_time = constant(3)


class Inherits(Thinking):
    tasks: ClassVar[list[Any]] = [lambda _: None]


class Nests(SequentialTaskSet):
    tasks: ClassVar[list[Any]] = [lambda _: None, Inherits]


class Patient(TaskSet):
    """As long as its user."""

    tasks: ClassVar[list[Any]] = [lambda _: None]


@pytest.mark.parametrize(
    ("tasks", "names"),
    [([Nests, Patient], ["Inherits"]), ([Thinking, Inherits], ["Thinking", "Inherits"]), ([Patient], [])],
)
def test_task_sets_that_wait_are_found_wherever_they_stand(tasks: list[Any], names: list[str]) -> None:
    asking = type("Asking", (), {"tasks": tasks, "payload": None})
    other = type("Other", (), {"tasks": [Thinking]})
    assert list(task_sets_that_wait(tasks)) == names
    refuse_other_waits([asking, other], None)
    refuse_other_waits([asking, other], parse("poisson:5"))
    refuse_other_waits([other], parse("closed:1"))
    if names:
        with pytest.raises(BenchError, match=rf"--schedule closed:1s: {names[0]} defines wait_time"):
            refuse_other_waits([other, asking], parse("closed:1"))
    else:
        refuse_other_waits([asking], parse("closed:1"))


def test_a_worker_with_another_locustfile_is_refused(server: server_process.Server, tmp_path: Path) -> None:
    port = str(free_port())
    ours, theirs = written(tmp_path, KINDS, server), tmp_path / "other.py"
    theirs.write_text(HEAD + IDLE)
    bind = ["--master", "--expect-workers", "1", "--master-bind-port", port]
    master = start(tmp_path / "results", *bind, "--host", server.address, "-t", "60s", scenario=ours)
    worker = start(tmp_path / "worker", "--worker", "--master-port", port, scenario=str(theirs))
    done = finish(master, tmp_path / "results")
    assert done.code == 2, done.output
    told = "a worker has the user classes A and the master has Method, Own, Plain, Tasks"
    assert told in done.output
    refused = finish(worker, tmp_path / "worker")
    assert refused.code == 2, refused.output
    assert refused.output.count(told) == 1
    assert "Traceback" not in refused.output, refused.output
    assert "Traceback" not in done.output, done.output
