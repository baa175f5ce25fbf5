"""Scenarios against servers of somebody else that offer TensorFlow Serving's PredictionService.

pythie-serving needs older packages than ours: PYTHIE_PYTHON names the interpreter of a venv that has it.

    python -m venv /tmp/pythie && /tmp/pythie/bin/pip install pythie-serving
    PYTHIE_PYTHON=/tmp/pythie/bin/python pytest tests/scenarios/test_foreign_servers.py
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.foreign import Arrays, Foreign, serving
from tests.load.locust_runs import Finished, finish, start, until_recorded
from tests.ports import free_port

PYTHIE = os.environ.get("PYTHIE_PYTHON", "")
SCENARIO = """
import numpy as np
from bench.load.users import PredictUser
from bench.payload import Pool

class Own(PredictUser):
    @classmethod
    def payload(cls, options):
        <payload>
"""
ROWS = 50


def start_own(folder: Path, address: str, payload: str, *more: str) -> "subprocess.Popen[str]":
    scenario = folder / "own.py"
    scenario.write_text(SCENARIO.replace("<payload>", payload))
    asked = ["--host", address, "-u", "2", "-r", "2", "--schedule", "closed:5ms", *more]
    return start(folder / "results", *asked, scenario=str(scenario))


def run_own(folder: Path, address: str, payload: str, *more: str) -> Finished:
    process = start_own(folder, address, payload, *more)
    return until_recorded(process, folder / "results", 20, workers=2 if "--processes" in more else 1)


def boxes(inputs: Arrays) -> Arrays:
    """As non-maximum suppression answers: as many indices as there are boxes, whatever the batch."""
    found = int(inputs["image"].sum() % 4)
    return {"indices": np.arange(found, dtype=np.int64), "best": np.array(0.5, np.float32)}


NMS = Foreign(
    {"image": ("float", (-1, 2)), "limit": ("float", ())},
    {"indices": ("int64", (-1,)), "best": ("float", ())},
    boxes,
    model="nms",
)


@pytest.mark.parametrize(
    "more", [(), ("--processes", "2"), ("--transport", "grpcio")], ids=["one", "two", "grpcio"]
)
@pytest.mark.parametrize("output", ["indices"])
def test_outputs_without_batch_dimension_are_no_wrong_answers(
    tmp_path: Path, output: str, more: tuple[str, ...]
) -> None:
    """Issue 13: 100 % of such answers were called wrong."""
    payload = (
        "return Pool.of({'image': np.arange(24, dtype=np.float32).reshape(12, 2)}, None, "
        f"output='{output}', model='nms', constant={{'limit': 0.5}}, batch=3)"
    )
    with serving(NMS) as address:
        done = run_own(tmp_path, address, payload, *more)
    assert done.code == 0, done.output
    run = done.run()
    assert len(run.samples)
    assert int(run.counts["mismatched"].sum()) == 0
    assert run.manifest.raw["wrong_answers"] == {}
    assert set(run.samples["version"]) == {7}


def test_wrong_answers_under_load_are_named_by_cause(tmp_path: Path) -> None:
    """A server that answers the preflight as declared, and the load with another output."""
    asked = []

    def late(inputs: Arrays) -> Arrays:
        asked.append(1)
        return {"indices" if len(asked) == 1 else "other": np.zeros(2, np.int64)}

    payload = (
        "return Pool.of({'image': np.ones((4, 2), np.float32)}, None, output='indices', model='nms', "
        "constant={'limit': 0.5})"
    )
    odd = Foreign(NMS.inputs, NMS.outputs, late, model="nms")
    with serving(odd) as address:
        done = run_own(tmp_path, address, payload, "--references", "0", "--processes", "2")
    causes = done.run().manifest.raw["wrong_answers"]["Predict"]
    assert list(causes) == ["missing output"]
    assert causes["missing output"]["count"] == int(done.run().counts["mismatched"].sum()) > 0
    assert "no output 'indices'; the answer has other" in causes["missing output"]["example"]
    assert "lacked the output" in done.output


@pytest.fixture(scope="module")
def pythie(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A table of 50 rows, key -> class, served by pythie-serving."""
    if not PYTHIE:
        pytest.skip("pythie-serving: PYTHIE_PYTHON names no interpreter that has it (see above)")
    folder = tmp_path_factory.mktemp("table")
    rows = "".join(f"key{n},{n % 7}\n" for n in range(ROWS))
    (folder / "lookup.csv").write_text(f"key,target\n{rows}")
    metadata = {
        "data_type": {"key": "str", "target": "int"},
        "feature_names": ["key"],
        "target_name": "target",
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    config = folder / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "lookup" base_path: "{folder}" model_platform: "table" }} }}'
    )
    port = free_port()
    command = [PYTHIE, "-m", "pythie_serving.run", str(config), "--port", str(port)]
    command += ["--maximum-concurrent-rpcs", "-1"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, "VERBOSITY_LEVEL": "0"}
    ) as process:
        try:
            give_up = time.monotonic() + 60
            while True:
                assert process.poll() is None
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < give_up
                    time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


TABLE = (
    "keys = np.array([[f'key{n}'.encode()] for n in range(50)], object); "
    "return Pool.of({<input>: keys}, np.arange(50) % 7, output='predictions', model=<model>, batch=options.asked.batch)"
)


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_the_own_model_scenario_runs_against_pythie_serving(
    pythie: str, tmp_path: Path, transport: str
) -> None:
    payload = TABLE.replace("<input>", "'key'").replace("<model>", "'lookup'")
    done = run_own(tmp_path, pythie, payload, "--batch-size", "5", "--transport", transport)
    assert done.code == 0, done.output
    run = done.run()
    assert len(run.samples)
    assert (run.samples["status"] == 0).all()
    assert (run.samples["correct"] == 5).all(), "class ids, int32 [5], are compared by equality"
    assert run.manifest.raw["wrong_answers"] == {}
    assert done.output.count("signatures of lookup") == 1


@pytest.mark.parametrize(("name", "model"), [("'keys'", "'lookup'"), ("'key'", "'nobody'")])
def test_what_pythie_serving_does_not_take_is_one_line(
    pythie: str, tmp_path: Path, name: str, model: str
) -> None:
    process = start_own(tmp_path, pythie, TABLE.replace("<input>", name).replace("<model>", model))
    done = finish(process, tmp_path / "results")
    assert done.code == 2, done.output
    (line,) = (line for line in done.output.splitlines() if line.startswith("bench: "))
    assert ("Features names mismatch" if name == "'keys'" else "Unknown model: nobody") in line
    assert done.folders == []
