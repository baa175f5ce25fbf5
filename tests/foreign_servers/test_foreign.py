"""The digits on real servers of the Open Inference Protocol, beside the embedded server by Predict.

`make test-foreign` runs them: FOREIGN_VENVS names the folder of the venvs, FOREIGN the servers (all unless it is set). A venv
that is missing is made, which takes minutes and some hundred megabytes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from bench import BenchError, mnist
from bench.analysis.reading.reconciliation import check as reconciled
from bench.launch import server_process
from bench.launch.kinds import launched
from bench.launch.running import Running, Served
from bench.launch.servers_file import read_servers
from bench.payload import predict_request
from bench.target.inquiry import describe, status
from tests.cli.inside import bench
from tests.load.locust_runs import start, until_recorded
from tests.protocol.test_oip import ARRAYS, inquiry, same

HERE = Path(__file__).parent
VENVS = os.environ.get("FOREIGN_VENVS", "")
CHOSEN = os.environ.get("FOREIGN", "mlserver kserve pytriton").split()
PACKAGES = {"mlserver": "mlserver==1.7.1", "kserve": "kserve==0.21.0", "pytriton": "nvidia-pytriton==0.7.0"}
COUNT = 200
READ = """
import sys, numpy, tensorflow
reader = tensorflow.train.load_checkpoint(sys.argv[1])
arrays = [reader.get_tensor(name) for name in reader.get_variable_to_shape_map()]
matrix, bias = ([each for each in arrays if numpy.shape(each) == shape][0] for shape in ((784, 10), (10,)))
numpy.savez(sys.argv[2], matrix=matrix, bias=bias)
"""

pytestmark = [
    pytest.mark.skipif(not VENVS, reason="FOREIGN_VENVS names no folder of venvs: make test-foreign"),
    pytest.mark.timeout(1800),
]


class Foreign(NamedTuple):
    """A real server that runs."""

    name: str
    running: Running
    embedded: str
    """Address of the embedded server, which has the same model."""

    @property
    def address(self) -> str:
        return self.running.address


@pytest.fixture(scope="module", params=PACKAGES)
def foreign(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Foreign]:
    name: str = request.param
    if name not in CHOSEN:
        pytest.skip(f"FOREIGN does not name {name}")
    folder = tmp_path_factory.mktemp(name)
    weights = folder / "weights.npz"
    checkpoint = models / "mnist" / "2" / "variables" / "variables"
    subprocess.run(
        [sys.executable, "-c", READ, str(checkpoint), str(weights)], check=True, capture_output=True
    )
    repository = folder / "repository"
    if name == "mlserver":
        write_mlserver(repository)
    file = folder / "servers.toml"
    where = repository if name == "mlserver" else HERE / f"{name}_server.py"
    file.write_text(
        f'[servers.{name}]\nkind = "python"\nserver = "{name}"\nprotocol = "oip"\nready_seconds = 180\n'
        f'packages = ["{PACKAGES[name]}"]\nvenv = "{Path(VENVS).absolute() / name}"\nrepository = "{where}"\n'
        f'environment = {{ PYTHONPATH = "{HERE}", DIGITS_WEIGHTS = "{weights}", MLSERVER_PARALLEL_WORKERS = "0" }}\n'
    )
    served = [Served("mnist", None, ())] + [Served("echo", None, ())] * (name == "mlserver")
    flags = ["--model_name=mnist", f"--model_base_path={models / 'mnist'}"]
    with (
        server_process.embedded(flags) as embedded,
        launched(read_servers(file)[name], served, folder / "place") as running,
    ):
        yield Foreign(name, running, embedded.address)


def write_mlserver(repository: Path) -> None:
    digits = {
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 28, 28, 1]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}],
        "parameters": {"version": "2"},
    }
    for name, kind, more in (("mnist", "Digits", digits), ("echo", "Echo", {})):
        (repository / name).mkdir(parents=True)
        settings = {"name": name, "implementation": f"mlserver_models.{kind}", **more}
        (repository / name / "model-settings.json").write_text(json.dumps(settings))


def test_the_digits_are_those_of_the_embedded_server(foreign: Foreign, tmp_path: Path) -> None:
    """As somebody who moves to it would ask: the same answers?"""
    digits = mnist.load("test")
    np.savez(
        tmp_path / "digits.npz",
        images=digits.images[:COUNT].reshape(-1, 28, 28, 1),
        label=digits.labels[:COUNT],
    )
    done = bench(
        *("ab", foreign.embedded, "--against", foreign.address, "--protocol", "tfs,oip", "--model", "mnist"),
        *("--requests", "digits.npz", "--answers-only", "--json", "ab.json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = json.loads((tmp_path / "ab.json").read_text())["answers"]
    assert (answers["compared"], answers["differing"]) == (COUNT, 0), done.stdout
    accuracy = answers["accuracy"]
    assert accuracy["right_before"] == accuracy["right_after"] > 0.85 * COUNT


def test_a_load_is_answered_rightly_and_reconciled_where_it_counts(foreign: Foreign, tmp_path: Path) -> None:
    metrics = foreign.running.metrics
    counted = [] if metrics is None else ["--server-metrics", metrics]
    arguments = ["--host", foreign.address, "--protocol", "oip", "-u", "2", "-r", "2", *counted]
    done = until_recorded(start(tmp_path / "results", *arguments), tmp_path / "results", 200)
    run = done.run()
    samples = run.samples[run.samples["status"].notna()]
    assert (samples["status"] == 0).all(), done.output
    assert samples["correct"].mean() > 0.85
    assert run.manifest.raw["wrong_answers"] == {}
    assert reconciled(run) == []


def test_states_metadata_and_an_unknown_model(foreign: Foreign) -> None:
    (state,) = status(inquiry(foreign.address, "mnist"))
    assert state.state == "AVAILABLE"
    signature = describe(inquiry(foreign.address, "mnist")).signatures[""]
    assert str(signature.inputs["images"]) == "float [-1, 28, 28, 1]"
    assert str(signature.outputs["scores"]) == "float [-1, 10]"
    with pytest.raises(BenchError, match=r"model nobody: [A-Z_]+: .*; check the name"):
        status(inquiry(foreign.address, "nobody"))


@pytest.mark.parametrize("protocol", ["oip", "oip-typed"])
@pytest.mark.parametrize("datatype", ARRAYS)
def test_every_datatype_that_mlserver_has_goes_there_and_back(
    foreign: Foreign, protocol: str, datatype: str
) -> None:
    if foreign.name != "mlserver":
        pytest.skip("the echo is MLServer's")
    array = ARRAYS[datatype]
    if array.ndim == 0:
        array = array.reshape(1)
    asked = inquiry(foreign.address, protocol=protocol)
    request = predict_request({"x": array}, model="echo")
    if datatype == "BF16" or (protocol == "oip-typed" and datatype == "FP16"):
        with pytest.raises(BenchError):  # MLServer knows no BF16, and nobody has FP16 as typed contents
            asked.predict(request, "x")
        return
    response, _ = asked.predict(request, "x")
    assert same(response.array("x"), array)
