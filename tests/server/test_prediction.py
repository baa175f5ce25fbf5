import numpy as np
import pytest
from google.protobuf import text_format

from bench.server.api.prediction import Predictions, Prepared, divide, divisible, stack
from bench.server.metrics import Metrics
from bench.server.models.repository import Repository
from bench.server.refusal import Code, Refusal
from bench.wire.messages import PredictResponse
from tests.server.numpy_models import FLOAT, SIGNATURES, signature
from tests.server.predicting import answered, floats, refused, request, run

SHAPED = "dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 2 } }"


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
