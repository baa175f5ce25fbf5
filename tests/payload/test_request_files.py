"""Files of requests: what is read from each format, and what is refused."""

import gzip
import hashlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import BenchError
from bench.payload import Pool, array_of, read_requests, tensor_of
from bench.payload.files import collector
from bench.protocol.signatures import Signature, Tensor
from bench.wire import tfrecord
from bench.wire.messages import PredictionLog, PredictRequest
from tests.payload.signatures import (
    FEATURES,
    RANKER,
    TEXT,
    equal,
    signature,
)

ROW = {"query": "red shoes", "features": [1, 2, 3, 4, 5, 6, 7, 8.5]}


def write(folder: Path, *lines: Any, name: str = "r.jsonl") -> Path:
    path = folder / name
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


@pytest.mark.parametrize(
    "lines",
    [
        [{"instances": [ROW, ROW]}, {"instances": [ROW]}],
        [{"inputs": {"query": ["red shoes"] * 3, "features": [ROW["features"]] * 3}}],
        [{"inputs": ROW}] * 3,
        [{"inputs": {"query": ["red shoes"], "features": [ROW["features"]]}}] * 3,
        ["", {"instances": [ROW]}, "  ", {"inputs": ROW}, {"instances": [ROW], "signature_name": "rank"}],
    ],
    ids=["rows", "columns", "one example a line", "one row a line", "mixed"],
)
def test_each_form_of_json_gives_the_same_examples(lines: list[Any], tmp_path: Path) -> None:
    path = write(tmp_path, *lines)
    found = read_requests(path, RANKER, signature_name="rank")
    assert found.inputs["query"].tolist() == [b"red shoes"] * 3
    assert equal(found.inputs["features"], np.array([ROW["features"]] * 3, np.float32))
    assert found.constant == {}
    assert found.labels is None
    assert found.batched
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.origin == f"r.jsonl, 3 examples, sha256 {found.sha256[:12]}"


@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\n"], ids=["", "BOM", "BOM on a line of its own"])
def test_a_document_over_several_lines(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "request.json"
    path.write_text(mark + json.dumps({"instances": [ROW, ROW], "labels": [0, 1]}, indent=2), "utf-8")
    found = read_requests(path, RANKER)
    assert len(found) == 2
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


def test_values_without_names_where_there_is_one_input(tmp_path: Path) -> None:
    one = signature(x=Tensor("int32", (-1, 2)))
    for line in ({"instances": [[1, 2], [3, 4]]}, {"inputs": [[1, 2], [3, 4]]}):
        assert read_requests(write(tmp_path, line), one).inputs["x"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        ([{"inputs": ROW, "label": 3}, {"inputs": ROW, "label": 0}], [3, 0]),
        ([{"inputs": ROW, "label": "shoe"}, {"inputs": ROW, "label": "hät"}], [b"shoe", "hät".encode()]),
        ([{"instances": [ROW, ROW], "labels": [1, True]}], [1, 1]),
    ],
)
def test_labels(lines: list[Any], labels: list[Any], tmp_path: Path) -> None:
    found = read_requests(write(tmp_path, *lines), RANKER).labels
    assert found is not None
    assert found.tolist() == labels


def test_what_has_no_batch_dimension_is_the_same_for_all_requests(tmp_path: Path) -> None:
    mixed = signature(x=Tensor("float", (-1, 2)), temperature=Tensor("float", ()))
    lines = [
        {"inputs": {"x": [[1, 2]], "temperature": 0.5}},
        {"instances": [{"x": [3, 4], "temperature": 0.5}]},
    ]
    found = read_requests(write(tmp_path, *lines), mixed)
    assert found.inputs["x"].tolist() == [[1, 2], [3, 4]]
    assert equal(found.constant["temperature"], np.array(0.5, np.float32))


