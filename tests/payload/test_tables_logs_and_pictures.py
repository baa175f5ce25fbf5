"""Requests as CSV, as TensorFlow Serving's logs, and as folders of pictures."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import BenchError, mnist, picture
from bench.payload import read_requests, tensor_of
from bench.protocol.signatures import Signature, Tensor
from bench.wire import tfrecord
from bench.wire.messages import PredictionLog, types_pb2
from tests.payload.signatures import FEATURES, RANKER, TEXT, equal, signature

HEADER = "query," + ",".join(f"features.{index}" for index in range(8))
NUMBERS = "1,2.5,-3,4e1,.5,6.,7,8"
PICTURES = signature(image=Tensor("float", (-1, 28, 28, 1)))


def table(folder: Path, *lines: str, name: str = "r.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def test_a_table_of_texts_and_rows_of_numbers(tmp_path: Path) -> None:
    path = table(tmp_path, f"{HEADER},label", f"shoes,{NUMBERS},3", "", f'"red, ""new""\nhats",{NUMBERS},0')
    found = read_requests(path, RANKER)
    assert found.inputs["query"].tolist() == [b"shoes", b'red, "new"\nhats']
    assert equal(found.inputs["features"], np.array([[1, 2.5, -3, 40, 0.5, 6, 7, 8]] * 2, np.float32))
    assert found.labels is not None
    assert found.labels.tolist() == [3, 0]


@pytest.mark.parametrize(
    ("model", "lines"),
    [
        (signature(x=Tensor("int32", (-1, 3))), ("0,1,2", "7,8,9")),
        (signature(x=Tensor("int32", (-1, 3))), ("2,0,1", "9,7,8")),
        (signature(x=Tensor("int32", (-1, -1))), ("x.0\tx.1\tx.2", "7\t8\t9")),
        (signature(x=Tensor("int32", (-1, 3)), y=Tensor("bool", (-1, 1))), ("x.0,x.1,x.2,y", "7,8,9,TRUE")),
        (signature(x=Tensor("int32", (-1, 3)), t=Tensor("float", ())), ("t,x.0,x.1,x.2", "0.5,7,8,9")),
        (Signature("", {"x": Tensor("int32", (3,))}, {"y": Tensor("float", ())}), ("0,1,2", "7,8,9")),
    ],
)
def test_headers(model: Signature, lines: tuple[str, ...], tmp_path: Path) -> None:
    assert read_requests(table(tmp_path, *lines), model).inputs["x"].tolist() == [[7, 8, 9]]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("query,feature.0", "a,1"), "line 1, column 'feature.0': inputs are query, features"),
        (("query", "a"), "line 1, input 'features' (float [-1, 8]) is missing"),
        (("query,query", "a,b"), "line 1, column 'query' is a duplicate"),
        (
            ("query,features", "a,1"),
            "line 1, column 'features': the input is float [-1, 8]; expected features.0, ",
        ),
        (
            ("query,features.0", "a,1"),
            "line 1, columns features.0 ...: 1 of them, the input is float [-1, 8]",
        ),
        (
            (HEADER.replace("s.7", "s.8"), "a"),
            "line 1, columns features.0 ...: not one for each index from 0 to 7",
        ),
        ((HEADER + ",features", "a"), "line 1, columns 'features' and 'features.0': give one"),
        ((HEADER, f"a,{NUMBERS},9"), "line 2, 10 cells, the header has 9"),
        ((HEADER, f"a,{NUMBERS}", "a,1,2,3,4,5,6,7,1_0"), "line 3, column 'features.7': '1_0' is not float"),
        ((HEADER, "a,1,2,3,4,5,6,7,"), "line 2, column 'features.7': '' is not float"),
        ((HEADER, "a,1,2,3,4,5,6,7,1e39"), "line 2, column 'features.0': 1e+39 is beyond float"),
        ((HEADER, f'"a,{NUMBERS}'), "line 2, not valid CSV: unexpected end of data"),
        ((f"{HEADER}\rx", f"a,{NUMBERS}"), "line 1, not valid CSV: "),
        ((HEADER, f'"a"b,{NUMBERS}'), "line 2, not valid CSV: "),
        ((HEADER,), "no example in it"),
        (("",), "line 1, input 'query' (string [-1]) is missing"),
    ],
)
def test_tables_that_do_not_fit(lines: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    path = table(tmp_path, *lines)
    with pytest.raises(BenchError) as refused:
        read_requests(path, RANKER)
    assert str(refused.value).startswith(f"--requests {path}: {problem}")


def test_what_no_table_can_hold(tmp_path: Path) -> None:
    for dtype, cell in (
        ("int64", "1.5"),
        ("uint8", "-1"),
        ("int64", "9" * 20),
        ("bool", "yes"),
        ("int32", "nan"),
    ):
        with pytest.raises(BenchError, match="line 2, column 'x': "):
            read_requests(table(tmp_path, "x", cell), signature(x=Tensor(dtype, (-1,))))
    with pytest.raises(BenchError, match="line 1, column 'x': complex64 cannot be read from CSV"):
        read_requests(table(tmp_path, "x", "1"), signature(x=Tensor("complex64", (-1,))))
    (tmp_path / "r.csv").write_bytes(b"query\n\xff\n")
    with pytest.raises(BenchError, match="line 2, not UTF-8 text"):
        read_requests(tmp_path / "r.csv", signature(query=TEXT))


def log_of(rows: int = 1, name: str = "serving_default") -> PredictionLog:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = name
    request.inputs["query"].CopyFrom(tensor_of(np.array([b"red"] * rows, object)))
    request.inputs["features"].CopyFrom(tensor_of(np.ones((rows, 8), np.float32)))
    return log


def logged(folder: Path, *logs: PredictionLog) -> Path:
    path = folder / "tf_serving_warmup_requests"
    path.write_bytes(b"".join(tfrecord.frame(log.SerializeToString()) for log in logs))
    return path


def test_logged_requests_of_any_batch_become_examples(tmp_path: Path) -> None:
    found = read_requests(logged(tmp_path, log_of(2), log_of(), log_of(3)), RANKER)
    assert equal(found.inputs["features"], np.ones((6, 8), np.float32))
    assert found.inputs["query"].tolist() == [b"red"] * 6
    assert found.origin.startswith("tf_serving_warmup_requests, 6 examples, sha256 ")


def test_values_that_a_log_leaves_out_repeat_the_last(tmp_path: Path) -> None:
    log = log_of()
    tensor = log.predict_log.request.inputs["features"]
    tensor.ClearField("tensor_content")
    tensor.float_val.extend([1, 2])
    assert read_requests(logged(tmp_path, log), RANKER).inputs["features"].tolist() == [
        [1, 2, 2, 2, 2, 2, 2, 2]
    ]
    del tensor.float_val[:]
    assert read_requests(logged(tmp_path, log), RANKER).inputs["features"].tolist() == [[0] * 8]
    tensor.tensor_shape.dim[0].size = 1 << 50
    with pytest.raises(BenchError, match="record 1, input 'features': 0 values for shape"):
        read_requests(logged(tmp_path, log), RANKER)


def test_logs_that_are_no_requests_for_the_signature(tmp_path: Path) -> None:
    other = PredictionLog()
    other.classify_log.SetInParent()
    less, wrong = log_of(), log_of()
    del less.predict_log.request.inputs["query"]
    wrong.predict_log.request.inputs["features"].dtype = types_pb2.DT_INT64
    for logs, problem in (
        ((log_of(), other), "record 2, classify_log in it; only predict_log is sent"),
        ((PredictionLog(),), "record 1, nothing in it"),
        ((less,), "record 1, input 'query' (string [-1]) is missing"),
        ((wrong,), "record 1, input 'features': 4 values for shape [1, 8]"),
        (
            (log_of(name="other"),),
            "record 1, a request for signature other, signature serving_default is called",
        ),
    ):
        path = logged(tmp_path, *logs)
        with pytest.raises(BenchError) as refused:
            read_requests(path, RANKER, signature_name="serving_default")
        assert str(refused.value).startswith(f"--requests {path}: {problem}")


def test_damaged_logs(tmp_path: Path) -> None:
    whole = logged(tmp_path, log_of()).read_bytes()
    path = tmp_path / "r.tfrecord"
    for content, problem in (
        (whole * 2 + whole[:30], f"record 3, truncated record at {2 * len(whole)}"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "record 1, corrupted record at 0"),
        (tfrecord.frame(b"\xff\xff"), "record 1, no PredictionLog"),
        (b"{}", "record 1, truncated record at 0"),
        (struct.pack("<Q", 1 << 62) + b"abcd", "record 1, corrupted record at 0"),
        (b"", "no example in it"),
    ):
        path.write_bytes(content)
        with pytest.raises(BenchError) as refused:
            read_requests(path, RANKER)
        assert problem in str(refused.value)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    images = mnist.load("test").images
    for label in (3, 5):
        (tmp_path / str(label)).mkdir()
        for index in range(2):
            pixels = np.round(images[10 * label + index, ..., 0] * 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / str(label) / f"{index}.PNG")
    (tmp_path / "README.md").write_text("not a picture")
    return tmp_path


def test_a_folder_of_pictures_with_labels(digits: Path) -> None:
    found = read_requests(digits, PICTURES)
    assert found.labels is not None
    assert found.labels.tolist() == [3, 3, 5, 5]
    assert equal(found.inputs["image"][3], picture.read(digits / "5" / "1.PNG", 28, 28, 1))
    assert found.origin == f"{digits.name}, 4 examples, sha256 {found.sha256[:12]}"
    again = read_requests(digits, PICTURES).sha256
    (digits / "5" / "1.PNG").rename(digits / "5" / "2.PNG")
    assert found.sha256 == again != read_requests(digits, PICTURES).sha256


def test_pictures_as_bytes_integers_and_of_their_own_size(digits: Path) -> None:
    texts = read_requests(digits, signature(image=TEXT)).inputs["image"]
    assert texts[0] == (digits / "3" / "0.PNG").read_bytes()
    whole = read_requests(digits, signature(image=Tensor("uint8", (-1, 28, 28, 1)))).inputs["image"]
    assert np.array_equal(whole[0], np.round(picture.read(digits / "3" / "0.PNG", 28, 28, 1) * 255))
    Image.new("RGB", (5, 4), "red").save(digits / "5" / "3.jpeg")
    open_size = read_requests(digits, signature(image=Tensor("float", (-1, -1, -1, 3)))).inputs["image"]
    assert [each.shape for each in open_size] == [(28, 28, 3)] * 4 + [(4, 5, 3)]


def test_pictures_for_a_model_that_takes_none(digits: Path) -> None:
    for model in (RANKER, signature(x=FEATURES), signature(image=Tensor("float", (-1, 28, 28, 2)))):
        with pytest.raises(BenchError, match="a folder of pictures, while the model's inputs are "):
            read_requests(digits, model)
    (digits / "5" / "0.PNG").write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"5/0\.PNG: not a readable"):
        read_requests(digits, PICTURES)
    (digits / "empty").mkdir()
    with pytest.raises(BenchError, match=r"empty: no picture in it \(\.png, \.jpg, \.jpeg\)"):
        read_requests(digits / "empty", PICTURES)
