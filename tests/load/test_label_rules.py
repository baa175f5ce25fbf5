"""Outputs of every kind are compared with labels by the stated rule, and each failed check has a cause of its own."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bench import BenchError
from bench.load.checking.checker import NAN, UNKNOWN, Checker, Declared
from bench.load.checking.references import References
from bench.payload import Pool, tensor_of
from bench.wire.dtypes import STORAGES
from bench.wire.messages import PredictResponse

FLOAT, INT64 = 1, 9


def pool(labels: Any, batch: int = 1, **more: Any) -> Pool:
    count = 6 if labels is None else len(labels)
    examples = {"x": np.arange(count, dtype=np.float32)}
    return Pool.of(examples, labels, output="y", model="m", batch=batch, size=count // batch, **more)


def reply(
    values: np.ndarray, *, version: int | None = 7, model: str = "m", typed: bool = False, **more: Any
) -> bytes:
    """typed: as TensorFlow Serving writes it."""
    response = PredictResponse()
    response.model_spec.name = model
    if version is not None:
        response.model_spec.version.value = version
    response.outputs[more.get("output", "y")].CopyFrom(tensor_of(np.asarray(values)))
    raw: bytes = response.SerializeToString()
    return raw


def checked(made: Pool, values: list[np.ndarray], **more: Any) -> tuple[list[int], dict[str, int]]:
    """Right examples of each answer and the causes of what failed; values: by message."""
    checker = Checker(made, "y", None)
    checker.declared = more.pop("declared", None)
    found = checker.check([reply(each, **more) for each in values], list(range(len(values))))
    assert set(checker.examples) == set(checker.causes)
    failed = {cause: count for cause, count in checker.causes.items() if cause != NAN}
    assert int(found.mismatched.sum()) == sum(failed.values())
    return found.correct.tolist(), failed


SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], np.float32)
BINARY = np.array([[0.9], [0.2]], np.float32)


@pytest.mark.parametrize(
    ("labels", "values", "more", "right"),
    [
        ([1, 0], SCORES, {}, 2),
        ([1, 2], SCORES, {"compare": "argmax"}, 1),
        ([1, 0], SCORES.astype(np.float16), {}, 2),
        ([1, 0], SCORES.astype(ml_dtypes.bfloat16), {}, 2),
        ([1, 0], SCORES.astype(ml_dtypes.float8_e4m3fn), {}, 2),
        ([1, 0], (SCORES * 7).astype(ml_dtypes.int4), {}, 2),
        ([1, 0], (SCORES * 100).astype(np.uint8), {}, 2),
        ([1, 0], BINARY, {}, 2),
        ([1, 1], BINARY, {"compare": "threshold"}, 1),
        ([0, 0], BINARY[:, 0], {}, 1),
        ([1, 1], BINARY, {"compare": "threshold", "threshold": 0.1}, 2),
        ([1, 0], BINARY.astype(ml_dtypes.bfloat16), {}, 2),
        ([0, 0], np.full((2, 1), np.nan, np.float32), {}, 0),
        ([4, 9], np.array([4, 9], np.int32), {}, 2),
        ([4, 9], np.array([[4], [8]], np.int64), {"compare": "equal"}, 1),
        ([1, 0], np.array([True, True]), {}, 1),
        ([4, 9], np.array([4.0, 9.0], np.float32), {"compare": "equal"}, 2),
        (["cat", "dog"], np.array([b"cat", b"cow"], object), {}, 1),
        ([b"cat", b"dog"], np.array([[b"cat"], [b"dog"]], object), {"compare": "equal"}, 2),
    ],
)
def test_labels_are_compared_by_the_rule_of_the_pool_or_of_the_output(
    labels: list[Any], values: np.ndarray, more: dict[str, Any], right: int
) -> None:
    made = pool(labels, batch=2, **more)
    assert made.rows is not None
    assert checked(made, [values[made.rows[0]]]) == ([right], {})


@pytest.mark.parametrize(
    ("batched", "values", "labels", "right"),
    [
        (False, np.array([0.1, 0.9], np.float32), [1], 1),
        (True, np.array([0.1, 0.9], np.float32), [1], 1),
        (False, np.array(0.9, np.float32), [1], 1),
        (False, np.array(3, np.int32), [3], 1),
    ],
)
def test_one_example_may_be_answered_without_batch_dimension(
    batched: bool, values: np.ndarray, labels: list[int], right: int
) -> None:
    assert checked(pool(labels, batched=batched), [values]) == ([right], {})


@pytest.mark.parametrize(
    ("labels", "values", "more", "cause"),
    [
        ([0, 9], BINARY, {}, "shape"),
        ([0, 9], BINARY, {"compare": "argmax"}, "shape"),
        ([0, 1], SCORES, {"compare": "threshold"}, "shape"),
        ([0, 1], SCORES, {"compare": "equal"}, "shape"),
        ([0, 1], SCORES[:1], {}, "shape"),
        ([0, 9], SCORES, {}, "shape"),
        ([0, 1], SCORES[np.newaxis], {}, "shape"),
        ([0, 1], np.array([b"a", b"b"], object), {}, "dtype"),
        (["a", "b"], np.array([1, 2]), {}, "dtype"),
        ([0, 1], SCORES.astype(np.complex64), {}, "dtype"),
    ],
)
def test_what_cannot_be_compared_is_named(
    labels: list[Any], values: np.ndarray, more: dict[str, Any], cause: str
) -> None:
    assert checked(pool(labels, batch=2, **more), [values]) == ([0], {cause: 1})


@pytest.mark.parametrize(
    ("shape", "declared"),
    [
        ((5,), (-1,)),
        ((0,), (-1,)),
        ((), ()),
        ((1, 4), (1, -1)),
        ((3, 5, 2), (-1, -1, -1)),
        ((8, 8, 3), (8, 8, 3)),
        ((0, 4), (-1, 4)),
        ((2, 7), None),
    ],
)
def test_outputs_have_the_shape_of_their_signature_whatever_the_batch(
    shape: tuple[int, ...], declared: tuple[int, ...] | None
) -> None:
    """Issue 13: indices of boxes, scalars, [1, k], pictures without batch dimension were all called wrong."""
    made = pool(None, batch=3)
    for kind in (np.float32, np.int64):
        said = Declared(7, FLOAT if kind is np.float32 else INT64, declared)
        assert checked(made, [np.ones(shape, kind)] * 2, declared=said) == ([UNKNOWN] * 2, {})


@pytest.mark.parametrize("dtype", [each.dtype for each in STORAGES.values()], ids=str)
def test_outputs_of_every_dtype_are_read(dtype: np.dtype[Any]) -> None:
    values = np.array([b"a", b"bc"], object) if dtype.kind == "O" else np.zeros(2, dtype)
    made = pool(None)
    checker = Checker(made, "y", None, references=References(len(made)))
    answers = [reply(values)] * 3
    assert not checker.check(answers, [0, 0, 0]).mismatched.any()
    assert checker.known[0] == (answers[0],)


@pytest.mark.parametrize(
    ("declared", "more", "cause"),
    [
        (Declared(7, INT64, None), {}, "dtype"),
        (Declared(7, FLOAT, (-1, 3)), {}, "shape"),
        (Declared(7, FLOAT, (-1,)), {}, "shape"),
        (None, {"version": 6}, "version"),
        (None, {"version": None}, "version"),
        (None, {"model": "other"}, "model"),
        (None, {"output": "z"}, "missing output"),
        (Declared(8, INT64, ()), {}, None),
    ],
)
def test_each_failed_check_is_counted_by_its_own_cause(
    declared: Declared | None, more: dict[str, Any], cause: str | None
) -> None:
    made = pool(None, version=7)
    _, causes = checked(made, [np.zeros((1, 2), np.float32)] * 3, declared=declared, **more)
    assert causes == ({} if cause is None else {cause: 3})


def test_other_values_than_before_and_unreadable_answers_have_causes_too() -> None:
    made = pool(None)
    checker = Checker(made, "y", None, references=References(len(made)))
    first, other = reply(np.ones(2, np.float32)), reply(np.zeros(2, np.float32))
    checker.check([first, first], [0, 0])
    checker.check([other, first[:-1], b"\xff"], [0] * 3)
    assert checker.causes == {"values": 1, "unreadable": 2}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("labels", [None, [0, 1, 0, 1, 0, 1]])
def test_each_answer_that_holds_no_number_is_counted_and_none_is_wrong(
    dtype: Any, typed: bool, labels: list[int] | None
) -> None:
    """Also those that equal an earlier one to the byte: such a server is as quick as any, and its gates passed."""
    made = pool(labels)
    checker = Checker(made, "y", None, references=References(len(made)))
    values = np.array([[0.25, 0.75]], dtype)
    lacking = values.copy()
    lacking[0, 1] = np.nan
    replies = [reply(each, typed=typed) for each in (values, lacking)]
    for _ in range(4):
        found = checker.check(replies * 2, [0, 1, 2, 3])
        assert not found.mismatched.any()
    assert checker.causes == {NAN: 8}
    assert checker.examples == {NAN: "output 'y' holds nan"}
    assert [bool(each) for each in checker.known[:4]] == [True, False, True, False]


def test_answers_without_floats_hold_numbers() -> None:
    for values in (np.zeros((1, 0), np.float32), np.array([[3]]), np.array([[b"nan"]], object)):
        assert checked(pool(None), [values] * 3)[1] == {}


def test_a_server_that_names_no_model_is_not_called_wrong() -> None:
    made = pool([0, 1], version=7)
    assert checked(made, [np.array([[1, 0]], np.float32)] * 2, version=None, model="")[1] == {}


@pytest.mark.parametrize(
    ("labels", "more", "text"),
    [
        ([0, 2], {"compare": "threshold"}, "labels are 0 or 1, not 2"),
        ([0, -1], {"compare": "argmax"}, "indices from 0 on, not -1"),
        (["a", "b"], {"compare": "argmax"}, "texts are compared by 'equal'"),
        ([0, 1], {"compare": "top5"}, "compare='top5': expected one of argmax, threshold, equal"),
        ([0.5, 1.5], {}, "labels of dtype float64"),
        ([[0], [1]], {}, "labels of shape"),
    ],
)
def test_labels_that_no_rule_takes_are_one_line(labels: list[Any], more: dict[str, Any], text: str) -> None:
    with pytest.raises(BenchError, match=text):
        pool(labels, **more)
