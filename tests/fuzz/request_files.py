"""Fuzz files of requests: what is read fits the signature, or one line says why not.

The first byte of an input chooses format and signature, the rest is the file.
"""

import gzip
import io
import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from bench import BenchError
from bench.payload.request_files import read_requests
from bench.protocol.signatures import Signature, Tensor
from bench.wire import messages, tfrecord

_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".npz", ".tfrecord", "")
_METHOD = "tensorflow/serving/predict"
_SIGNATURES = (
    Signature(_METHOD, {"x": Tensor("float", (-1, 2))}, {"y": Tensor("float", (-1, 1))}),
    Signature(
        _METHOD,
        {"x": Tensor("int64", (-1,)), "text": Tensor("string", (-1,))},
        {"y": Tensor("float", (-1,))},
        ("text",),
    ),
    Signature(_METHOD, {"x": Tensor("uint8", (2,)), "y": Tensor("bool", None)}, {}),
)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """One for the process."""
    return tempfile.TemporaryDirectory(prefix="fuzz-")


def attack(data: bytes) -> None:
    """Raises whatever should not be."""
    if not data:
        return
    number, form = divmod(data[0], len(_SUFFIXES))
    path = Path(_folder().name, "requests" + _SUFFIXES[form])
    path.write_bytes(data[1:])
    try:
        examples = read_requests(path, _SIGNATURES[number % len(_SIGNATURES)])
    except BenchError as error:
        text = str(error)
        if not text.startswith(f"--requests {path}: ") or not text.isprintable():
            raise AssertionError(f"refused with {text!r}") from error
    else:
        if len(examples) < 1:
            raise AssertionError("a file without an example is no request")


def seeds() -> list[bytes]:
    """A right file of each format."""
    packed = io.BytesIO()
    np.savez(packed, x=np.ones((3, 2), np.float32), label=np.arange(3))
    log = messages.PredictionLog()
    log.predict_log.request.model_spec.name = "m"
    tensor = log.predict_log.request.inputs["x"]
    tensor.dtype = 1
    for size in (1, 2):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend([1.0, 2.0])
    rows = "\n".join(json.dumps({"instances": [[1.0, 2.0]], "label": 3}) for _ in range(3))
    texts: list[tuple[int, int, bytes]] = [
        (0, 0, rows.encode()),
        (0, 1, json.dumps({"inputs": {"x": [[1, 2], [3, 4]]}, "labels": [1, 2]}, indent=1).encode()),
        (1, 0, b'{"instances": [{"x": 9007199254740993, "text": {"b64": "AP8="}}]}\n'),
        (2, 0, b'{"inputs": {"x": [1, 255], "y": [[true]]}}\n'),
        (0, 2, b"x.0,x.1,label\n1,2,3\n4,5e-3,6\n"),
        (0, 3, b"x.0\tx.1\n1\t2\n"),
        (0, 4, packed.getvalue()),
        (0, 6, gzip.compress(rows.encode(), mtime=0)),
    ]
    texts.append((0, 5, tfrecord.frame(log.SerializeToString())))
    return [bytes([number * len(_SUFFIXES) + form]) + text for number, form, text in texts]
