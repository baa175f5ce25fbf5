"""Files of an exported version beside the graph, and the check that it equals what was trained."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
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

Floats = npt.NDArray[np.float32]


def save(module: Any, folder: Path) -> None:
    """Write the SavedModel; `predict_images` is served under its own name and as `serving_default`."""
    signatures = {SIGNATURE: module.predict_images, "serving_default": module.predict_images}
    tensorflow().saved_model.save(module, str(folder), signatures=signatures)


@contextlib.contextmanager
def reloaded(folder: Path) -> Iterator[Callable[[Floats], Floats]]:
    """The SavedModel from disk as a function from images to scores.

    Loaded as TensorFlow Serving does it, by the restore operation in the graph. `tf.saved_model.load` finds its
    way by the objects that were saved and would hide variables that are missing there.
    """
    tf = tensorflow()
    v1 = tf.compat.v1
    tf.get_logger().setLevel("ERROR")  # the loader calls itself deprecated
    with v1.Graph().as_default(), v1.Session() as session:
        signature = v1.saved_model.loader.load(session, ["serve"], str(folder)).signature_def[SIGNATURE]
        feed, fetch = signature.inputs[INPUT].name, signature.outputs[OUTPUT].name
        yield lambda images: np.asarray(session.run(fetch, {feed: images}))


def measure_accuracy(folder: Path, images: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Share of images whose greatest score is at their label, by the SavedModel loaded from disk."""
    right = 0
    with reloaded(folder) as answer:
        for start in range(0, len(labels), _CHUNK):
            part = slice(start, start + _CHUNK)
            right += int(np.sum(answer(images[part]).argmax(axis=1) == labels[part]))
    return right / len(labels)


def write_facts(folder: Path, facts: Mapping[str, object]) -> None:
    """assets.extra/export.json: how this version came about, for whoever finds it later."""
    extra = folder / EXTRA
    extra.mkdir(exist_ok=True)
    made_with = {"tensorflow": tensorflow().__version__, "serving_bench": __version__}
    (extra / FACTS).write_text(json.dumps({"schema": 1, **facts, **made_with}, indent=2) + "\n")


def write_warmup(folder: Path, model: str, batches: Iterable[Floats]) -> None:
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
