"""Fuzz the bodies of REST requests: predict, classify, and gzip around them.

The first byte of an input chooses what is asked, the second which signature; the rest is the body.
"""

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from bench.server.api import json_inputs, json_outputs, json_requests, json_text
from bench.server.refusal import Refusal
from bench.wire.dtypes import STORAGES
from bench.wire.messages import SignatureDefMap, types_pb2

_TYPES = [
    types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_HALF, types_pb2.DT_BFLOAT16, types_pb2.DT_STRING,
    types_pb2.DT_BOOL, types_pb2.DT_INT32, types_pb2.DT_INT16, types_pb2.DT_INT8, types_pb2.DT_UINT8,
    types_pb2.DT_INT64, types_pb2.DT_UINT32, types_pb2.DT_UINT64, types_pb2.DT_COMPLEX64,
]  # fmt: skip


def _signatures() -> Any:
    made = SignatureDefMap()
    for number, kind in enumerate(_TYPES):
        made.signature_def[f"one{number}"].inputs["x"].dtype = kind
        both = made.signature_def[f"two{number}"].inputs
        both["x"].dtype = kind
        both["y"].dtype = types_pb2.DT_FLOAT
    made.signature_def["none"].SetInParent()
    return made.signature_def


SIGNATURES = _signatures()


def attack(data: bytes) -> None:
    """Raises whatever should not be."""
    if len(data) < 2:
        return
    choice, which, body = data[0], data[1], data[2:]
    try:
        if choice & 1:
            body = json_requests.unpacked(body)
        elif choice & 2:
            body = json_requests.unpacked(gzip.compress(body, 1, mtime=0))
        document = json_text.parsed(body)
        if choice & 4:
            json_requests.examples(document)
            return
    except Refusal as refusal:
        refusal.text.encode("utf-8", "surrogateescape")
        return
    name = f"{'two' if choice & 8 else 'one'}{which % len(_TYPES)}"
    document.setdefault("signature_name", name)
    quick = _predicted(document)
    with mock.patch.object(json_inputs, "_quickly", lambda *_: None):
        slow = _predicted(document)
    if quick != slow:
        raise AssertionError(f"read at once: {quick}; value by value: {slow}")


def _predicted(document: dict[str, Any]) -> object:
    """What is made of a predict request, as comparable values."""
    try:
        name, asked = json_requests.predict(document, SIGNATURES)
    except Refusal as refusal:
        refusal.text.encode("utf-8", "surrogateescape")
        return "refused"
    wanted = SIGNATURES[name].inputs
    if set(asked.inputs) != set(wanted):
        raise AssertionError(f"inputs {sorted(asked.inputs)}")
    for alias, array in asked.inputs.items():
        if wanted[alias].dtype != types_pb2.DT_STRING and array.dtype != STORAGES[wanted[alias].dtype].dtype:
            raise AssertionError(f"{alias} is {array.dtype}")
    with contextlib.suppress(Refusal):  # complex numbers, rows of different numbers
        json_outputs.tensors(asked.inputs, asked.format)
    return name, asked.format, {alias: (a.shape, _values(a)) for alias, a in asked.inputs.items()}


def _values(array: np.ndarray[Any, Any]) -> object:
    return array.tolist() if array.dtype == object else array.tobytes()


def seeds() -> list[bytes]:
    """Each format and each kind of value, for each type."""
    texts = [
        b'{"instances": [1, 2.5, -3e2]}', b'{"instances": [[1, 2], [3, 4]]}', b'{"inputs": [[[1], [2]]]}',
        b'{"instances": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}', b'{"inputs": {"x": [1], "y": [NaN, Infinity]}}',
        b'{"instances": ["a", {"b64": "YWJj"}]}', b'{"instances": [{"b64": "YQ"}]}', b'{"instances": [true, false]}',
        b'{"instances": [9007199254740993, 18446744073709551615, 1e999]}', b'{"inputs": []}', b'{"inputs": [[], []]}',
        b'{"signature_name": "none", "instances": [1]}', b'{"instances": [16777217, 0.1, -0.0]}', b'{"inputs": null}',
        b'{"instances": [1, [2]]}', b'{"instances": [1], "inputs": 1}', b'{"signature_name": 5}', b'{"inputs": "\\ud800"}',
        b'{"instances": [' + b"1," * 40 + b"1]}", b"[" * 300 + b"]" * 300, b'{"instances": ' + b"[" * 300 + b"]" * 300 + b"}",
    ]  # fmt: skip
    classify = [
        b'{"examples": [{"a": 1, "b": [1.5, 2], "c": "text", "d": {"b64": "YQ=="}, "e": true}]}',
        b'{"context": {"q": "x"}, "examples": [{}, {"a": [18446744073709551615, -1]}]}',
    ]
    found = [bytes([8 * two, kind]) + text for text in texts for kind in (0, 4, 6, 12) for two in (0, 1)]
    found += [b"\x04\x00" + text for text in [*classify, *texts[:3]]]
    found += [b"\x01\x00" + gzip.compress(text, mtime=0) for text in texts[:3]]
    return [*found, *_bad_gzip()]


def _bad_gzip() -> Iterator[bytes]:
    whole = gzip.compress(b'{"instances": [1]}', mtime=0)
    yield b"\x01\x00" + whole[:-6]
    yield b"\x01\x00" + whole + whole
    yield b"\x01\x00" + zlib.compress(b"{}")
    yield b"\x01\x00" + gzip.compress(bytes(4 << 20), mtime=0)