def test_what_has_no_batch_dimension_and_differs_makes_each_line_a_request(tmp_path: Path) -> None:
    mixed = signature(x=Tensor("float", (-1, 2)), temperature=Tensor("float", ()))
    lines = [
        {"inputs": {"x": [[1, 2]], "temperature": temperature}, "label": index}
        for index, temperature in enumerate((0.5, 0.5, 0.5, 1.5, 0.5))
    ]
    found = read_requests(write(tmp_path, *lines), mixed)
    assert not found.batched
    assert found.inputs["temperature"].tolist() == [0.5, 0.5, 0.5, 1.5, 0.5]
    pool = Pool.from_examples(found, mixed, model="m")
    sent = [PredictRequest.FromString(message) for message in pool.messages]
    assert {tuple(array_of(each.inputs["x"]).ravel()) for each in sent} == {(1.0, 2.0)}
    assert {float(array_of(each.inputs["temperature"])) for each in sent} == {0.5, 1.5}


def test_a_model_without_batch_dimension(tmp_path: Path) -> None:
    plain = Signature("", {"x": Tensor("float", (2,))}, {"y": Tensor("float", ())})
    found = read_requests(write(tmp_path, {"inputs": {"x": [1, 2]}}, {"instances": [[3, 4], [5, 6]]}), plain)
    assert not found.batched
    assert found.inputs["x"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_examples_of_different_lengths_share_no_request(tmp_path: Path) -> None:
    tokens = signature(ids=Tensor("int64", (-1, -1)))
    texts = [[1], [2, 3], [4], [5, 6], [7, 8], [9]]
    path = write(tmp_path, *({"inputs": {"ids": text}, "label": text[0]} for text in texts))
    pool = Pool.from_file(path, tokens, model="m", batch=3)
    sent = [array_of(PredictRequest.FromString(message).inputs["ids"]).tolist() for message in pool.messages]
    assert sorted(sorted(each) for each in sent) == [[[1], [4], [9]], [[2, 3], [5, 6], [7, 8]]]
    assert pool.labels is not None
    assert pool.labels.tolist() == [[row[0] for row in each] for each in sent]
    assert pool.rows is not None
    assert [[texts[row] for row in rows] for rows in pool.rows.tolist()] == sent
    with pytest.raises(
        BenchError, match="batch 4: the examples have 2 different shapes, one of them only 3 examples"
    ):
        Pool.from_file(path, tokens, model="m", batch=4)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not valid JSON: Expecting property name"),
        ("[1]", "not a JSON object"),
        ({"instance": [ROW]}, "key 'instance': expected one of instances, inputs, "),
        ({"instances": [ROW], "inputs": ROW}, "expected one of the keys 'instances' and 'inputs'"),
        ({"instances": []}, "key 'instances': expected a list of examples"),
        (
            {"instances": [[1]]},
            "key 'instances': values without a name, while the signature has query, features",
        ),
        ({"inputs": [1]}, "key 'inputs': values without a name"),
        ({"instances": [ROW, 1]}, "instance 2, some instances are objects"),
        ({"instances": [{"query": "a"}]}, r"input 'features' (float [-1, 8]) is missing"),
        ({"inputs": {**ROW, "user": 1}}, "key 'user': the signature has query, features"),
        ({"instances": [ROW, {**ROW, "query": 5}]}, "instance 2, input 'query': 5 is not text"),
        ({"inputs": {**ROW, "query": {"b64": "%"}}}, "input 'query': '%' is not base64"),
        ({"inputs": {**ROW, "query": None}}, "input 'query': null is not text"),
        ({"inputs": {**ROW, "features": "abc"}}, "input 'features': 'abc' is not float"),
        ({"inputs": {**ROW, "features": [1] * 7 + [None]}}, "input 'features': null is not float"),
        ({"inputs": {**ROW, "features": [1] * 7 + [True]}}, "input 'features': true or false among numbers"),
        (
            {"inputs": {**ROW, "features": [True] * 8}},
            "input 'features': true is a boolean, float is declared",
        ),
        (
            {"inputs": {**ROW, "features": [1] * 7}},
            "input 'features': shape [1, 7], declared is float [-1, 8]",
        ),
        (
            {"inputs": {**ROW, "features": [[1], [2, 3]]}},
            "input 'features': rows of different lengths (1 and 2)",
        ),
        (
            {"inputs": {"query": ["a", "b"], "features": [[1] * 8]}},
            "different numbers of examples: 'query' 2",
        ),
        ({"inputs": {"query": [], "features": []}}, "input 'features': shape [0]"),
        (
            {"inputs": ROW, "signature_name": "other"},
            "key 'signature_name': 'other', signature rank is called",
        ),
        ({"inputs": ROW, "label": 1.5}, "label 1.5: expected an integer or a string"),
        ({"inputs": ROW, "label": [1, 2]}, "label: 2 for 1 example"),
        ({"inputs": ROW, "label": 1 << 70}, "is beyond int64"),
        ({"inputs": ROW, "label": 1, "labels": [1]}, "keys 'label' and 'labels'"),
        ('{"inputs": ' + "[" * 100_000, "nested too deep"),
        ('{"inputs": {"query": "a", "features": ' + "1" * 5000 + "}}", "not valid JSON: Exceeds the limit"),
        (b'{"inputs": "\xff"}', "not UTF-8 text"),
        ('{"inputs": {"query": "\\ud800", "features": [1,2,3,4,5,6,7,8]}}', "input 'query': "),
    ],
)
def test_what_does_not_fit_is_named_with_file_line_and_key(line: Any, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    good = json.dumps({"inputs": ROW}).encode()
    bad = line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
    path.write_bytes(good + b"\n\n" + bad + b"\n")
    with pytest.raises(BenchError) as refused:
        read_requests(path, RANKER, signature_name="rank")
    assert str(refused.value).startswith(f"--requests {path}: line 3, "), refused.value
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([{"inputs": ROW, "label": 1}, {"inputs": ROW}], "label is in line 1, and not in line 2"),
        ([{"inputs": ROW}, {"inputs": ROW, "label": 1}], "label is in line 2, and not in line 1"),
        ([{"inputs": ROW, "label": 1}, {"inputs": ROW, "label": "a"}], "label 'a': the first is 1"),
        ([], "no example in it"),
    ],
)
def test_lines_that_do_not_fit_each_other(lines: list[Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError) as refused:
        read_requests(write(tmp_path, *lines), RANKER)
    assert problem in str(refused.value)


def test_an_optional_input_is_in_all_requests_or_in_none(tmp_path: Path) -> None:
    optional = Signature("", RANKER.inputs, RANKER.outputs, ("features",))
    assert "features" not in read_requests(write(tmp_path, {"inputs": {"query": "a"}}), optional).inputs
    with pytest.raises(
        BenchError, match="input 'features' is in line 2, and not in line 1: give it in all or in none"
    ):
        read_requests(write(tmp_path, {"inputs": {"query": "a"}}, {"inputs": ROW}), optional)


def test_infinity_and_nan_are_values_of_floats_only(tmp_path: Path) -> None:
    line = '{"inputs": {"x": [NaN, Infinity, -Infinity]}}'
    found = read_requests(write(tmp_path, line), signature(x=Tensor("float", (-1,)))).inputs["x"]
    assert equal(found, np.array([np.nan, np.inf, -np.inf], np.float32))
    for dtype in ("int64", "uint8", "bool", "string"):
        with pytest.raises(BenchError, match="line 1, input 'x': nan"):
            read_requests(write(tmp_path, line), signature(x=Tensor(dtype, (-1,))))


def test_what_unpacks_to_more_than_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "LARGEST", 1000)
    monkeypatch.setattr("bench.payload.files.npz.LARGEST", 1000)
    monkeypatch.setattr("bench.payload.request_files.LARGEST_FILE", 10_000)
    monkeypatch.setattr("bench.payload.files.lines.LONGEST", 500)
    np.savez_compressed(tmp_path / "bomb.npz", features=np.zeros((100, 8), np.float32))
    with pytest.raises(BenchError, match=r"bomb\.npz: unpacks to more than"):
        read_requests(tmp_path / "bomb.npz", signature(features=FEATURES))
    with pytest.raises(BenchError, match=r"line 2., more than 0 MiB of values"):
        read_requests(write(tmp_path, *[{"inputs": ROW}] * 40), signature(features=FEATURES, query=TEXT))
    with pytest.raises(BenchError, match="line 2, longer than"):
        read_requests(write(tmp_path, {"inputs": ROW}, {"inputs": {"query": "a" * 500}}), RANKER)
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b"\n" * 20_000))
    with pytest.raises(BenchError, match=r"bomb\.jsonl\.gz: unpacks to more than"):
        read_requests(tmp_path / "bomb.jsonl.gz", RANKER)


