"""Load processes that end in other ways than by themselves: what they leave behind, and what they tell."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bench.launch import server_process
from bench.runs.run import Run
from tests.load.locust_runs import finish, interrupt_when, locust, start, wait_for_folder
from tests.ports import free_port

SECONDS = 60

SCENARIO = '''
"""A closed loop that starts a null server of its own."""
import time
from bench import mnist
from bench.load.users import PredictUser
from bench.payload import Pool

class Quick(PredictUser):
    @classmethod
    def payload(cls, options):
        digits = mnist.load("test")
        return Pool.mnist(digits.images, digits.labels, **options.asked.request(), seed=options.seed)

    @classmethod
    def server(cls, site):
        site.serving()
        {more}
        return ["--backend", "null"]
'''


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    """Answers at once."""
    with server_process.embedded(["--backend", "null"]) as launched:
        yield launched


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[[str], str]:
    """Writes the scenario, with one more line that is executed before its server starts."""

    def write(more: str = "pass") -> str:
        path = tmp_path / "quick.py"
        path.write_text(SCENARIO.replace("{more}", more))
        return str(path)

    return write


SLOWLY = ("--schedule", "closed:2ms")
"""Loads whose throughput is not in question leave the processor to others."""


def ended(process: psutil.Process) -> bool:
    """Whether it is gone, or waits only for somebody to ask how it ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(what: Callable[[], object], seconds: float = SECONDS) -> None:
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up, f"waited {seconds} s in vain"
        time.sleep(0.05)


def test_workers_end_with_a_killed_master_without_a_word(
    server: server_process.Server, tmp_path: Path
) -> None:
    process = start(tmp_path, "--host", server.address, "-u", "4", "-r", "4", *SLOWLY, "--processes", "2")
    folder = wait_for_folder(tmp_path, process, workers=2)
    workers = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: all(map(ended, workers)), seconds=45)  # Locust's own would go on for 60 s
    assert "Traceback" not in process.communicate()[0]
    run = Run.open(folder)
    assert not run.finished
    assert set(run.samples["worker"]) == {0, 1}


def test_a_load_whose_last_process_is_killed_ends_by_itself(
    server: server_process.Server, tmp_path: Path
) -> None:
    process = start(tmp_path, "--host", server.address, "-u", "4", "-r", "4", *SLOWLY, "--processes", "2")
    wait_for_folder(tmp_path, process, workers=2)
    for worker in psutil.Process(process.pid).children():
        worker.kill()
    done = finish(process, tmp_path)
    assert done.code == 2, done.output
    run = done.run()
    assert run.manifest.state == "interrupted"
    assert [worker.lost for worker in run.manifest.workers] == [True, True]
    (warning,) = [warning for warning in run.manifest.doubts if warning.check == "interrupted"]
    assert warning.reason.endswith("all load processes have ended; see their messages above")
    assert "Traceback" not in done.output


def test_a_worker_that_leaves_in_order_before_the_end_is_reported(
    server: server_process.Server, tmp_path: Path
) -> None:
    process = start(tmp_path, "--host", server.address, "-u", "4", "-r", "4", *SLOWLY, "--processes", "2")
    folder = wait_for_folder(tmp_path, process, workers=2)
    leaving = psutil.Process(process.pid).children()[0]
    leaving.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    while "left" not in process.stdout.readline():  # a second after it has left
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    finish(process, tmp_path)
    run = Run.open(folder)
    assert run.manifest.raw["load"]["processes"] == 2
    workers = run.manifest.raw["workers"]
    assert [worker["lost"] for worker in workers] == [False, False]
    (left,) = [worker["left"] for worker in workers if worker["left"] is not None]
    assert 0 < left < run.manifest.raw["stopped"] - 1
    assert "load processes" in {warning["check"] for warning in run.manifest.raw["doubts"]}


IMPATIENT = """
from bench.load.locust_glue import session, workers
from scenarios.mnist import Mnist

session.DEADLINE_MARGIN, workers.GOODBYE_SECONDS = 0.1, 3.0
"""


def test_the_end_waits_for_a_load_process_that_hangs_but_not_for_ever(
    server: server_process.Server, tmp_path: Path
) -> None:
    scenario = tmp_path / "impatient.py"
    scenario.write_text(IMPATIENT)
    load = ["--host", server.address, "-u", "4", "-r", "4", *SLOWLY, "--processes", "2", "--deadline", "1"]
    process = start(tmp_path / "results", *load, scenario=str(scenario))
    wait_for_folder(tmp_path / "results", process, workers=2)
    hanging = psutil.Process(process.pid).children()[0]
    hanging.suspend()
    process.send_signal(signal.SIGINT)
    done = finish(process, tmp_path / "results")  # and not before the other end of the pipe is closed
    assert ended(hanging)
    assert done.code == 0, done.output
    told = rf"load process [01] has not answered for \d+ s since the load ended, .* kill process {hanging.pid} on"
    assert re.search(told, done.output), done.output
    run = done.run()
    assert run.manifest.finished
    assert sorted(worker.lost for worker in run.manifest.workers) == [False, True]


