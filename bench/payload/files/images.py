"""A folder of pictures as requests, for a model with one input that takes them."""

import hashlib
from pathlib import Path
from typing import Final

import numpy as np

from bench import BenchError, extras
from bench.payload.examples import Array
from bench.payload.files.collector import Collector
from bench.payload.files.values import family
from bench.protocol.signatures import Tensor
from bench.runs.files import read_file

_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
_RANK: Final = 4
"""Of pictures: examples, rows, columns, channels."""


def read(folder: Path, collector: Collector) -> str:
    """Add every PNG and JPEG below a folder, in the order of their names; gives the SHA-256 of names and contents.

    Floating-point inputs get 0 to 1, integers 0 to 255, strings the file as it is. Where each picture lies in a folder
    whose name is a whole number, that is its label. Raises BenchError.
    """
    extras.need("PIL", str(folder))
    from bench import picture  # 20 ms and 8 MB of each load process

    name = _input(collector)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if not paths:
        raise collector.fail("", f"no picture in it ({', '.join(_SUFFIXES)})")
    labelled = all(path.parent != folder and path.parent.name.isdecimal() for path in paths)
    digest = hashlib.sha256()
    for path in paths:
        place = str(path.relative_to(folder))
        try:
            content = read_file(path, picture.LARGEST)
            array = _array(path, content, name, collector)
        except OSError as error:
            raise collector.fail(place, error.strerror) from None
        except BenchError as error:
            raise collector.fail("", error) from None
        digest.update(place.encode("utf-8", "surrogateescape") + b"\0" + hashlib.sha256(content).digest())
        collector.add(place, {name: array}, [int(path.parent.name[:19])] if labelled else None)
    return digest.hexdigest()


def _input(collector: Collector) -> str:
    """The input that takes pictures: one of texts, or of [examples, rows, columns, channels]."""
    needed = {
        name: tensor
        for name, tensor in collector.signature.inputs.items()
        if name not in collector.signature.optional
    }
    if len(needed) == 1:
        ((name, tensor),) = needed.items()
        if name in collector.by_row and (_is_text(tensor) or _is_picture(tensor)):
            return name
    listed = ", ".join(f"{name} ({tensor})" for name, tensor in needed.items())
    raise collector.fail(
        "", f"a folder of pictures, while the model's inputs are {listed}: expected one of pictures or texts"
    )


def _is_text(tensor: Tensor) -> bool:
    return tensor.dtype == "string" and (tensor.shape is None or len(tensor.shape) == 1)


def _is_picture(tensor: Tensor) -> bool:
    return (
        tensor.shape is not None
        and len(tensor.shape) == _RANK
        and tensor.shape[3] in (-1, 1, 3)
        and tensor.dtype not in ("string", "bool")
    )


def _array(path: Path, content: bytes, name: str, collector: Collector) -> Array:
    """The input of one example: [1, ...]."""
    tensor, dtype = collector.signature.inputs[name], collector.storages[name].dtype
    if _is_text(tensor):
        texts = np.empty(1, object)
        texts[0] = content
        return texts
    _, rows, columns, channels = tensor.shape or ()
    from bench import picture

    pixels = picture.read(
        path,
        None if rows == -1 else rows,
        None if columns == -1 else columns,
        3 if channels == -1 else channels,
    )[np.newaxis]
    array: Array = pixels if family(dtype) == "float" else np.round(pixels * 255)
    return array.astype(dtype)
