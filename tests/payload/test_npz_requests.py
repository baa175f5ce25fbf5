"""Requests from numpy archives."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import BenchError
from bench.payload import read_requests
from bench.protocol.signatures import Tensor
from tests.payload.signatures import (
    FEATURES,
    RANKER,
    dtype_of,
    equal,
    signature,
)


def test_arrays_with_labels_and_constants(tmp_path: Path) -> None:
    mixed = signature(x=Tensor("bfloat16", (-1, 2)), weights=Tensor("double", (3,)))
    values = np.arange(4).reshape(2, 2).astype(dtype_of("bfloat16"))
    np.savez_compressed(tmp_path / "r.npz", x=values, weights=np.arange(3, dtype=np.int32), labels=[4, 5])
    found = read_requests(tmp_path / "r.npz", mixed)
    assert equal(found.inputs["x"], values)
    assert equal(found.constant["weights"], np.arange(3, dtype=np.float64))
    assert found.labels is not None
    assert found.labels.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("saved", "problem"),
    [
        ({"x": np.zeros((2, 3), np.float32)}, "key 'x': the signature has query, features"),
        ({"query": np.array(["a"])}, "input 'features' (float [-1, 8]) is missing"),
        (
            {"query": np.zeros(1), "features": np.zeros((1, 8))},
            "key 'query': 0.0 is a float, string is declared",
        ),
        ({"query": np.array(["a"]), "features": np.zeros((1, 7))}, "input 'features': shape [1, 7]"),
        (
            {"query": np.array(["a"]), "features": np.full((1, 8), 1e300)},
            "key 'features': 1e+300 is beyond float",
        ),
        ({"query": np.array(["a"] * 2), "features": np.zeros((1, 8))}, "different numbers of examples"),
        ({"query": np.array(["a"], object), "features": np.zeros((1, 8))}, "Python objects are not read"),
        ({"query": np.array(["a"]), "features": np.zeros((1, 8)), "label": np.zeros(1)}, "label: float64"),
        ({"query": np.array(["a"]), "features": np.zeros((1, 8), "V5")}, "5 nameless bytes a value"),
        ({}, "input 'query' (string [-1]) is missing"),
    ],
)
def test_arrays_that_do_not_fit(saved: dict[str, Any], problem: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", allow_pickle=True, **saved)
    with pytest.raises(BenchError) as refused:
        read_requests(tmp_path / "r.npz", RANKER)
    assert str(refused.value).startswith(f"--requests {tmp_path / 'r.npz'}: ")
    assert problem in str(refused.value)


def npy_header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    "member",
    [
        npy_header((1 << 40, 8)),
        npy_header((4, 8)) + b"\0" * 100,
        npy_header((1, 8))[:20],
        b"",
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 0xFFFF,
        npy_header((-2, -8)) + bytes(64),
        npy_header((1 << 40,), "|S0"),
        npy_header((1, 8)).replace(b")", b" "),
    ],
    ids=[
        "claims",
        "short",
        "half a header",
        "empty",
        "version",
        "nested header",
        "negative",
        "no bytes",
        "no end",
    ],
)
def test_damaged_arrays_are_refused_before_memory_is_taken(member: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "r.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", member)
    with pytest.raises(BenchError, match=r"r\.npz: key 'features'"):
        read_requests(tmp_path / "r.npz", signature(features=FEATURES))
