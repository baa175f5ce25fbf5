"""Settings of a tune file as a started server has them: their flags and their batching file, of every kind."""

from pathlib import Path

import pytest

from bench.experiment.tune_file import read_tune
from bench.experiment.tuning import write_best
from bench.launch.kinds import launched
from bench.launch.running import Served
from tests.launch.conftest import QUICK
from tests.launch.docker_api import Engine

SPACE = "max_batch_size = [16]\nbatch_timeout_micros = [500]\nnum_batch_threads = [3]\nmax_threads = [9]\n"


@pytest.mark.parametrize("kind", ['"embedded"', '"binary"', '"docker"\nimage = "tensorflow/serving:2.19.1"'])
@pytest.mark.usefixtures("model_server")
def test_a_setting_reaches_the_server(
    kind: str, models: list[Served], tmp_path: Path, engine: Engine
) -> None:
    (tmp_path / "servers.toml").write_text(f"[servers.mine]\nkind = {kind}\nflags = {{ {QUICK} }}\n")
    (tmp_path / "tune.toml").write_text(
        'scenario = "mnist"\nservers = ["mine"]\nloads = [{ users = 4 }]\np99_ms = 20\n'
        f"[space]\n{SPACE}flags = {{ drain_seconds = [2] }}\n"
    )
    _, settings, _ = read_tune(tmp_path / "tune.toml")
    setting = settings[1]
    best = {path.name: path.read_text() for path in write_best(tmp_path, setting.server, "mine")}
    with launched(setting.server, models, tmp_path / "place") as server:
        assert server.facts["available"] == {"mnist": [1, 2]}
        arguments = server.facts.get("arguments")
        if engine.containers:
            (container,) = engine.containers.values()
            arguments = container.config["Cmd"]
        if arguments is None and server.pid is not None:
            arguments = Path(f"/proc/{server.pid}/cmdline").read_text().split("\0")
    flags = best["flags.txt"].splitlines()
    assert {"--enable_batching=true", "--grpc_max_threads=9", "--drain_seconds=2"} <= set(flags)
    given = {flag for flag in flags if not flag.startswith("--batching_parameters_file=")}
    assert given <= set(arguments)
    batching = (tmp_path / "place" / "batching_parameters.pbtxt").read_text()
    assert batching == best["batching_parameters.pbtxt"]
    assert "num_batch_threads {\n  value: 3\n}" in batching
