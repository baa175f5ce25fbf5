"""Experiments whose load a Locust makes that runs already, with workers of its own."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import BenchError
from bench.experiment.folder import Folder
from bench.experiment.master import Master
from bench.experiment.master_answers import statistics, swarm
from bench.experiment.order import Order
from bench.experiment.plan import trials
from bench.experiment.study import read_experiment
from bench.experiment.trial import Failed
from bench.launch.running import Running
from bench.runs.capacity import Capacity
from bench.runs.run import Run
from tests.cli.inside import bench
from tests.experiment.experiments import ROOT, bench_run, manifests, only_folder, write
from tests.ports import free_port

WORKERS = 2
SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def _token() -> Iterator[None]:
    """Known to the master and to `bench run`, which sets options that no form may set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_WEB_TOKEN", "a secret of the tests")
        yield


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of the web interface of a Locust master with two workers."""
    place = tmp_path_factory.mktemp("master")
    port, web = free_port(), free_port()
    # its own server is never asked: every trial names one
    own = ["--host", "127.0.0.1:1", "--results", str(place / "results"), "--stop-timeout", "1"]
    bind = ["--master-bind-host", "127.0.0.1", "--master-bind-port", str(port)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            locust(
                place / "master.log",
                "--master",
                *bind,
                "--web-host",
                "127.0.0.1",
                "--web-port",
                str(web),
                *own,
            )
        )
        for number in range(WORKERS):
            join = ["--worker", "--master-host", "127.0.0.1", "--master-port", str(port)]
            stack.enter_context(locust(place / f"worker{number}.log", *join))
        give_up = time.monotonic() + SECONDS
        while told(web).get("workers") != WORKERS:
            assert time.monotonic() < give_up, (place / "master.log").read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{web}"
    print((place / "master.log").read_text())  # shown where a test failed


@contextlib.contextmanager
def locust(log: Path, *arguments: str) -> Iterator[None]:
    with log.open("wb") as output:
        command = [sys.executable, "-m", "locust", "-f", str(ROOT / "scenarios" / "mnist.py"), *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, cwd=ROOT)
    try:
        yield
        assert process.poll() is None, log.read_text()  # it stays through all trials
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def told(web: int) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/bench/runs", timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except OSError:  # nobody listens yet
        return {}


def test_a_trial_that_the_master_refuses_is_told_with_its_reason(tmp_path: Path, master: str) -> None:
    """The first one, before which no worker has met the test: all of them left it for ever."""
    path = write(tmp_path, 'options = { mnist = "nowhere" }', servers='["quick"]')
    study = read_experiment(path)
    (trial, *_) = trials(study.experiment, study.servers)
    server = Running("127.0.0.1:1", ended=lambda: None, log_text=lambda: "")
    with pytest.raises(Failed, match=rf"http://{master} refuses: .*nowhere"):
        Master.at(master, study).run(
            Order(study, trial, server, {}), Folder(tmp_path, {"plan": []}), 0, lambda _: None
        )


def test_one_master_and_its_workers_make_the_load_of_all_trials(tmp_path: Path, master: str) -> None:
    path = write(tmp_path, "batch_sizes = [1, 4]", servers='["quick"]')
    done = bench_run(path, "--master", master, "--trials", "1")
    assert done.returncode == 0, done.stderr
    folder = only_folder(path)
    said = manifests(folder)
    assert [m["experiment"]["cell"] for m in said] == [t.cell._asdict() for t in folder.trials]
    # what one trial is told does not stay for the next one
    assert [m["load"]["batch"] for m in said] == [t.cell.batch for t in folder.trials]
    assert [m["load"]["run_time"] for m in said] == [1, 1]
    assert len({frozenset(w["id"] for w in m["workers"]) for m in said}) == 1
    for manifest, ended in zip(said, folder.ended().values(), strict=True):
        assert [w["recorded"] > 0 and not w["lost"] for w in manifest["workers"]] == [True] * WORKERS
        assert manifest["experiment"]["server"]["name"] == "quick"
        run = Run.open(folder.path / str(ended.folder))
        assert run.finished
        assert run.manifest.raw["stopped"] > 1.0
        assert {f"worker {n}" for n in range(WORKERS)} <= {row["source"] for row in run.telemetry}
    assert not (folder.path / ".fetched").exists()


def test_a_capacity_is_searched_with_the_load_of_a_master(tmp_path: Path, master: str) -> None:
    path = write(tmp_path, servers='["quick"]')
    done = bench(
        "capacity", path.name, "--master", master, "--users", "--p99-ms", "100", "--time", "1s", cwd=tmp_path
    )
    assert done.returncode in (0, 3), done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    found = Capacity.read(folder)
    assert found is not None
    assert found.counted == "users"
    (manifest,) = manifests(Folder.open(folder))
    assert [worker["lost"] for worker in manifest["workers"]] == [False] * WORKERS
    assert manifest["load"]["users"] == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('options = { transpot = "grpcio" }', r"options\.transpot: unknown to .*, did you mean transport\?"),
        (
            f'cpus = "{min(os.sched_getaffinity(0))}"',
            "cpus = '[0-9]+': the load processes of --master .* are running already; omit the key",
        ),
    ],
)
def test_what_a_master_cannot_do_is_said_before_anything_starts(
    tmp_path: Path, master: str, text: str, reason: str
) -> None:
    with pytest.raises(BenchError, match=reason):
        Master.at(master, read_experiment(write(tmp_path, text)))


def test_a_master_of_another_scenario_is_refused(tmp_path: Path, master: str) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace("mnist.py", "overhead.py"))
    with pytest.raises(
        BenchError, match=r"it runs mnist, .*small\.toml needs overhead; start it with locust"
    ):
        Master.at(master, read_experiment(path))


def test_no_master_at_all(tmp_path: Path) -> None:
    study = read_experiment(write(tmp_path))
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(
        BenchError, match=rf"--master {address}: http://{address}/bench/runs: no answer \("
    ) as error:
        Master.at(address, study)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("stopping", "is stopping: another test runs there, or does not end; see its log"),
        ("stopped", "has 1 of 2 workers ready"),
    ],
)
def test_a_master_that_is_not_ready_is_left(monkeypatch: pytest.MonkeyPatch, state: str, reason: str) -> None:
    """As while a load process hangs, and once it is given up."""
    monkeypatch.setattr(Master, "_overview", lambda _: {"state": state, "workers": 1})
    for bound in ("_BEGIN_SECONDS", "_IDLE_SECONDS"):
        monkeypatch.setattr(f"bench.experiment.master.{bound}", 0.0)
    order: Any = SimpleNamespace(seconds=0.0)
    with pytest.raises(Failed, match=f"http://there {reason}"):
        Master("http://there", WORKERS)._idle(order)


def test_a_master_whose_answer_never_ends_is_left(tmp_path: Path) -> None:
    left = threading.Event()

    class Dribbling(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while not left.wait(0.02):
                    self.wfile.write(b" ")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dribbling) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        # the second where a busy machine sends nothing for so long
        reason = r"(not complete after 0\.3 s|timed out)"
        with pytest.raises(Failed, match=rf"/bench/runs: no answer \({reason}\)"):
            Master(f"http://127.0.0.1:{server.server_address[1]}", None)._ask("/bench/runs", seconds=0.3)
        left.set()
        server.shutdown()


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"null", b"<html>", b'{"success": "yes"}', b'{"stats": []}', b'{"stats": [{"num_requests": null}]}',
     b'{"stats": [{"num_requests": 1, "current_rps": "many"}]}', b"[" * 100_000],
)  # fmt: skip
def test_an_answer_of_another_program_is_named(answer: bytes) -> None:
    for read in (swarm, statistics):
        with pytest.raises(ValueError, match=r"\S") as error:
            read(answer)
        assert "\n" not in str(error.value)
