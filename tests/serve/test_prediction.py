from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.serve import model_config
from bench.serve.loading import Options
from bench.serve.metrics import Metrics
from bench.serve.prediction import Predictions, Prepared, divide, divisible, stack
from bench.serve.repository import Repository
from bench.serve.servable import Code, Refusal
from bench.serve.states import State
from bench.wire.messages import PredictRequest, PredictResponse
from tests.serve.numpy_models import FLOAT, SIGNATURES, load, signature, write

SHAPED = "dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 2 } }"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    path = tmp_path_factory.mktemp("m")
    write(path, 7, 2.0)
    repository = Repository(load, Options(poll_wait=0.0))
    repository.start(model_config.single("m", path))
    repository.wait_until_ready(20)
    yield repository
    repository.stop()


@pytest.fixture
def predictions(repository: Repository) -> Iterator[Predictions]:
    """Each test has to release whatever it prepared."""
    yield Predictions(repository)
    held = [handle.held for handle in repository.serving.versions.values()]
    assert held == [0], "a request still holds its version"


def request(text: str) -> bytes:
    return text_format.Parse(text, PredictRequest()).SerializeToString()


def floats(array: Any, *, typed: bool = False, signature: str = "", **spec: Any) -> bytes:
    made = PredictRequest()
    made.model_spec.name = "m"
    made.model_spec.signature_name = signature
    tensor = made.inputs["x"]
    values = np.asarray(array, np.float32)
    tensor.dtype = FLOAT
    tensor.tensor_shape.SetInParent()
    for size in values.shape:
        tensor.tensor_shape.dim.add(size=size)
    if typed:
        tensor.float_val.extend(values.ravel().tolist())
    else:
        tensor.tensor_content = values.tobytes()
    return made.SerializeToString(deterministic=True)


def run(prepared: Prepared) -> Any:
    return prepared.handle.servable.run(prepared.signature, prepared.inputs, prepared.outputs)


def answered(predictions: Predictions, message: bytes) -> Any:
    prepared = predictions.prepare(message)
    return PredictResponse.FromString(predictions.answer(prepared, run(prepared)))


def refused(predictions: Predictions, message: bytes) -> tuple[Code, str]:
    with pytest.raises(Refusal) as caught:
        predictions.prepare(message)
    return caught.value.code, caught.value.text


@pytest.mark.parametrize("typed", [False, True])
def test_the_answer(predictions: Predictions, typed: bool) -> None:
    expected = text_format.Parse(
        """
        outputs { key: "y" value {
            dtype: DT_FLOAT tensor_shape { dim { size: 2 } dim { size: 2 } } float_val: [2, 4, 6, 8]
        } }
        model_spec { name: "m" version { value: 7 } signature_name: "serving_default" }
        """,
        PredictResponse(),
    )
    message = floats([[1, 2], [3, 4]], typed=typed)
    assert answered(predictions, message) == expected
    assert answered(predictions, message) == expected  # now by its layout


