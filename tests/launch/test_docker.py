"""Containers through the Docker SDK, against a stand-in of the Engine API for the calls that are made."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import BenchError
from bench.launch.kinds import lacking, launched
from bench.launch.running import Served
from bench.load.observing.container import usage
from tests.launch.conftest import CPU, QUICK, Declare
from tests.launch.docker_api import STATS, Engine

IMAGE = 'kind = "docker"\nimage = "tensorflow/serving:2.19.1"'


def test_a_container_serves_with_its_limits_until_the_block_ends(
    declare: Declare, models: list[Served], tmp_path: Path, engine: Engine
) -> None:
    text = (
        f'{IMAGE}\ncpus = "{CPU}"\nmemory = "2g"\nxla = true\nbatching = {{ max_batch_size = 8 }}\nmax_threads = 9\n'
        f'mounts = {{ "." = "/more" }}\nflags = {{ {QUICK} }}\nenvironment = {{ OMP_NUM_THREADS = "1" }}'
    )
    with launched(declare(text), models, tmp_path / "place") as server:
        (container,) = engine.containers.values()
        host = container.config["HostConfig"]
        assert container.config["Image"] == "tensorflow/serving:2.19.1"
        assert container.config["Entrypoint"] == ["/usr/bin/tensorflow_model_server"]
        assert "--port=8500" in container.config["Cmd"]
        assert "--grpc_max_threads=9" in container.config["Cmd"]
        assert "--model_config_file=/serving-bench/model_config.pbtxt" in container.config["Cmd"]
        assert (
            "--batching_parameters_file=/serving-bench/batching_parameters.pbtxt" in container.config["Cmd"]
        )
        assert "--xla_cpu_compilation_enabled=true" in container.config["Cmd"]
        assert (host["CpusetCpus"], host["Memory"], host["Init"]) == (str(CPU), 2 * 2**30, True)
        assert {m["Target"]: m["ReadOnly"] for m in host["Mounts"]} == {
            "/serving-bench": True,
            "/models/mnist": True,
            "/more": True,
        }
        # only this machine reaches it
        assert {b["HostIp"] for bound in host["PortBindings"].values() for b in bound} == {"127.0.0.1"}
        assert "OMP_NUM_THREADS=1" in container.config["Env"]
        assert server.container == container.id
        assert server.facts["image_digests"] == ["tensorflow/serving@sha256:" + "b" * 64]
        assert server.facts["available"] == {"mnist": [1, 2]}
        assert server.ended() is None
    assert engine.containers == {}
    assert (tmp_path / "place" / "server.log").stat().st_size


def test_gpus_are_asked_for(declare: Declare, models: list[Served], tmp_path: Path, engine: Engine) -> None:
    with launched(declare(f'{IMAGE}\ngpus = "all"\nflags = {{ {QUICK} }}'), models, tmp_path):
        (container,) = engine.containers.values()
        (request,) = container.config["HostConfig"]["DeviceRequests"]
        assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])


def test_an_image_of_a_digest_and_some_of_the_gpus(
    declare: Declare, models: list[Served], tmp_path: Path, engine: Engine
) -> None:
    image = "registry.example:5000/serving@sha256:" + "c" * 64
    text = f'kind = "docker"\nimage = "{image}"\ngpus = ["0", "GPU-fef8089b"]\nflags = {{ {QUICK} }}'
    with launched(declare(text), models, tmp_path):
        assert engine.pulled == [image]
        (container,) = engine.containers.values()
        (request,) = container.config["HostConfig"]["DeviceRequests"]
        assert (request["Count"], request["DeviceIDs"]) == (0, ["0", "GPU-fef8089b"])


def test_an_image_that_is_missing_is_fetched_or_refused(
    declare: Declare, models: list[Served], tmp_path: Path, engine: Engine
) -> None:
    engine.images.clear()
    with (
        pytest.raises(BenchError, match='not on this machine, and pull = "never"'),
        launched(declare(f'{IMAGE}\npull = "never"'), models, tmp_path),
    ):
        pass
    with launched(declare(f"{IMAGE}\nflags = {{ {QUICK} }}"), models, tmp_path):
        assert engine.pulled == ["tensorflow/serving:2.19.1"]


def test_one_that_crashes_is_told_with_its_log_and_removed(
    declare: Declare, models: list[Served], tmp_path: Path, engine: Engine
) -> None:
    text = f'{IMAGE}\nenvironment = {{ MODEL_SERVER_FAULT = "crash" }}'
    with (
        pytest.raises(BenchError, match="ended with exit code 255: Failed to start server"),
        launched(declare(text), models, tmp_path),
    ):
        pass
    assert engine.containers == {}


def test_what_a_machine_lacks_is_known_beforehand(
    declare: Declare, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lacking(declare(IMAGE)) is None
    assert lacking(declare(f'{IMAGE}\ngpus = "all"')) == "Docker has no nvidia runtime here"
    engine.runtimes = ("runc", "nvidia")
    assert lacking(declare(f'{IMAGE}\ngpus = "all"')) is None
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    missing = lacking(declare(IMAGE))
    assert missing is not None
    assert missing.startswith("no Docker answers at tcp://127.0.0.1:1 (")


def test_a_container_is_removed_when_its_starter_is_killed(
    declare: Declare, models: list[Served], tmp_path: Path, engine: Engine
) -> None:
    declared = declare(f"{IMAGE}\nflags = {{ {QUICK} }}")
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from bench.launch.servers_file import read_servers\n"
        "from bench.launch.kinds import launched\n"
        "from bench.launch.running import Served\n"
        "server = read_servers(Path(sys.argv[1]))['it']\n"
        "with launched(server, [Served('mnist', Path(sys.argv[2]), (1,))], Path(sys.argv[3])) as running:\n"
        "    print(running.container, flush=True)\n    time.sleep(60)\n"
    )
    arguments = [str(declared.file), str(models[0].path), str(tmp_path / "place")]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        container = parent.stdout.readline().decode().strip()
        assert container in engine.containers
        parent.send_signal(signal.SIGKILL)
        give_up = time.monotonic() + 20
        while engine.containers:
            assert time.monotonic() < give_up
            time.sleep(0.02)


def test_usage_is_read_from_dockers_account() -> None:
    assert usage(STATS) == {"cpu_seconds": 2.5, "memory": 2e8, "processes": 9}
    assert usage({}) == {"cpu_seconds": None, "memory": None, "processes": None}
