"""Trained digit readers on disk: what TensorFlow makes, looked at without TensorFlow."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import BenchError, mnist
from bench.export.digits import PAIR, Warmup
from bench.payload import array_of
from bench.wire import tfrecord
from bench.wire.messages import PredictionLog, SavedModel, types_pb2
from tests.forks import ROOT
from tests.unlimited import LIMIT, unlimited


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Several exports by one process: their folder, and what the process measured."""
    models, idx = tmp_path_factory.mktemp("exported"), tmp_path_factory.mktemp("idx")
    digits = mnist.load("test")
    pixels = np.round(digits.images * 255).astype(np.uint8)
    for stem, part in (("train", slice(0, 30)), ("t10k", slice(30, 50))):
        head = b"".join(number.to_bytes(4, "big") for number in (2051, len(pixels[part]), 28, 28))
        (idx / f"{stem}-images-idx3-ubyte").write_bytes(head + pixels[part].tobytes())
        labels = digits.labels[part].astype(np.uint8)
        head = b"".join(number.to_bytes(4, "big") for number in (2049, len(labels)))
        (idx / f"{stem}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    command = [sys.executable, "-W", "error", "-m", "tests.export.several", str(models), str(idx)]
    with unlimited():
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, ""), "no word of TensorFlow, no Python warning"
    return models, json.loads(done.stdout)


def signatures(version: Path) -> Any:
    model = SavedModel.FromString((version / "saved_model.pb").read_bytes())
    return model.meta_graphs[0].signature_def


def shape(tensor: Any) -> list[int]:
    return [dim.size for dim in tensor.tensor_shape.dim]


def weights(version: Path) -> str:
    (path,) = (version / "variables").glob("variables.data-*")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def facts(version: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((version / "assets.extra" / "export.json").read_text())
    return content


def test_the_pair_is_visibly_bad_and_good(models: Path) -> None:
    bad, good = (facts(models / "mnist" / str(version)) for version in PAIR)
    assert 0.15 < bad["accuracy"] < 0.7
    assert good["accuracy"] > 0.9


def test_both_signatures_are_the_ones_that_were_promised(models: Path) -> None:
    defined = signatures(models / "mnist" / "2")
    for name in ("predict_images", "serving_default"):
        signature = defined[name]
        assert signature.method_name == "tensorflow/serving/predict"
        assert list(signature.inputs) == ["images"]
        assert list(signature.outputs) == ["scores"]
        assert signature.inputs["images"].dtype == types_pb2.DT_FLOAT
        assert signature.outputs["scores"].dtype == types_pb2.DT_FLOAT
        assert shape(signature.inputs["images"]) == [-1, 28, 28, 1]
        assert shape(signature.outputs["scores"]) == [-1, 10]


def test_how_a_version_came_about_stands_beside_it(models: Path) -> None:
    found = facts(models / "mnist" / "2")
    assert found["schema"] == 1
    asked = {"model": "mnist", "version": 2, "arch": "softmax", "steps": 1000, "seed": 0}
    assert {key: found[key] for key in asked} == asked
    assert (found["train_examples"], found["test_examples"]) == (4000, 1000)
    assert found["data"] == "bundled MNIST subset"
    assert {"accuracy", "data_sha256", "tensorflow", "serving_bench"} <= set(found)


def test_no_temporary_folder_is_left(models: Path) -> None:
    assert sorted(path.name for path in (models / "mnist").iterdir()) == ["1", "2"]


def test_equal_seeds_give_equal_weights(exported: tuple[Path, dict[str, Any]]) -> None:
    """Convolutions too, whose gradients several threads add up."""
    models, _ = exported
    assert weights(models / "cnn" / "7") == weights(models / "cnn_again" / "7")
    assert weights(models / "cnn" / "7") != weights(models / "cnn_other" / "7")


def test_progress_names_each_step(exported: tuple[Path, dict[str, Any]]) -> None:
    assert exported[1]["steps"] == [1, 2, 3, 4]


def test_flat_models_take_rows_of_pixels(exported: tuple[Path, dict[str, Any]]) -> None:
    models, measured = exported
    assert shape(signatures(models / "flat" / "7")["predict_images"].inputs["images"]) == [-1, 784]
    assert measured["flat"]["accuracy"] > 0.7


def test_the_null_model_answers_without_weights(exported: tuple[Path, dict[str, Any]]) -> None:
    models, measured = exported
    assert shape(signatures(models / "null" / "7")["predict_images"].outputs["scores"]) == [-1, 10]
    assert measured["null"]["accuracy"] < 0.3


def test_other_digits_are_trained_and_tested_on(exported: tuple[Path, dict[str, Any]]) -> None:
    models, measured = exported
    assert measured["few"]["digits"] == 20
    assert facts(models / "few" / "7")["train_examples"] == 30
    assert "IDX files" in facts(models / "few" / "7")["data"]


def test_warmup_records_are_what_servers_read(exported: tuple[Path, dict[str, Any]]) -> None:
    version = exported[0] / "flat" / "7"
    content = (version / "assets.extra" / "tf_serving_warmup_requests").read_bytes()
    logs = [PredictionLog.FromString(record) for record in tfrecord.records(io.BytesIO(content))]
    assert len(logs) == facts(version)["warmup_records"] == 5
    for log in logs:
        request = log.predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == ("flat", "predict_images")
        assert array_of(request.inputs["images"]).shape == (3, 784)
    assert logs[0] != logs[1]


def test_more_warmup_records_than_a_server_takes_are_refused() -> None:
    with pytest.raises(BenchError, match="--warmup 1001: TensorFlow Serving takes 0 to 1000 records"):
        Warmup(1001)