ERRORS = [
    ("", Code.INVALID_ARGUMENT, "Missing ModelSpec"),
    ("model_spec {}", Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    (
        'model_spec { name: "m" signature_name: "nosig" }',
        Code.FAILED_PRECONDITION,
        'Serving signature key "nosig" not found.',
    ),
    (
        'model_spec { name: "m" }',
        Code.INVALID_ARGUMENT,
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
    ),
    (
        'model_spec { name: "m" } inputs { key: "x" } inputs { key: "zzz" } inputs { key: "b" }',
        Code.INVALID_ARGUMENT,
        "input size does not match signature: 3!=1 len({b,x,zzz}) != len({x}). Sent extra: {b,zzz}. "
        "Missing but required: {}.",
    ),
    (
        'model_spec { name: "m" } inputs { key: "image" }',
        Code.INVALID_ARGUMENT,
        "Signature input alias: x(feed name: x:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {image}, or default input alias set: ",
    ),
    (
        f'model_spec {{ name: "m" }} inputs {{ key: "x" value {{ {SHAPED} tensor_content: "abc" }} }}',
        Code.INVALID_ARGUMENT,
        "tensor parsing error: x",
    ),
    (
        f'model_spec {{ name: "m" }} inputs {{ key: "x" value {{ {SHAPED} }} }} output_filter: "nope"',
        Code.INVALID_ARGUMENT,
        "output tensor alias not found in signature: nope Outputs expected to be in the set {y}.",
    ),
    (
        f'model_spec {{ name: "m" }} inputs {{ key: "x" value {{ {SHAPED} }} }} output_filter: ""',
        Code.INVALID_ARGUMENT,
        "output tensor alias not found in signature:  Outputs expected to be in the set {y}.",
    ),
    (
        f'model_spec {{ name: "m" }} inputs {{ key: "x" value {{ {SHAPED} }} }} output_filter: ["y", "y"]',
        Code.INVALID_ARGUMENT,
        "duplicate output tensor alias: y",
    ),
    (
        # the order of checks: each of these has further mistakes
        'model_spec { name: "m" signature_name: "nosig" } output_filter: "nope"',
        Code.FAILED_PRECONDITION,
        'Serving signature key "nosig" not found.',
    ),
    (
        f'model_spec {{ name: "m" }} inputs {{ key: "x" value {{ {SHAPED} tensor_content: "a" }} }} output_filter: "n"',
        Code.INVALID_ARGUMENT,
        "tensor parsing error: x",
    ),
]


@pytest.mark.parametrize("text,code,details", ERRORS, ids=[details[:50] for _, _, details in ERRORS])
def test_errors(predictions: Predictions, text: str, code: Code, details: str) -> None:
    assert refused(predictions, request(text)) == (code, details)


def test_bytes_that_are_no_request(predictions: Predictions) -> None:
    assert refused(predictions, b"\xff\xff") == (Code.INTERNAL, "")


class TestDefaults:
    """Signatures whose inputs have defaults; no loader of the tests makes them."""

    @pytest.fixture
    def defaulted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = signature({"a": FLOAT, "b": FLOAT, "c": FLOAT}, {"sum": FLOAT})
        made.defaults["b"].CopyFrom(
            text_format.Parse("dtype: DT_FLOAT float_val: 9", type(made.defaults["b"])())
        )
        monkeypatch.setitem(SIGNATURES, "defaulted", made)

    def _request(self, *names: str) -> bytes:
        inputs = " ".join(
            f'inputs {{ key: "{name}" value {{ dtype: DT_FLOAT float_val: 1 }} }}' for name in names
        )
        return request(f'model_spec {{ name: "m" signature_name: "defaulted" }} {inputs}')

    def test_what_is_left_out_takes_its_default(self, predictions: Predictions, defaulted: None) -> None:
        prepared = predictions.prepare(self._request("a", "c"))
        assert {alias: array.tolist() for alias, array in prepared.inputs.items()} == {
            "a": 1.0,
            "b": 9.0,
            "c": 1.0,
        }
        prepared.release()

    def test_without_default_it_is_missing(self, predictions: Predictions, defaulted: None) -> None:
        assert refused(predictions, self._request("a", "b")) == (
            Code.INVALID_ARGUMENT,
            "Signature input alias: c(feed name: c:0) not found in request and no default value provided. "
            "Inputs expected to be in the request {a,b}, or default input alias set: b",
        )

    def test_unknown_names_beside_defaults(self, predictions: Predictions, defaulted: None) -> None:
        assert refused(predictions, self._request("a", "c", "z")) == (
            Code.INVALID_ARGUMENT,
            "Inputs contains invalid name. Used request inputs: a,c, request input: a,c,z",
        )


def test_method_names_are_checked_where_asked(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIGNATURES, "odd", signature({"x": FLOAT}, {"y": FLOAT}, method="odd/method"))
    message = floats([[1, 2]], signature="odd")
    Predictions(repository).prepare(message).release()
    repository.serving.layouts.clear()
    assert refused(Predictions(repository, check_method_name=True), message) == (
        Code.INTERNAL,
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: odd/method",
    )


class TestBatches:
    def test_requests_of_different_sizes_get_their_own_rows(self, predictions: Predictions) -> None:
        arrays = [np.arange(n * 8, dtype=np.float32).reshape(n, 8) + n for n in (1, 3, 0, 1, 2)]
        messages = [floats(array, typed=index % 2 == 0) for index, array in enumerate(arrays)]
        for _ in range(2):  # parsed, then by layout
            batch = [predictions.prepare(message) for message in messages]
            assert len({id(prepared.group) for prepared in batch}) == 1
            stacked = stack(batch)
            assert stacked["x"].shape == (7, 8)
            outputs = batch[0].handle.servable.run("serving_default", stacked, ("y",))
            assert divisible(batch, outputs)
            answers = [PredictResponse.FromString(a) for a in predictions.answer_all(batch, outputs)]
            for array, answer in zip(arrays, answers, strict=True):
                tensor = answer.outputs["y"]
                assert [dim.size for dim in tensor.tensor_shape.dim] == list(array.shape)
                assert list(tensor.float_val) == (array * 2).ravel().tolist()

    def test_batched_answers_are_the_bytes_of_single_ones(self, predictions: Predictions) -> None:
        messages = [floats([[n, -n, n, n + 0.5]] * (1 + n % 3), typed=n % 2 == 0) for n in range(12)]
        alone = []
        for message in messages:
            prepared = predictions.prepare(message)
            alone.append(predictions.answer(prepared, run(prepared)))
        batch = [predictions.prepare(message) for message in messages]
        assert all(prepared.memory is not None for prepared in batch), "each layout has been learnt"
        stacked = stack(batch)
        assert np.array_equal(stacked["x"], np.concatenate([prepared.inputs["x"] for prepared in batch]))
        outputs = batch[0].handle.servable.run("serving_default", stacked, ("y",))
        assert predictions.answer_all(batch, outputs) == alone

    def test_several_and_integer_outputs_are_divided_too(self, predictions: Predictions) -> None:
        def words(*texts: str) -> bytes:
            values = " ".join(f'string_val: "{text}"' for text in texts)
            return request(
                'model_spec { name: "m" signature_name: "words" } inputs { key: "text" value { dtype: DT_STRING '
                f"tensor_shape {{ dim {{ size: {len(texts)} }} }} {values} }} }}"
            )

        batch = [predictions.prepare(words("a", "bc")), predictions.prepare(words("def"))]
        outputs = batch[0].handle.servable.run("words", stack(batch), ("length", "text_bytes"))
        first, second = (
            PredictResponse.FromString(answer) for answer in predictions.answer_all(batch, outputs)
        )
        assert list(first.outputs["length"].int64_val) == [1, 2]
        assert list(second.outputs["text_bytes"].string_val) == [b"def"]

    @pytest.mark.parametrize(
        "other",
        [
            floats([[1, 2, 3]]),  # inner shape
            floats([1, 2]),  # rank
            request(
                f'model_spec {{ name: "m" }} inputs {{ key: "x" value {{ {SHAPED.replace("FLOAT", "DOUBLE")} }} }}'
            ),
            request(
                'model_spec { name: "m" signature_name: "two" } '
                f'inputs {{ key: "a" value {{ {SHAPED} }} }} inputs {{ key: "b" value {{ {SHAPED} }} }}'
            ),
        ],
        ids=["inner shape", "rank", "dtype", "signature"],
    )
    def test_what_differs_is_another_group(self, predictions: Predictions, other: bytes) -> None:
        one, two = predictions.prepare(floats([[1, 2]])), predictions.prepare(other)
        assert one.group is not two.group
        one.release()
        two.release()

    def test_another_order_of_the_output_filter_is_another_group(self, predictions: Predictions) -> None:
        def asked(*outputs: str) -> bytes:
            filters = " ".join(f'output_filter: "{output}"' for output in outputs)
            return request(
                f'model_spec {{ name: "m" signature_name: "two" }} inputs {{ key: "a" value {{ {SHAPED} }} }} '
                f'inputs {{ key: "b" value {{ {SHAPED} }} }} {filters}'
            )

        prepared = [
            predictions.prepare(asked(*o)) for o in ((), ("product", "sum"), ("sum",), ("sum", "product"))
        ]
        assert [each.outputs for each in prepared] == [
            ("product", "sum"),
            ("product", "sum"),
            ("sum",),
            ("sum", "product"),
        ]
        assert prepared[0].group is prepared[1].group
        assert len({id(each.group) for each in prepared}) == 3
        for each in prepared:
            each.release()

    def test_inputs_without_a_common_height_are_not_batched(self, predictions: Predictions) -> None:
        def asked(a: str, b: str) -> Prepared:
            inputs = "".join(
                f'inputs {{ key: "{name}" value {{ dtype: DT_FLOAT tensor_shape {{ {dims} }} }} }}'
                for name, dims in (("a", a), ("b", b))
            )
            return predictions.prepare(request(f'model_spec {{ name: "m" signature_name: "two" }} {inputs}'))

        scalar = asked("", "dim { size: 1 }")
        uneven = asked("dim { size: 2 }", "dim { size: 3 }")
        even = asked("dim { size: 2 }", "dim { size: 2 }")
        assert [each.group.batched for each in (scalar, uneven, even)] == [False, False, True]
        for each in (scalar, uneven, even):
            each.release()

    def test_divisible(self, predictions: Predictions) -> None:
        batch = [predictions.prepare(floats([[1, 2]])), predictions.prepare(floats([[1, 2], [3, 4]]))]
        assert divisible(batch, {"y": np.zeros((3, 1))})
        assert not divisible(batch, {"y": np.zeros((3, 1)), "z": np.zeros(())})
        assert not divisible(batch, {"y": np.zeros((2, 1))})
        assert [part["y"].tolist() for part in divide(batch, {"y": np.arange(3)})] == [[0], [1, 2]]
        for each in batch:
            each.release()


def test_a_missing_output_is_an_internal_error(predictions: Predictions) -> None:
    prepared = predictions.prepare(floats([[1, 2]]))
    with pytest.raises(Refusal) as caught:
        predictions.answer(prepared, {})
    assert (caught.value.code, caught.value.text) == (Code.UNKNOWN, "Predict internal error")


def test_answers_in_tensor_content(repository: Repository) -> None:
    answer = answered(Predictions(repository, as_content=True), floats([[1, 2]]))
    assert answer.outputs["y"].tensor_content == np.array([2, 4], np.float32).tobytes()
    assert not answer.outputs["y"].float_val


def test_requests_are_counted_by_model_and_status(repository: Repository) -> None:
    metrics = Metrics()
    predictions = Predictions(repository, metrics=metrics)
    answered(predictions, floats([[1, 2]]))
    batch = [predictions.prepare(floats([[1, 2]])) for _ in range(3)]
    predictions.answer_all(batch, batch[0].handle.servable.run("serving_default", stack(batch), ("y",)))
    refused(predictions, request('model_spec { name: "nope" }'))
    predictions.give_up(predictions.prepare(floats([[1, 2]])), Refusal(Code.DEADLINE_EXCEEDED, ""))
    page = metrics.page()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 4' in page
    assert ':tensorflow:serving:request_count{model_name="nope",status="NOT_FOUND"} 1' in page
    assert ':tensorflow:serving:request_count{model_name="m",status="DEADLINE_EXCEEDED"} 1' in page
    assert (
        ':tensorflow:serving:request_latency_count{model_name="m",API="Predict",entrypoint="GRPC"} 4' in page
    )


def described(predictions: Predictions, message: bytes) -> Any:
    """Everything that a request comes to, in comparable form."""
    try:
        prepared = predictions.prepare(message)
    except Refusal as refusal:
        return refusal.code, refusal.text
    try:
        return (
            prepared.handle.version,
            prepared.signature,
            prepared.outputs,
            prepared.rows,
            {alias: (array.dtype, array.shape, _bits(array)) for alias, array in prepared.inputs.items()},
            {alias: _bits(array) for alias, array in stack([prepared]).items()},
        )
    finally:
        prepared.release()


def _bits(array: Any) -> bytes:
    """The memory of an array, with signalling NaNs made quiet, as each conversion makes them."""
    return (array * np.float32(1)).tobytes() if array.dtype.kind == "f" else array.tobytes()


def _seen() -> list[bytes]:
    rng = np.random.default_rng(3)
    plain = [floats(rng.random((n, 6), np.float32), typed=typed) for n in (1, 2) for typed in (False, True)]
    special = PredictRequest.FromString(plain[0])
    special.model_spec.version.value = 7
    special.output_filter.append("y")
    # the payload's bytes stand twice: in a map entry that a later one replaces, and in an ignored field
    hidden = plain[0] + plain[0][plain[0].index(b"\x12") :]
    shadowed = PredictRequest.FromString(plain[0])
    shadowed.client_id = shadowed.inputs["x"].tensor_content
    return [*plain, special.SerializeToString(), hidden, shadowed.SerializeToString()]


SEEN = _seen()


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    base=st.sampled_from(SEEN),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 3),
)
@example(base=SEEN[0], edits=[], cut=0)
@example(base=SEEN[5], edits=[(397, 0)], cut=0)  # no elements, with content all the same
def test_a_known_layout_never_changes_what_a_request_comes_to(
    predictions: Predictions, repository: Repository, base: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    """Whatever bytes differ from known requests: recognised or parsed anew, the outcome is the same."""
    changed = bytearray(base)
    for at, value in edits:
        changed[at % len(changed)] = value
    message = bytes(changed[: len(changed) - cut])
    for seen in SEEN:
        predictions.prepare(seen).release()
    by_layout = described(predictions, message)
    again = described(predictions, message)
    repository.serving.layouts.clear()
    assert by_layout == again == described(predictions, message)


def test_layouts_are_learnt_and_used(predictions: Predictions, repository: Repository) -> None:
    repository.serving.layouts.clear()
    for message in SEEN[:5]:
        predictions.prepare(message).release()
        assert predictions.prepare(message).memory is not None
        next(iter(repository.serving.versions.values())).release()
    assert sum(map(len, repository.serving.layouts.values())) == 5
    prepared = predictions.prepare(SEEN[5])
    assert prepared.memory is None  # the first occurrence of the payload is not the one that counts
    prepared.release()


@pytest.mark.parametrize("start", range(20))
def test_a_payload_that_looks_like_what_stands_before_it(
    predictions: Predictions, repository: Repository, start: int
) -> None:
    """Its first occurrence is the message's own structure: dtype, shape and lengths."""
    repository.serving.layouts.clear()
    model = PredictRequest.FromString(floats(np.zeros((1, 4))))
    before = model.SerializeToString(deterministic=True)
    model.inputs["x"].tensor_content = before[start : start + 16]
    message = model.SerializeToString(deterministic=True)
    anew = described(predictions, message)
    assert described(predictions, message) == anew
    assert anew[4]["x"][2] == before[start : start + 16]


def test_layouts_are_bounded(predictions: Predictions, repository: Repository) -> None:
    repository.serving.layouts.clear()
    for model_version in range(40):
        message = PredictRequest.FromString(SEEN[0])
        message.client_id = bytes([model_version])
        predictions.prepare(message.SerializeToString()).release()
    assert [len(alike) for alike in repository.serving.layouts.values()] == [8]
    wide = PredictRequest.FromString(SEEN[0])
    wide.client_id = bytes(5000)
    predictions.prepare(wide.SerializeToString()).release()
    assert len(repository.serving.layouts) == 1
    for width in range(4, 1300):
        predictions.prepare(floats(np.zeros((1, width)))).release()
    assert len(repository.serving.layouts) <= 1024
    assert len(next(iter(repository.serving.versions.values())).groups) <= 256


def test_versions_that_change_between_recognising_and_holding(
    predictions: Predictions, repository: Repository
) -> None:
    """What is held too late is given back, and the request is looked at again."""
    message = floats([[1, 2, 3, 4]])
    predictions.prepare(message).release()
    before = repository.serving
    after = before._replace(layouts={})

    class Changing:
        tables = [before, after, after]  # noqa: RUF012 - used up once

        @property
        def serving(self) -> Any:
            return self.tables.pop(0)

        acquire = staticmethod(repository.acquire)

    prepared = Predictions(Changing()).prepare(message)  # type: ignore[arg-type]
    assert prepared.memory is None, "it was parsed anew"
    assert prepared.handle.held == 1
    prepared.release()


def test_no_answer_by_a_version_that_has_gone(tmp_path: Path) -> None:
    """A layout is known from version 1; once 2 has taken over, equal bytes go to 2."""
    write(tmp_path, 1, 1.0)
    repository = Repository(load, Options(poll_wait=0.02, max_load_retries=0))
    repository.start(model_config.single("m", tmp_path))
    try:
        repository.wait_until_ready(20)
        predictions = Predictions(repository)
        message = floats([[1, 2, 3, 4]])
        for _ in range(2):
            assert answered(predictions, message).model_spec.version.value == 1
        write(tmp_path, 2, 2.0)
        assert repository.wait_for("m", 1, State.END, 20)
        for _ in range(2):
            answer = answered(predictions, message)
            assert answer.model_spec.version.value == 2
            assert list(answer.outputs["y"].float_val) == [2, 4, 6, 8]
    finally:
        repository.stop()
