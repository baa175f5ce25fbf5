"""The example of docs/your-own-model.md as it stands there, against a model with two inputs of different dtypes."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.launch import server_process
from tests.load.locust_runs import ROOT, locust

EXPORT = """
import sys
import tensorflow as tf

class Recommender(tf.Module):
    @tf.function(input_signature=[
        tf.TensorSpec([None], tf.int64, name="user"), tf.TensorSpec([None, 8], tf.float32, name="features")
    ])
    def score(self, user, features):
        return {"score": tf.cast(user, tf.float32) + tf.reduce_sum(features, axis=1)}

module = Recommender()
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.score})
"""


def example() -> str:
    """The first block of Python in the page."""
    page = (ROOT / "docs" / "your-own-model.md").read_text()
    return page.split("```python\n")[1].split("```")[0]


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recommender")
    subprocess.run([sys.executable, "-c", EXPORT, str(folder / "1")], check=True, capture_output=True)
    return folder


def test_the_example_has_under_15_lines_and_runs(recommender: Path, tmp_path: Path) -> None:
    assert len(example().splitlines()) < 15
    scenario = tmp_path / "recommender.py"
    scenario.write_text(example())
    arguments = ["--model_name", "recommender", "--model_base_path", str(recommender)]
    with server_process.embedded(arguments) as server:
        asked = ["--host", server.address, "-u", "4", "-r", "4", "-t", "2s", "--batch-size", "8"]
        done = locust(tmp_path / "results", *asked, scenario=str(scenario))
    assert done.code == 0, done.output
    run = done.run()
    assert run.path.name.endswith("-recommender")
    assert len(run.samples) > 100
    assert (run.samples["status"] == 0).all()
    assert set(run.samples["batch"]) == {8}
    assert set(run.samples["version"]) == {1}
    assert int(run.counts["mismatched"].sum()) == 0
    assert run.manifest.raw["target"]["model"] == "recommender"
