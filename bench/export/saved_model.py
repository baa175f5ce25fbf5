"""What is in an exported version besides the graph, and is what lies on disk what was trained?"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench import __version__
from bench.export.quiet import tensorflow
from bench.payload import predict_request
from bench.wire.messages import PredictionLog

SIGNATURE: Final = "predict_images"
INPUT: Final = "images"
OUTPUT: Final = "scores"
EXTRA: Final = "assets.extra"
FACTS: Final = "export.json"
WARMUP: Final = "tf_serving_warmup_requests"
"""File name of warm-up records (TensorFlow Serving, "SavedModel Warmup")."""
MOST_WARMUP_RECORDS: Final = 1000
"""TensorFlow Serving refuses to load a version with more."""

_CHUNK: Final = 500


def save(module: Any, folder: Path) -> None:
    """Write the SavedModel; `predict_images` is served under its own name and as `serving_default`."""
    signatures = {SIGNATURE: module.predict_images, "serving_default": module.predict_images}
    tensorflow().saved_model.save(module, str(folder), signatures=signatures)


def measure_accuracy(folder: Path, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Share of images whose greatest score is at their label, by the SavedModel loaded from disk."""
    tf = tensorflow()
    answer = tf.saved_model.load(str(folder)).signatures[SIGNATURE]
    right = 0
    for start in range(0, len(labels), _CHUNK):
        scores = answer(**{INPUT: tf.constant(images[start : start + _CHUNK])})[OUTPUT].numpy()
        right += int(np.sum(scores.argmax(axis=1) == labels[start : start + _CHUNK]))
    return right / len(labels)


def write_facts(folder: Path, facts: Mapping[str, object]) -> None:
    """assets.extra/export.json: how this version came about, for whoever finds it later."""
    extra = folder / EXTRA
    extra.mkdir(exist_ok=True)
    made_with = {"tensorflow": tensorflow().__version__, "serving_bench": __version__}
    (extra / FACTS).write_text(json.dumps({"schema": 1, **facts, **made_with}, indent=2) + "\n")


def write_warmup(folder: Path, model: str, batches: Iterable[npt.NDArray[np.float32]]) -> None:
    """assets.extra/tf_serving_warmup_requests: a TFRecord file of PredictionLogs, one for each batch of images.

    A server runs them before it makes the version available.
    """
    extra = folder / EXTRA
    extra.mkdir(exist_ok=True)
    with tensorflow().io.TFRecordWriter(str(extra / WARMUP)) as records:
        for images in batches:
            log = PredictionLog()
            log.predict_log.request.CopyFrom(
                predict_request({INPUT: images}, model=model, signature=SIGNATURE)
            )
            records.write(log.SerializeToString(deterministic=True))