@pytest.mark.parametrize("name", ["r.jsonl", "r.npz", "without-an-ending"])
def test_compressed_files_and_standard_input(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / name
    if name == "r.npz":
        np.savez(plain, query=np.array(["red shoes"]), features=np.array([ROW["features"]]))
    else:
        write(tmp_path, {"inputs": ROW}, name=name)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed.read_bytes())))
    for source in (plain, packed, "-"):
        found = read_requests(source, RANKER)
        assert found.inputs["query"].tolist() == [b"red shoes"]
    assert found.origin.startswith("standard input, 1 example, sha256 ")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, problem in (
        (tmp_path / "missing.jsonl", "No such file"),
        (tmp_path / "cut.jsonl.gz", "ended before"),
        (tmp_path / "odd.npz", "not a readable .npz file"),
    ):
        if path.name == "cut.jsonl.gz":
            path.write_bytes(gzip.compress(json.dumps({"inputs": ROW}).encode())[:-10])
        if path.name == "odd.npz":
            path.write_bytes(b"PK\x03\x04" + b"\0" * 100)
        with pytest.raises(BenchError, match=problem) as refused:
            read_requests(path, RANKER)
        assert str(refused.value).startswith(f"--requests {path}: ")


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_bytes_are_read_or_refused_in_one_line(data: st.DataObject) -> None:
    """Of files that are damaged somewhere."""
    with tempfile.TemporaryDirectory() as folder:
        kind = data.draw(st.sampled_from(["jsonl", "npz", "jsonl.gz", "csv", "tfrecord", "anything"]))
        path = Path(folder) / f"r.{kind}"
        if kind == "npz":
            np.savez_compressed(path, query=np.array(["red"]), features=np.zeros((1, 8)))
            content = bytearray(path.read_bytes())
        elif kind == "csv":
            content = bytearray(
                b"query,features." + b",features.".join(b"%d" % i for i in range(8)) + b"\nred" + b",1" * 8
            )
        elif kind == "tfrecord":
            log = PredictionLog()
            log.predict_log.request.inputs["query"].CopyFrom(tensor_of(np.array([b"red"], object)))
            log.predict_log.request.inputs["features"].CopyFrom(tensor_of(np.zeros((1, 8), np.float32)))
            content = bytearray(tfrecord.frame(log.SerializeToString()))
        else:
            content = bytearray(json.dumps({"instances": [ROW, ROW], "labels": [1, 0]}).encode() + b"\n")
            content = bytearray(gzip.compress(content)) if kind == "jsonl.gz" else content
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        path.write_bytes(content)
        if kind == "tfrecord" and data.draw(st.booleans()):  # damaged within an intact record
            path.write_bytes(tfrecord.frame(bytes(content[tfrecord.HEAD : -4])))
        try:
            read_requests(path, RANKER)
        except BenchError as refused:
            assert "\n" not in str(refused)
