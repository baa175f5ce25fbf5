"""User classes as people write them, and Locust as people use it: what is named is measured, or one line says why not."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.launch import server_process
from bench.runs.run import Run
from tests.load.locust_runs import SECONDS, Finished, finish, free_port, locust, start

HEAD = """
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
        print("stopped", type(self).__name__, self.state, flush=True)
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


def test_classes_without_super_take_part_and_the_command_line_sets_their_think_time(
    server: server_process.Server, tmp_path: Path
) -> None:
    load = ["--host", server.address, "--schedule", "closed:0.05", "-u", "4", "-r", "4", "-t", "3s"]
    done = locust(tmp_path / "results", *load, scenario=written(tmp_path, KINDS, server))
    assert done.code == 0, done.output
    run = done.run()
    assert run.manifest.raw["load"]["schedule"] == {"kind": "closed", "think": 0.05}
    by_name = run.samples.groupby("name")["due"]
    assert set(by_name.groups) == {"plain", "own", "method", "tasks"}
    for name, due in by_name:
        pauses = due.sort_values().diff().dropna()
        pauses = pauses[pauses > 0.03] if name == "tasks" else pauses
        assert pauses.min() >= 0.0499, name
        assert pauses.median() < 1, name
    assert stopped(done) == {"Plain", "Own", "Method", "Tasks"}


def test_the_host_of_a_class_is_the_target_and_others_keep_theirs(
    server: server_process.Server, tmp_path: Path
) -> None:
    scenario = written(tmp_path, HOSTS, server)
    done = locust(tmp_path / "results", "-u", "3", "-r", "3", "-t", "3s", scenario=scenario)
    assert done.code == 0, done.output
    run = done.run()
    assert run.manifest.raw["target"]["address"] == server.address
    assert set(run.samples["name"]) == {"closed", "opened"}
    assert "web http://127.0.0.1:1\n" in done.output
    assert stopped(done) == {"Closed", "Opened"}


def test_the_host_of_the_command_line_goes_before_that_of_a_class_on_all_load_processes(
    server: server_process.Server, tmp_path: Path
) -> None:
    text = HOSTS.replace('host = "HOST"', 'host = "127.0.0.1:1"')
    limits = ["--host", server.address, "-u", "6", "-r", "6", "-t", "3s", "--processes", "2"]
    done = locust(tmp_path / "results", *limits, scenario=written(tmp_path, text, server))
    assert done.code == 0, done.output
    run = done.run()
    assert run.manifest.raw["target"]["address"] == server.address
    assert run.manifest.raw["counts"]["addresses"].keys() == {server.address}
    assert set(run.samples["name"]) == {"closed", "opened"}
    assert f"web {server.address}\n" in done.output, "as Locust does with classes that are not ours"
    assert stopped(done) == {"Closed", "Opened"}
    users = [(row["source"], row["users"]) for row in run.telemetry if "users" in row]
    assert sum(max(number for source, number in users if source == f"worker {n}") for n in range(2)) == 6
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
    done = locust(tmp_path / "results", "-t", "2s", *more, scenario=scenario)
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


@pytest.mark.parametrize(
    ("text", "arguments", "code", "told"),
    [
        (TWO_HOSTS, [], 2, "host: the user classes name several targets (A a:1, B b:1)"),
        (TAGGED, ["--tags", "quick"], 2, "--tags, --exclude-tags: they leave A without a task"),
        (
            WAITING,
            ["--host", "HOST", "--schedule", "closed:1"],
            2,
            "--schedule closed:1s: Thinks has a wait_time",
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
        ("127.0.0.1:1", 5, 0, "nothing was measured: the test was stopped before its load began"),
    ],
)
def test_a_program_whose_test_does_not_begin_says_why(
    server: server_process.Server, tmp_path: Path, host: str | None, waits: int, code: int, told: str
) -> None:
    text = REFUSED.replace("WAITS", str(waits)).replace("HOST", host or "HOST")
    command = [sys.executable, written(tmp_path, text, server), "environment"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.count(told) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "results").glob("*")), done.stderr


DISTRIBUTED = (
    HEAD
    + """
class A(Digits, PredictUser):
    pass

from bench.scenario import take_part
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
    scenario, port = written(tmp_path, DISTRIBUTED, server), str(free_port())
    master, worker = (
        subprocess.Popen(
            [sys.executable, scenario, role, port, str(taking_part)],
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
    scenario = written(tmp_path, LIBRARY, server)
    done = subprocess.run(
        [sys.executable, scenario, use],
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
