"""The Open Inference Protocol against a real server of somebody else.

MLServer needs packages that are not ours: MLSERVER_PYTHON names the interpreter of a venv that has it.

    python -m venv /tmp/mlserver && /tmp/mlserver/bin/pip install mlserver
    MLSERVER_PYTHON=/tmp/mlserver/bin/python pytest tests/protocol/test_mlserver.py
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.payload import predict_request
from bench.target.inquiry import describe, status
from tests.load.locust_runs import ROOT, locust
from tests.ports import free_port
from tests.protocol.test_oip import ARRAYS, SCENARIO, inquiry, same

PYTHON = os.environ.get("MLSERVER_PYTHON", "")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="MLSERVER_PYTHON names no interpreter that has it (see above)"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    digits = {
        "parameters": {"version": "2"},
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 28, 28, 1]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}],
    }
    for name, kind, more in (("digits", "Digits", digits), ("echo", "Echo", {})):
        (folder / name).mkdir()
        settings = {"name": name, "implementation": f"mlserver_models.{kind}", **more}
        (folder / name / "model-settings.json").write_text(json.dumps(settings))
    port = free_port()
    ports = {"grpc_port": port, "http_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    command = [PYTHON, "-m", "mlserver.cli.main", "start", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "protocol")}
    log = folder / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            give_up = time.monotonic() + 90
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    for model in ("digits", "echo"):
                        assert status(inquiry(f"127.0.0.1:{port}", model))
                    break
                except BenchError:
                    assert time.monotonic() < give_up, log.read_text()
                    time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.mark.parametrize("protocol", ["oip", "oip-typed"])
@pytest.mark.parametrize("datatype", ARRAYS)
def test_every_datatype_that_it_has_goes_there_and_back(address: str, protocol: str, datatype: str) -> None:
    array = ARRAYS[datatype]
    if array.ndim == 0:
        array = array.reshape(1)
    asked = inquiry(address, protocol=protocol)
    request = predict_request({"x": array}, model="echo")
    if datatype == "BF16" or (protocol == "oip-typed" and datatype == "FP16"):
        with pytest.raises(BenchError):  # MLServer knows no BF16, and nobody has FP16 as typed contents
            asked.predict(request, "x")
        return
    response, _ = asked.predict(request, "x")
    assert same(response.array("x"), array)


def test_states_metadata_and_an_unknown_model(address: str) -> None:
    assert [(each.version, each.state) for each in status(inquiry(address, "digits"))] == [
        (None, "AVAILABLE")
    ]
    assert [(each.version, each.state) for each in status(inquiry(address, "digits", 2))] == [
        (2, "AVAILABLE")
    ]
    assert str(describe(inquiry(address, "digits")).signatures[""].outputs["scores"]) == "float [-1, 10]"
    with pytest.raises(BenchError, match=r"model nobody: NOT_FOUND: .*; check the name"):
        status(inquiry(address, "nobody"))


@pytest.mark.parametrize("protocol", ["oip", "oip-typed"])
def test_a_load_finds_the_one_wrong_answer(address: str, tmp_path: Path, protocol: str) -> None:
    scenario = tmp_path / "digits.py"
    scenario.write_text(SCENARIO)
    arguments = ["--host", address, "--protocol", protocol, "-u", "1", "-t", "4s"]
    done = locust(tmp_path / "results", *arguments, scenario=str(scenario))
    assert done.code == 0, done.output
    samples = done.run().samples
    assert (samples["status"] == 0).all()
    assert set(samples["version"]) == {2}
    wrong = int((samples["correct"] == 0).sum())
    assert np.floor(len(samples) / 50) <= wrong <= np.ceil(len(samples) / 50)
