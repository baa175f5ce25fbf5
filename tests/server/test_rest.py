"""Beyond the cases of tests/conformance: numbers in bulk, limits, options and counting."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.server.api import json_inputs, json_outputs, json_requests
from bench.server.api.prediction import Predictions
from bench.server.api.rest import Answer, Rest
from bench.server.api.services import Services
from bench.server.metrics import Metrics
from bench.server.models import model_config
from bench.server.models.loading import RepositoryOptions
from bench.server.models.repository import Repository
from bench.server.refusal import Refusal
from bench.wire.messages import TensorInfo, types_pb2
from tests.server.numpy_models import load, write


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    path = tmp_path_factory.mktemp("m")
    write(path, 1, 2.0)
    repository = Repository(load, RepositoryOptions(poll_wait=0.0))
    repository.start(model_config.single("m", path))
    repository.wait_until_ready(20)
    yield repository
    held = [handle.held for handle in repository.serving.versions.values()]
    repository.stop()
    assert held == [0]


def api(repository: Repository, **options: Any) -> tuple[Rest, Metrics]:
    metrics = Metrics()
    predictions = Predictions(repository, metrics=metrics)
    return Rest(
        repository, predictions, Services(repository, predictions, metrics), metrics, **options
    ), metrics


def post(
    repository: Repository, body: bytes, headers: dict[str, str] | None = None, **options: Any
) -> Answer:
    return api(repository, **options)[0].answer("POST", "/v1/models/m:predict", headers or {}, body)


class TestBodies:
    def test_gzip(self, repository: Repository) -> None:
        packed = gzip.compress(b'{"instances": [1, 2]}')
        assert json.loads(post(repository, packed, {"content-encoding": "gzip"}).body) == {
            "predictions": [2.0, 4.0]
        }

    def test_broken_gzip(self, repository: Repository) -> None:
        answer = post(repository, b"not packed", {"content-encoding": "gzip"})
        assert answer.status == 400
        assert "gzip body of the request is broken" in json.loads(answer.body)["error"]

    def test_a_body_may_not_unpack_without_end(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(json_requests, "LARGEST_UNPACKED", 1000)
        answer = post(repository, gzip.compress(b" " * 100_000), {"content-encoding": "gzip"})
        assert answer.status == 400
        assert json.loads(answer.body)["error"].endswith("unpacks to more than 1000 bytes")

    def test_errors_are_json_whatever_they_say(self, repository: Repository) -> None:
        answer = post(repository, '{"signature_name": "\\"\\n\u20ac", "instances": [1]}'.encode())
        assert answer.status == 400
        assert json.loads(answer.body)["error"].startswith('Serving signature name: ""\n\u20ac"')

    @pytest.mark.parametrize("depth", [65, 200, 400, 900, 950, 990])
    @pytest.mark.parametrize("more", ["", ', "instances": 1'])
    def test_deep_nesting_is_an_error_of_the_client(
        self, repository: Repository, depth: int, more: str
    ) -> None:
        body = '{"inputs": ' + "[" * depth + "1" + "]" * depth + more + "}"
        answer = post(repository, body.encode())
        assert answer.status == 400
        assert "error" in json.loads(answer.body)

    def test_errors_are_not_cut(self, repository: Repository) -> None:
        name = "n" * 3000
        answer = post(repository, json.dumps({"signature_name": name, "instances": [1]}).encode())
        assert name in json.loads(answer.body)["error"]


def test_cors_headers_only_where_asked(repository: Repository) -> None:
    assert "Access-Control-Allow-Origin" not in post(repository, b"{}").headers
    with_cors = post(repository, b"{}", cors=True).headers
    assert with_cors["Access-Control-Allow-Origin"] == "*"
    assert with_cors["Content-Type"] == "application/json"
    options, _ = api(repository, cors=True)
    answer = options.answer("OPTIONS", "/v1/models/m", {"origin": "http://a"}, b"")
    assert (answer.status, answer.headers["Access-Control-Allow-Methods"]) == (200, "POST, GET")


def test_metrics_only_where_asked(repository: Repository) -> None:
    path = "/monitoring/prometheus/metrics"
    assert api(repository)[0].answer("GET", path, {}, b"").status == 404
    shown, _ = api(repository, prometheus_path="/m")
    assert shown.answer("GET", path, {}, b"").status == 404
    answer = shown.answer("GET", "/m", {}, b"")
    assert (answer.status, answer.headers) == (200, {"Content-Type": "text/plain"})
    refused = shown.answer("GET", "/m?a", {}, b"")
    assert (refused.status, refused.body) == (400, b"Unexpected path: /m?a. Should be /m")


def test_calls_are_counted(repository: Repository) -> None:
    server, metrics = api(repository)
    server.answer("POST", "/v1/models/m:predict", {}, b'{"instances": [1]}')
    server.answer("POST", "/v1/models/m:predict", {}, b"{")
    server.answer("POST", "/v1/models/nope:classify", {}, b'{"examples": [{}]}')
    server.answer("GET", "/v1/models/m", {}, b"")
    page = metrics.page()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 2' in page
    assert ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 1' in page
    assert ':tensorflow:serving:request_count{model_name="nope",status="NOT_FOUND"} 1' in page
    for name in ("predict", ""):
        assert f'request_latency_count{{model_name="m",API="{name}",entrypoint="REST"}} 1' in page


NUMBERS = {
    "FLOAT": (st.floats(width=32) | st.integers(-(2**24) + 1, 2**24 - 1), np.float32),
    "DOUBLE": (st.floats() | st.integers(-(2**53) + 1, 2**53 - 1), np.float64),
    "INT32": (st.integers(-(2**31), 2**31 - 1), np.int32),
    "INT64": (st.integers(-(2**63), 2**63 - 1), np.int64),
    "UINT32": (st.integers(0, 2**32 - 1), np.uint32),
    "UINT64": (st.integers(0, 2**64 - 1), np.uint64),
    "UINT8": (st.integers(-(2**31), 2**31 - 1), np.uint8),
    "BOOL": (st.booleans(), np.bool_),
}


def wanted(kind: str) -> dict[str, Any]:
    return {"x": TensorInfo(dtype=types_pb2.DataType.Value(f"DT_{kind}"))}


@pytest.mark.parametrize("kind", NUMBERS)
@settings(derandomize=True, deadline=None)
@given(data=st.data(), height=st.integers(1, 3), width=st.integers(0, 3))
def test_numbers_keep_their_values_in_both_formats(
    kind: str, data: st.DataObject, height: int, width: int
) -> None:
    values, dtype = NUMBERS[kind]
    rows = data.draw(
        st.lists(st.lists(values, min_size=width, max_size=width), min_size=height, max_size=height)
    )
    expected = np.array(rows, np.int64 if dtype == np.uint8 else dtype).astype(dtype)  # the low bits
    for key in ("instances", "inputs"):
        (found,) = json_inputs.read({key: rows}, wanted(kind)).inputs.values()
        assert found.dtype == expected.dtype
        assert found.shape == (height, width)
        assert np.array_equal(found, expected.reshape(height, width), equal_nan=kind in {"FLOAT", "DOUBLE"})


# what the quick way over numpy must not let through
REFUSED = [
    ("FLOAT", [1.0, True], "JSON Value: true Type: True is not of expected type: float"),
    ("FLOAT", [[0.5], [True]], "JSON Value: true Type: True is not of expected type: float"),
    ("FLOAT", [True, False], "JSON Value: true Type: True is not of expected type: float"),
    ("FLOAT", [1.0, None], "JSON Value: null Type: Null is not of expected type: float"),
    ("FLOAT", ["1.0", "2.0"], 'JSON Value: "1.0" Type: String is not of expected type: float'),
    ("FLOAT", [2**24, 0.5], "Cannot convert JSON value: 16777216 to float without loss of precision."),
    ("FLOAT", [1e39, 0.5], "Cannot convert JSON value: 1e+39 to float without loss of precision."),
    ("FLOAT", [10**400], f"Cannot convert JSON value: 1{'0' * 400} to float without loss of precision."),
    ("DOUBLE", [2**53], "Cannot convert JSON value: 9007199254740992 to double without loss of precision."),
    ("INT32", [1, 2.0], "JSON Value: 2.0 Type: Number is not of expected type: int32"),
    ("INT32", [1, True], "JSON Value: true Type: True is not of expected type: int32"),
    ("INT32", [-(2**31) - 1], "JSON Value: -2147483649 Type: Number is not of expected type: int32"),
    ("INT64", [2**63], "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
    ("UINT32", [-1], "JSON Value: -1 Type: Number is not of expected type: uint32"),
    ("UINT64", [-1], "JSON Value: -1 Type: Number is not of expected type: uint64"),
    ("BOOL", [True, 0], "JSON Value: 0 Type: Number is not of expected type: bool"),
]


@pytest.mark.parametrize("kind,value,text", REFUSED)
def test_values_of_another_kind(kind: str, value: list[Any], text: str) -> None:
    with pytest.raises(Refusal) as caught:
        json_inputs.read({"inputs": value}, wanted(kind))
    assert caught.value.text == text


def test_base64_objects_are_a_plain_list_too() -> None:
    two = wanted("STRING") | {"y": TensorInfo(dtype=types_pb2.DT_FLOAT)}
    with pytest.raises(Refusal, match="instances is a plain list, but expecting list of objects"):
        json_inputs.read({"instances": [{"b64": "YQ=="}]}, two)


def test_whole_numbers_at_the_limit_are_floats() -> None:
    assert json_inputs.read({"inputs": [2**24 - 1, 3.4e38]}, wanted("FLOAT")).inputs["x"].dtype == np.float32
    assert json_inputs.read({"inputs": 1e30}, wanted("FLOAT")).inputs["x"] == np.float32(1e30)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 2), (2, 0), (2, 3), (2, 1, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, np.bool_])
def test_outputs_read_back_equal(shape: tuple[int, ...], dtype: type) -> None:
    array = (np.arange(int(np.prod(shape))) % 7).astype(dtype).reshape(shape)
    column = json.loads(json_outputs.tensors({"y": array}, json_outputs.COLUMN))["outputs"]
    assert np.array_equal(np.array(column, dtype).reshape(shape), array)
    if not shape:
        with pytest.raises(Refusal, match="has no shape information"):
            json_outputs.tensors({"y": array}, json_outputs.ROW)
        return
    row = json.loads(json_outputs.tensors({"y": array}, json_outputs.ROW))["predictions"]
    assert len(row) == shape[0]
    assert np.array_equal(np.array(row, dtype).reshape(shape), array)
    both = json.loads(json_outputs.tensors({"y": array, "z": array}, json_outputs.ROW))["predictions"]
    assert both == [{"y": item, "z": item} for item in row]


def test_outputs_of_different_heights_cannot_be_rows() -> None:
    with pytest.raises(Refusal) as caught:
        json_outputs.tensors({"a": np.zeros(2), "b": np.zeros(3)}, json_outputs.ROW)
    assert caught.value.text == "Tensor name: b has inconsistent batch size: 3 expecting: 2"


@pytest.mark.parametrize("value", [10**40, 1e39])
def test_a_feature_that_no_float_holds(repository: Repository, value: float) -> None:
    body = json.dumps({"examples": [{"x": value}]}).encode()
    answer = api(repository)[0].answer("POST", "/v1/models/m:classify", {}, body)
    assert answer.status == 400
    assert json.loads(answer.body)["error"].endswith(" to float without loss of precision.")


def test_outputs_that_json_cannot_hold() -> None:
    with pytest.raises(Refusal) as caught:
        json_outputs.tensors({"a": np.zeros(2, np.complex64)}, json_outputs.COLUMN)
    assert caught.value.text == "Failed to write JSON value for tensor type: complex64"


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**24, 2**31, 2**63, 2**64, 10**30, 10**400])
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
    | st.just({"b64": "YQ=="})
)
KEYS = st.sampled_from(["x", "a", "b", "text", "b64", "more"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(
    method=st.sampled_from(["predict", "classify", "regress"]),
    document=st.dictionaries(
        st.sampled_from(["instances", "inputs", "examples", "context"]),
        VALUES | st.lists(VALUES, max_size=3),
        max_size=3,
    ),
    signature=st.sampled_from(["", "serving_default", "two", "words", "nope"]),
)
def test_any_json_is_answered(
    repository: Repository, method: str, document: dict[str, Any], signature: str
) -> None:
    server, _ = api(repository)
    if signature:
        document["signature_name"] = signature
    answer = server.answer("POST", f"/v1/models/m:{method}", {}, json.dumps(document).encode())
    assert answer.status in {200, 400, 404, 501}, answer
    assert ("error" in json.loads(answer.body)) == (answer.status != 200)
