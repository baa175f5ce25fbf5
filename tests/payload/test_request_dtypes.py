"""Values of every dtype, from every format of a file of requests."""

import csv
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import BenchError
from bench.payload import read_requests, tensor_of
from bench.payload.files.values import family
from bench.protocol.signatures import Tensor
from bench.server.api.tensors import encode
from bench.wire import tfrecord
from bench.wire.messages import PredictionLog
from tests.payload.signatures import (
    DTYPES,
    NUMBERS,
    arrays,
    dtype_of,
    equal,
    signature,
)
from tests.payload.test_request_files import write


def in_json(array: np.ndarray[Any, Any]) -> Any:
    """As TensorFlow Serving's REST API takes it."""
    if array.dtype == object:
        value = array.tolist()
        return _encoded(value)
    if family(array.dtype) == "float":
        with np.errstate(invalid="ignore"):  # of signalling NaNs
            return array.astype(np.float64).tolist()
    return array.astype(np.int64).tolist() if array.dtype.kind == "V" else array.tolist()


def _encoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_encoded(each) for each in value]
    return {"b64": b64encode(value).decode()}


@pytest.mark.parametrize("name", DTYPES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_every_dtype_comes_back_from_every_format(name: str, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(1,), (3,), (2, 3), (2, 1, 2)]))
    values = data.draw(arrays(name, shape))
    model = signature(x=Tensor(name, (-1, *shape[1:])))
    with tempfile.TemporaryDirectory() as folder:
        for write_as in (_as_rows, _as_columns, _as_npz, _as_logs):
            path = write_as(Path(folder), values)
            assert equal(read_requests(path, model).inputs["x"], values), path.name


@pytest.mark.parametrize("name", DTYPES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_every_dtype_comes_back_from_csv(name: str, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(1,), (3,), (2, 1), (2, 3)]))
    drawn = st.lists(st.text(st.sampled_from("ab ä\"',;\t\n=#\u2028"), max_size=5), min_size=6)
    if name == "string":
        values = np.array(
            [text.encode() for text in data.draw(drawn)[: int(np.prod(shape))]], object
        ).reshape(shape)
    else:
        values = data.draw(arrays(name, shape))
    model = signature(x=Tensor(name, (-1, *shape[1:])))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(["x"] if shape[1:] in ((), (1,)) else [f"x.{index}" for index in range(shape[1])])
            for row in values.reshape(len(values), -1):
                writer.writerow(each.decode() if isinstance(each, bytes) else in_json(each) for each in row)
        assert equal(read_requests(path, model).inputs["x"], values)


def _as_logs(folder: Path, values: np.ndarray[Any, Any]) -> Path:
    """As TensorFlow Serving logs them; integers in their typed fields."""
    path = folder / "logs.tfrecord"
    with path.open("wb") as file:
        for index in range(len(values)):
            log = PredictionLog()
            each = values[index : index + 1]
            tensor = log.predict_log.request.inputs["x"]
            if index % 2:
                tensor.CopyFrom(tensor_of(each))
            else:
                tensor.ParseFromString(encode(each))
            file.write(tfrecord.frame(log.SerializeToString()))
    return path


def _as_rows(folder: Path, values: np.ndarray[Any, Any]) -> Path:
    return write(folder, *({"instances": [{"x": each}]} for each in in_json(values)), name="rows.jsonl")


def _as_columns(folder: Path, values: np.ndarray[Any, Any]) -> Path:
    return write(folder, {"inputs": {"x": in_json(values)}}, name="columns.json")


def _as_npz(folder: Path, values: np.ndarray[Any, Any]) -> Path:
    if values.dtype == object:  # numpy's own texts end before a zero byte: those with one stay JSON's
        if any(value.endswith(b"\0") for value in values.ravel().tolist()):
            return _as_rows(folder, values)
        values = values.astype("S9")
    elif values.dtype.isbuiltin != 1:  # numpy writes a name of float8_e5m2 that it cannot read
        values = values.view(f"V{values.dtype.itemsize}")
    np.savez(folder / "arrays.npz", x=values)
    return folder / "arrays.npz"


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_beyond_a_dtype_are_refused_and_others_are_rounded(name: str, tmp_path: Path) -> None:
    dtype = dtype_of(name)
    model = signature(x=Tensor(name, (-1,)))
    whole = family(dtype) == "int"
    beyond = ["1.5", "256.0", "1" + "0" * 30] if whole else ["1" + "0" * 320]
    for number in beyond:
        with pytest.raises(
            BenchError, match=rf"r\.jsonl: line 1, input 'x': {number[:25]}.* (is beyond|declared)"
        ):
            read_requests(write(tmp_path, f'{{"inputs": {{"x": [{number}]}}}}'), model)
    if not whole:
        found = read_requests(write(tmp_path, {"inputs": {"x": [0.3, 1]}}), model).inputs["x"]
        assert equal(found, np.array([0.3, 1]).astype(dtype))