KILLED = """
import os, signal
from locust import events
from locust.runners import WorkerRunner

def die():
    try:
        os.mkdir("PLACE")
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)

if "WHEN" == "fork":
    os.register_at_fork(after_in_child=die)
else:
    # before ours, which says hello
    events.test_start.add_listener(lambda environment, **_: isinstance(environment.runner, WorkerRunner) and die())

from scenarios.mnist import Mnist
"""


def killed(tmp_path: Path, when: str) -> str:
    """A scenario of which one worker is killed: as it is forked, or when the test starts."""
    path = tmp_path / "killed.py"
    path.write_text(KILLED.replace("PLACE", str(tmp_path / "chosen")).replace("WHEN", when))
    return str(path)


def test_a_worker_that_is_killed_before_its_hello_is_missed_and_so_are_its_users(
    server: server_process.Server, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    load = ["--host", server.address, "-u", "4", "-r", "4", "--schedule", "closed:10ms", "--processes", "2"]
    process = start(results, *load, scenario=killed(tmp_path, "test_start"))

    def missed(run: Run) -> bool:
        """By Locust, which waits for some heartbeats; and the other one's users are there."""
        return any(row.get("workers") == 1 for row in run.telemetry) and any(
            row.get("users") == 2 for row in run.telemetry
        )

    interrupt_when(process, results, missed)
    done = finish(process, results)
    run = done.run()
    assert len(run.manifest.workers) == 2
    (lost,) = [number for number, worker in enumerate(run.manifest.workers) if worker.lost]  # either of them
    assert {row["planned_users"] for row in run.telemetry if row["source"] == "load"} == {4}
    assert max(row.get("users", 0) for row in run.telemetry) == 2
    warnings = {warning.check: warning.reason for warning in run.manifest.doubts}
    assert f"load process {lost} ended before the run did" in warnings["lost worker"]
    # a second after the start, a busy machine may not have begun with the two yet
    assert re.match("4 users were planned and [012] ran", warnings["users"])
    assert "Traceback" not in done.output


SLOW = """
import os
import time
from pathlib import Path
from bench import mnist
from bench.load.locust_glue import workers
from bench.load.users import PredictUser
from bench.payload import Pool

FIRST = os.getpid()
workers.TOGETHER_SECONDS = 1.0  # for which a load waits for its processes

class Slow(PredictUser):
    @classmethod
    def payload(cls, options):
        if os.getpid() != FIRST:
            while not list(Path("RESULTS").glob("*/SHA256SUMS")):
                time.sleep(0.02)
        digits = mnist.load("test")
        return Pool.mnist(digits.images[:20], digits.labels[:20], **options.asked.request(), size=20)
"""


def test_workers_that_are_not_ready_before_the_end_are_idle_and_not_lost(
    server: server_process.Server, tmp_path: Path
) -> None:
    scenario = tmp_path / "slow.py"
    scenario.write_text(SLOW.replace("RESULTS", str(tmp_path / "results")))
    load = ["--host", server.address, "-u", "2", "-r", "2", "-t", "1s", "--processes", "2"]
    done = locust(tmp_path / "results", *load, scenario=str(scenario))
    assert done.code == 3, done.output
    run = done.run()
    warnings = [(warning.check, warning.reason) for warning in run.manifest.doubts]
    assert ("load processes", "2 load processes were planned and 0 took part") in warnings
    assert ("load processes", "2 load processes were connected and sent nothing") in warnings
    assert "lost worker" not in dict(warnings)


def test_a_worker_that_dies_before_it_connects_ends_the_test(
    server: server_process.Server, tmp_path: Path
) -> None:
    load = ["--host", server.address, "-u", "4", "-r", "4", "-t", "6s", "--processes", "2"]
    done = locust(tmp_path / "results", *load, scenario=killed(tmp_path, "fork"))
    assert done.code == 2, done.output
    (told,) = [line for line in done.output.splitlines() if line.startswith("bench: ")]
    # whichever comes first
    assert re.fullmatch(
        "bench: load process [12] of 2 ended before the test began; see its messages above", told
    )
    assert "Traceback" not in done.output
    assert done.folders == []


PARENT = """
import os, sys, time
from bench.load.locust_glue import parent
if sys.argv[1] == "silent":
    parent._Forks.prctl = None  # as on systems that do not tell of a parent's death
parent.bind_forks()
if os.fork():
    time.sleep(60)
import gevent
parent.release_forks()
parent.watch_parent()
print(os.getpid(), flush=True)
gevent.sleep(60)
"""


@pytest.mark.parametrize("system", ["linux", "silent"])
def test_a_fork_ends_with_its_parent_wherever_it_stands(system: str) -> None:
    if system == "linux" and sys.platform != "linux":
        pytest.skip("prctl is Linux's")
    command = [sys.executable, "-c", PARENT, system]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
        wait_for(lambda: ended(child), seconds=45)


def test_workers_that_joined_a_master_end_when_it_is_killed(
    server: server_process.Server, tmp_path: Path
) -> None:
    port = str(free_port())
    token = {"BENCH_WORKER_TOKEN": "a secret of the tests"}
    bind = ["--master", "--expect-workers", "2", "--master-bind-port", port]
    load = ["--host", server.address, "-u", "2", "-r", "2", "--schedule", "closed:2ms"]
    master = start(tmp_path / "results", *bind, *load, environment=token)
    workers = [
        start(tmp_path / "worker", "--worker", "--master-port", port, environment=token) for _ in range(2)
    ]
    folder = wait_for_folder(tmp_path / "results", master, workers=2)
    os.kill(master.pid, signal.SIGKILL)
    master.communicate()
    killed = time.monotonic()
    for worker in workers:
        done = finish(worker, tmp_path / "worker")
        assert time.monotonic() < killed + 50  # Locust's own would go on for 60 s
        assert done.code == 2, done.output
        assert done.output.count(f"the master at 127.0.0.1:{port} is gone") == 1, done.output
        assert "Traceback" not in done.output
    assert token["BENCH_WORKER_TOKEN"] not in "".join(
        path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()
    )


@pytest.fixture
def limited() -> Iterator[None]:
    """Files of processes that are started here may not grow beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("processes", [[], ["--processes", "2"]])
def test_a_run_that_cannot_be_written_any_more_ends_with_one_line(
    server: server_process.Server, tmp_path: Path, processes: list[str]
) -> None:
    """A file that may not grow stands for a full disk: the system refuses to write in both cases."""
    done = locust(tmp_path, "--host", server.address, "-u", "8", "-r", "8", *processes)
    assert done.code == 2, done.output
    told = [line for line in done.output.splitlines() if "cannot be recorded" in line]
    assert len(told) == 1, done.output
    assert re.search(r"ERROR/bench: \S+: File too large; .*--results", told[0])
    assert "Traceback" not in done.output
    run = done.run()
    assert not run.finished
    assert len(run.samples) > 100
    shown = subprocess.run(
        [sys.executable, "-m", "bench", "report", str(run.path), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(shown.stdout)["runs"]


def test_a_load_that_is_broken_off_passes_no_gate(
    server: server_process.Server, tmp_path: Path, scenario: Callable[[str], str]
) -> None:
    """As where a scenario's script cannot go on: the run was to last longer, and says why it did not."""
    path = Path(scenario("pass"))
    path.write_text(
        path.read_text()
        + """
    @staticmethod
    def script(stage):
        from bench import BenchError
        stage.wait(0.5)
        raise BenchError("the folder is gone")
"""
    )
    done = locust(tmp_path / "results", "--host", server.address, "-t", "120s", scenario=str(path))
    assert done.code == 2, done.output
    run = done.run()
    assert run.manifest.state == "interrupted"
    (warning,) = [warning for warning in run.manifest.doubts if warning.check == "interrupted"]
    assert re.fullmatch(r"the load was aborted after [\d.]+ s: the folder is gone", warning.reason)
    assert 120 <= run.manifest.planned_end < 240


def test_a_scenario_without_a_payload_is_told_what_to_write(
    server: server_process.Server, tmp_path: Path
) -> None:
    path = tmp_path / "empty.py"
    path.write_text("from bench.load.users import PredictUser\nclass Empty(PredictUser):\n    pass\n")
    done = locust(tmp_path / "results", "--host", server.address, scenario=str(path))
    assert done.code == 2
    (told,) = [line for line in done.output.splitlines() if line.startswith("bench: ")]
    assert "Empty: no payload" in told
    assert "def payload(cls, options)" in told
    assert "Traceback" not in done.output
    assert done.folders == []
