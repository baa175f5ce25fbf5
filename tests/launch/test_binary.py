"""A `tensorflow_model_server` that starts, crashes, hangs, dies or does not want to end."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import BenchError
from bench.launch.kinds import launched
from bench.launch.running import Served
from bench.protocol.registry import api_named
from bench.target.inquiry import Inquiry, status
from bench.wire.client import Channel
from tests.launch.conftest import CPU, QUICK, ROOT, Declare, gone

pytestmark = pytest.mark.usefixtures("model_server")


def faulty(fault: str, more: str = "") -> str:
    return (
        f'kind = "binary"\nflags = {{ {QUICK} }}\nenvironment = {{ MODEL_SERVER_FAULT = "{fault}" }}\n{more}'
    )


def test_it_is_found_on_path_and_serves_until_the_block_ends(
    declare: Declare, models: list[Served], tmp_path: Path
) -> None:
    text = f'kind = "binary"\ncpus = "{CPU}"\nflags = {{ {QUICK} }}\nbatching = {{ max_batch_size = 8 }}'
    with launched(declare(text), models, tmp_path / "place") as server:
        channel = Channel(server.address)
        states = status(Inquiry(channel, server.address, api_named("tfs"), "mnist"))
        channel.close()
        assert sorted((each.version, each.state) for each in states) == [(1, "AVAILABLE"), (2, "AVAILABLE")]
        assert server.pid is not None
        assert os.sched_getaffinity(server.pid) == {CPU}
        assert server.ended() is None
        assert server.metrics is not None
        assert (
            server.facts["version"] == "TensorFlow ModelServer: 2.19.1-rc0+test, TensorFlow Library: 2.19.1"
        )
        assert server.facts["available"] == {"mnist": [1, 2]}
        assert "--enable_batching=true" in server.facts["arguments"]
    assert gone(server.pid)
    assert "max_batch_size" in (tmp_path / "place" / "batching_parameters.pbtxt").read_text()
    assert (tmp_path / "place" / "server.log").stat().st_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            faulty("crash"),
            "servers.it: ended with exit code 255: Failed to start server. Error: INVALID_ARGUMENT",
        ),
        (faulty("never-ready", "ready_seconds = 1.5"), "not ready after 1.5 s (no connection within"),
        (faulty("never-ready", "ready_seconds = 1.5"), "No versions of servable mnist found under base path"),
        (f'kind = "binary"\nflags = {{ {QUICK}, nonsense = 1 }}', 'flags = "--nonsense": '),
        ('kind = "binary"\npath = "no_such_server"', 'path = "no_such_server": no such executable'),
    ],
)
def test_one_that_does_not_come_up_is_told_with_its_last_words(
    declare: Declare, models: list[Served], tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(BenchError) as caught, launched(declare(text), models, tmp_path / "place"):
        pass
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_port_that_somebody_took_meanwhile_is_not_the_end(
    declare: Declare, models: list[Served], tmp_path: Path
) -> None:
    text = (
        f'kind = "binary"\nflags = {{ {QUICK} }}\n'
        f'environment = {{ MODEL_SERVER_FAULT = "port", MODEL_SERVER_MARKER = "{tmp_path}/first" }}'
    )
    with launched(declare(text), models, tmp_path / "place") as server:
        assert server.ended() is None
    assert (tmp_path / "first").exists()


def test_a_given_port_in_use_is_refused_before_anything_starts(
    declare: Declare, models: list[Served], tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(BenchError, match=f"servers.it.port = {port}: another program listens there"),
            launched(declare(f'kind = "binary"\nport = {port}'), models, tmp_path / "place"),
        ):
            pass


def test_one_that_dies_is_noticed_with_its_last_words(
    declare: Declare, models: list[Served], tmp_path: Path
) -> None:
    wanted = tmp_path / "die"
    with launched(declare(faulty(f"die:{wanted}")), models, tmp_path / "place") as server:
        wanted.touch()
        give_up = time.monotonic() + 20
        while server.ended() is None:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        how = server.ended()
    assert how is not None
    assert how.startswith("ended with exit code 139: ")
    assert how.endswith("Segmentation fault")


def test_one_that_ignores_sigterm_is_killed(declare: Declare, models: list[Served], tmp_path: Path) -> None:
    text = faulty("ignore-term", "stop_seconds = 0.3")
    with launched(declare(text), models, tmp_path / "place") as server:
        assert server.pid is not None
        started = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    assert len(started) == 1
    assert gone(server.pid)
    assert gone(int(started[0]))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_it_ends_with_whoever_started_it(
    tmp_path: Path, models: list[Served], declare: Declare, number: signal.Signals
) -> None:
    declared = declare(f'kind = "binary"\nflags = {{ {QUICK} }}')
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from bench.launch.servers_file import read_servers\n"
        "from bench.launch.kinds import launched\n"
        "from bench.launch.running import Served\n"
        "server = read_servers(Path(sys.argv[1]))['it']\n"
        "with launched(server, [Served('mnist', Path(sys.argv[2]), (1,))], Path(sys.argv[3])) as running:\n"
        "    print(running.pid, flush=True)\n    time.sleep(60)\n"
    )
    arguments = [str(declared.file), str(models[0].path), str(tmp_path / "place")]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(number)
        assert gone(pid)
