"""Servers of the Open Inference Protocol are started with their own flags, as processes, containers and in a venv."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.launch.kinds import check, launched
from bench.launch.known import KNOWN, Ports
from bench.launch.python import installed
from bench.launch.running import Running, Served
from bench.load.observing.counters import fetch
from bench.payload import predict_request
from bench.protocol.registry import api_named
from tests.launch.conftest import ROOT, Declare, gone
from tests.launch.docker_api import Engine
from tests.protocol.test_oip import inquiry

DIGITS = [Served("digits", None, ())]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One with the model that the doubles serve."""
    (tmp_path / "repository" / "digits").mkdir(parents=True)
    return tmp_path / "repository"


def program(name: str, folder: Path) -> Path:
    """An executable that behaves as this server does."""
    folder.mkdir(exist_ok=True)
    path = folder / ("tritonserver" if name == "triton" else name)
    path.write_text(
        f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m tests.launch.known_server {name} "$@"\n'
    )
    path.chmod(0o755)
    return path


def asked(server: Running) -> None:
    """It answers, and its counters tell of it."""
    images = np.zeros((1, 28, 28, 1), np.float32)
    response, _ = inquiry(server.address, "digits").predict(
        predict_request({"images": images}, model="digits"), "scores"
    )
    assert response.array("scores").shape == (1, 10)
    if server.metrics is not None:
        assert fetch(server.metrics, "digits", api_named("oip"))["ok"] == 1


@pytest.mark.parametrize("name", KNOWN)
def test_every_word_of_its_flags_and_variables_is_known(name: str) -> None:
    known, ports = KNOWN[name], Ports(11, 12, 13)
    values = known.values(ports, "/models")
    said = [*known.command(values, {}), *known.variables(values, {"OWN": "1"}).values()]
    assert not any("{" in each for each in said)
    assert {"11", "12"} <= {each.rpartition("=")[2] for each in said}
    assert any("/models" in each for each in said)
    assert known.variables(values, {"OWN": "1"})["OWN"] == "1"


@pytest.mark.parametrize(("name", "counts"), [("triton", True), ("mlserver", False)])
def test_an_executable_serves_until_the_block_ends(
    declare: Declare, repository: Path, tmp_path: Path, name: str, counts: bool
) -> None:
    """Its counters are read where they are known."""
    path = program(name, tmp_path / "bin")
    text = f'kind = "binary"\nserver = "{name}"\nprotocol = "oip"\nrepository = "repository"\npath = "{path}"'
    declared = declare(text)
    check(declared)
    with launched(declared, DIGITS, tmp_path / "place") as server:
        assert (server.protocol, server.metrics is not None) == ("oip", counts)
        asked(server)
        assert server.facts["available"] == {"digits": []}
        assert server.pid is not None
    assert gone(server.pid)


def test_one_that_ends_is_told_with_its_last_words(declare: Declare, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    path = program("triton", tmp_path / "bin")
    text = f'kind = "binary"\nserver = "triton"\nprotocol = "oip"\nrepository = "empty"\npath = "{path}"'
    with (
        pytest.raises(BenchError, match="ended with exit code 1: failed to load all models"),
        launched(declare(text), DIGITS, tmp_path / "place"),
    ):
        pass


def test_a_container_has_the_ports_of_its_server(
    declare: Declare, repository: Path, tmp_path: Path, engine: Engine
) -> None:
    engine.images.add("triton:1")
    text = (
        'kind = "docker"\nserver = "triton"\nprotocol = "oip"\nimage = "triton:1"\nrepository = "repository"\n'
        "flags = { log-verbose = 1 }"
    )
    with launched(declare(text), DIGITS, tmp_path / "place") as server:
        (container,) = engine.containers.values()
        assert container.config["Entrypoint"] == ["tritonserver"]
        command = container.config["Cmd"]
        assert {"--model-repository=/repository", "--grpc-port=8001", "--log-verbose=1"} <= set(command)
        assert "--grpc-address=0.0.0.0" in command
        host = container.config["HostConfig"]
        assert sorted(host["PortBindings"]) == ["8000/tcp", "8001/tcp", "8002/tcp"]
        assert {mount["Target"]: mount["Source"] for mount in host["Mounts"]} == {
            "/repository": str(repository)
        }
        asked(server)


def test_packages_are_installed_into_a_venv_once(declare: Declare, repository: Path, tmp_path: Path) -> None:
    """Of a wheel, whose program stands in for MLServer's."""
    wheel = tmp_path / "double-1-py3-none-any.whl"
    run = f"import os, sys\n\n\ndef main():\n    os.chdir({str(ROOT)!r})\n"
    run += "    arguments = ['-m', 'tests.launch.known_server', 'mlserver', *sys.argv[1:]]\n"
    run += f"    os.execv({sys.executable!r}, [{sys.executable!r}, *arguments])\n"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("double.py", run)
        file.writestr("double-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: double\nVersion: 1\n")
        file.writestr(
            "double-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("double-1.dist-info/entry_points.txt", "[console_scripts]\nmlserver = double:main\n")
        file.writestr("double-1.dist-info/RECORD", "")
    text = 'kind = "python"\nserver = "mlserver"\nprotocol = "oip"\nrepository = "repository"\n'
    declared = declare(text + f'packages = ["{wheel}"]')
    with launched(declared, DIGITS, tmp_path / "place") as server:
        asked(server)
        assert server.facts["packages"] == [str(wheel)]
    wheel.unlink()
    assert installed(declared, tmp_path / "pip.log") == tmp_path / ".venvs" / "it", (
        "nothing is installed again"
    )
    assert not (tmp_path / "pip.log").exists()
    gone_now = declare(text + 'packages = ["./no-such-1-py3-none-any.whl"]')
    with (
        pytest.raises(BenchError, match=r"servers.it.packages = .*pip failed: .*no-such"),
        launched(gone_now, DIGITS, tmp_path / "place"),
    ):
        pass


TRITON = 'kind = "binary"\nserver = "triton"\nrepository = "repository"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRITON, 'protocol = "tfs": this server speaks oip, oip-typed'),
        (TRITON.replace("triton", "tritn"), 'server = "tritn"'),
        ('kind = "binary"\nserver = "triton"\nprotocol = "oip"', "repository: missing; expected the folder"),
        (
            'kind = "binary"\nserver = "triton"\nprotocol = "oip"\nrepository = "none"',
            'repository = "none": no such path',
        ),
        (TRITON + 'protocol = "oip"\nxla = true', "xla = true: Triton has no such setting"),
        (
            TRITON + 'protocol = "oip"\nflags = { grpc-port = 1 }',
            "flags.grpc-port = 1: is set by the launch",
        ),
        (
            'kind = "docker"\nimage = "x"\nserver = "mlserver"\nprotocol = "oip"\nrepository = "repository"\n'
            "flags = { debug = true }",
            "flags.debug = true: MLServer has no flags; set variables in environment",
        ),
        (
            'kind = "binary"\nrepository = "repository"',
            'repository = "repository": TensorFlow Serving gets the experiment',
        ),
        ('kind = "binary"\nprotocol = "oip"', 'protocol = "oip": this server speaks tfs, tfs-rest'),
        ('kind = "python"\nserver = "kserve"\nprotocol = "oip"\npackages = []', "packages"),
    ],
)
def test_what_cannot_be_started_is_one_line(
    declare: Declare, repository: Path, text: str, expected: str
) -> None:
    with pytest.raises(BenchError) as refused:
        check(declare(text))
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
