"""Servers files and a `tensorflow_model_server` for tests of launching."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.config.servers import Declared
from bench.launch.running import Served
from bench.launch.servers_file import read_servers
from tests.launch.docker_api import Engine, serve

ROOT = Path(__file__).parents[2]
CPU = min(os.sched_getaffinity(0))
"""One that this process may use."""
QUICK = 'backend = "synthetic", service_time = "constant(0ms)"'
"""Flags with which the embedded server is up without loading TensorFlow."""

Declare = Callable[[str], Declared]


@pytest.fixture
def model_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `tensorflow_model_server` on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "tensorflow_model_server"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.launch.model_server import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return program


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Docker."""
    engine = Engine()
    server = serve(engine)
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
    monkeypatch.chdir(ROOT)
    yield engine
    for container in list(engine.containers.values()):
        engine.remove(container)
    server.shutdown()
    server.server_close()


@pytest.fixture
def declare(tmp_path: Path) -> Declare:
    """The one server that a text declares."""

    def make(text: str) -> Declared:
        path = tmp_path / "servers.toml"
        path.write_text(f"[servers.it]\n{text}\n")
        return read_servers(path)["it"]

    return make


@pytest.fixture
def models(tmp_path: Path) -> list[Served]:
    """A model of two versions, without content: the synthetic backend needs none."""
    for version in ("1", "2"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
    return [Served("mnist", tmp_path / "mnist", (1, 2))]


def gone(pid: int, seconds: float = 60.0) -> bool:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        try:
            if state.read_text().rpartition(")")[2].split()[0] == "Z":  # nobody has asked for its exit code
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False
