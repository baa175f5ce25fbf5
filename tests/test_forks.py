"""Processes of tests that are forks: what they are given and how they end is as of processes that are started."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.launch import server_process
from bench.supervision import supervised
from tests import forks
from tests.launch.conftest import gone

SERVER = ["--backend", "null"]


@pytest.fixture(params=["forked", "started"])
def made(request: pytest.FixtureRequest) -> Iterator[str]:
    """How processes are made."""
    with forks.as_users_do() if request.param == "started" else contextlib.nullcontext():
        yield request.param


def bench(*arguments: str, **given: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **given)  # type: ignore[call-overload, no-any-return]


def facts(pid: int) -> dict[str, str]:
    lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_commands_have_their_arguments_environment_folder_and_output(made: str, tmp_path: Path) -> None:
    done = bench("init", "--help", cwd=tmp_path, env={**os.environ, "COLUMNS": "60"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")
    assert max(map(len, done.stdout.splitlines())) <= 60
    done = bench("report", "missing", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "missing" in done.stderr
    assert bench("init", ".", cwd=tmp_path).returncode == 0
    assert (tmp_path / "servers.toml").exists()


def test_warnings_are_errors_where_they_are_to_be(made: str, tmp_path: Path) -> None:
    (tmp_path / "scenario.py").write_text("import warnings\nwarnings.warn('as in a test')\n")
    for options, code in (([], 0), (["-W", "error"], 1)):
        command = [sys.executable, *options, "-m", "scenario"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, "as in a test" in done.stderr) == (code, True), made


def test_servers_have_their_session_cpus_limits_and_command_line(made: str) -> None:
    cpu = max(os.sched_getaffinity(0))
    before = resource.getrlimit(resource.RLIMIT_CPU)
    given = 100_000, before[1]
    resource.setrlimit(resource.RLIMIT_CPU, given)
    try:
        with server_process.embedded(SERVER, cpus=[cpu]) as server:
            assert os.getsid(server.pid) == os.getpgid(server.pid) == server.pid
            assert os.sched_getaffinity(server.pid) == {cpu}
            assert resource.prlimit(server.pid, resource.RLIMIT_CPU) == given
            line = Path(f"/proc/{server.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            assert line[:4] == [sys.executable.encode(), b"-m", b"bench", b"serve"]
            started = int(facts(server.pid)["PPid"]) == os.getpid()
            assert started == (made == "started"), "it was made in another way"
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, before)
    assert server.process.returncode == 0


def test_signals_reach_them_and_are_their_exit_codes(made: str) -> None:
    with server_process.embedded(SERVER) as server:
        os.killpg(server.pid, signal.SIGKILL)
        while facts(server.pid)["State"][0] != "Z":
            time.sleep(0.01)
        os.killpg(server.pid, signal.SIGKILL)  # until it is waited for, its id is its own
        assert server.process.wait(60) == -signal.SIGKILL
        assert server.process.poll() == -signal.SIGKILL
    with server_process.embedded(SERVER) as server:
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.01)
        assert server.process.poll() is None
        server.process.terminate()
        assert server.process.wait(60) == 0


def test_below_a_supervisor_they_end_with_it(made: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "serve", "--port", "0", *SERVER]
    with supervised(command, log=tmp_path / "log") as server:
        while "ready" not in server.log_text():
            assert server.code is None, server.log_text()
            time.sleep(0.01)
        assert json.loads(server.log_text().splitlines()[-1])["pid"] == server.pid
        server._supervisor.kill()
        assert gone(server.pid)
    # and their end is told to it
    with supervised(command, log=tmp_path / "log") as server:
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(60) in (0, 128 + signal.SIGTERM)


def test_who_is_killed_before_it_orders_ends_nothing_for_others() -> None:
    assert bench("status", "--help").returncode == 0
    forks._line("bench").close()
    assert bench("status", "--help").returncode == 0
