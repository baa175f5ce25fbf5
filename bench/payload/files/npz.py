"""Requests as arrays in a file of numpy.savez."""

import math
import struct
import zipfile
import zlib
from tokenize import TokenError
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.lib import format as npy

from bench.payload.examples import Array
from bench.payload.files.collector import LARGEST, Collector
from bench.payload.files.values import typed

_LABELS: Final = ("label", "labels")
_LONGEST_HEADER: Final = 10_000
_DAMAGES: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    UnicodeDecodeError,
)
"""What zipfile raises for files that are none."""


def read(file: BinaryIO, collector: Collector) -> None:
    """Add the arrays of a file: inputs [N, ...], others as they are, and `label` or `labels` [N]. Raises BenchError."""
    try:
        with zipfile.ZipFile(file) as archive:
            arrays = _arrays(archive, collector)
    except _DAMAGES as error:
        raise collector.fail("", f"not a readable .npz file ({error})") from None
    label = next(
        (arrays.pop(name) for name in _LABELS if name in arrays and name not in collector.storages), None
    )
    inputs = {}
    for name, array in arrays.items():
        if name not in collector.storages:
            collector.check_names("", arrays)
        try:
            inputs[name] = typed(array, collector.storages[name], collector.signature.inputs[name].dtype)
        except ValueError as problem:
            raise collector.fail("", f"key {name!r}: {problem}") from None
    if label is not None and (label.ndim > 1 or label.dtype.kind not in "biuSU"):
        raise collector.fail(
            "", f"label: {label.dtype} {list(label.shape)}; expected [N] integers or strings"
        )
    if collector.by_row or collector.batched:
        collector.add("", inputs, None if label is None else np.atleast_1d(label).tolist())
        return
    _add_each(collector, inputs, None if label is None else np.atleast_1d(label).tolist())


def _add_each(collector: Collector, inputs: dict[str, Array], labels: list[Any] | None) -> None:
    """Of a model without batch dimension: one request, or [N, ...] for N of them."""
    collector.check_names("", inputs)
    if all(collector.signature.inputs[name].takes(array.shape) for name, array in inputs.items()):
        collector.add("", inputs, labels)
        return
    counts = {len(array) if array.ndim else 0 for array in inputs.values()}
    if len(counts) != 1:
        raise collector.fail("", "different numbers of examples in its arrays")
    for index in range(counts.pop()):
        each = {name: array[index, ...] for name, array in inputs.items()}
        collector.add(f"example {index + 1}", each, None if labels is None else labels[index : index + 1])


def _arrays(archive: zipfile.ZipFile, collector: Collector) -> dict[str, Array]:
    members = [
        each for each in archive.infolist() if not each.filename.endswith("/")
    ]  # is_dir() fails on no name
    if sum(each.file_size for each in members) > LARGEST:
        raise collector.fail("", f"unpacks to more than {LARGEST >> 20} MiB")
    arrays = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        with archive.open(member) as stream:
            arrays[name] = _array(stream, member.file_size, collector, name)
    return arrays


def _array(stream: Any, size: int, collector: Collector, name: str) -> Array:
    """One array, after a look at its header: what it claims must be there, and no object is unpickled."""
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, in_columns, dtype = read_header(stream, max_header_size=_LONGEST_HEADER)
    except (ValueError, SyntaxError, TypeError, RecursionError, TokenError) as error:
        reason = str(error).split("\n")[0]
        raise collector.fail("", f"key {name!r}: not a numpy array ({reason})") from None
    if dtype.hasobject:
        raise collector.fail(
            "", f"key {name!r}: Python objects are not read; save texts with a dtype of S or U"
        )
    count = math.prod(shape)
    if min(shape, default=0) < 0 or (count and not dtype.itemsize) or count * dtype.itemsize > size:
        raise collector.fail(
            "", f"key {name!r}: {dtype} {list(shape)} in {size:,} bytes: the file was damaged"
        )
    content = stream.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise collector.fail("", f"key {name!r}: ends early: the file was damaged")
    array = np.frombuffer(content, dtype) if count else np.zeros(0, dtype)
    return array.reshape(shape[::-1]).T if in_columns else array.reshape(shape)
