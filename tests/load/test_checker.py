"""Answers checked at once are judged as a plain parser judges them one by one."""

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import mnist
from bench.load.checking.checker import UNKNOWN, Checker
from bench.load.checking.references import References
from bench.payload import Pool, tensor_of
from bench.wire.messages import PredictResponse

CLASSES = 10


def pool_of(batch: int = 1, version: int | None = None) -> Pool:
    digits = mnist.load("test")
    return Pool.mnist(digits.images[:40], digits.labels[:40], batch=batch, version=version)


def reply_with(
    scores: np.ndarray, *, version: int | None = 2, model: str = "mnist", content: bool = False
) -> bytes:
    """A reply as TensorFlow Serving writes it: typed values, or `tensor_content` where a flag asks for it."""
    response = PredictResponse()
    response.model_spec.name = model
    response.model_spec.signature_name = "predict_images"
    if version is not None:
        response.model_spec.version.value = version
    tensor = response.outputs["scores"]
    tensor.CopyFrom(tensor_of(scores))
    if not content:
        tensor.tensor_content = b""
        tensor.float_val.extend(scores.ravel().tolist())
    return response.SerializeToString()


def scores_for(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[batch, 10] with the greatest value at the labels."""
    scores = rng.random((len(labels), CLASSES), dtype=np.float32)
    scores[np.arange(len(labels)), labels] += 1
    return scores


def plainly(pool: Pool, version: int | None, reply: bytes, index: int) -> tuple[int, int, bool]:
    """What the reply is, read with the parser alone, value by value."""
    assert pool.labels is not None
    try:
        response = PredictResponse.FromString(reply)
    except DecodeError:
        return UNKNOWN, 0, True
    spec = response.model_spec
    named = spec.version.value if spec.HasField("version") else UNKNOWN
    tensor = response.outputs["scores"]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    kinds = {1: ("float_val", "<f"), 2: ("double_val", "<d"), 3: ("int_val", "<i")}
    if tensor.tensor_shape.unknown_rank or tensor.dtype not in kinds or len(shape) != 2:
        return named, 0, True
    field, code = kinds[tensor.dtype]
    content = tensor.tensor_content
    if content and len(content) % struct.calcsize(code):
        return named, 0, True
    values = [v for (v,) in struct.iter_unpack(code, content)] if content else list(getattr(tensor, field))
    least = int(pool.labels.max()) + 1
    if shape[0] != pool.batch or shape[1] < least or len(values) != shape[0] * shape[1]:
        return named, 0, True
    right = 0
    for row, label in enumerate(pool.labels[index]):
        scores = values[row * shape[1] : (row + 1) * shape[1]]
        if not any(math.isnan(score) for score in scores):
            right += max(range(len(scores)), key=lambda k: scores[k]) == label
    silent = not spec.name and named == UNKNOWN  # one that names neither may be right
    other = spec.name != pool.model or (version is not None and named != version)
    return named, right, other and not silent


def assert_as_plainly(
    checker: Checker, pool: Pool, version: int | None, replies: list[bytes], indices: list[int]
) -> None:
    checked = checker.check(replies, indices)
    expected = [plainly(pool, version, reply, index) for reply, index in zip(replies, indices, strict=True)]
    assert list(zip(*(column.tolist() for column in checked), strict=True)) == expected


# What servers, broken servers and the network may send: built from parts, then perhaps damaged.
numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def any_reply(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    response = PredictResponse()
    response.model_spec.name = draw(st.sampled_from(["mnist", "mnist", "mnist", "other"]))
    version = draw(st.sampled_from([1, 2, 2, 2, None]))
    if version is not None:
        response.model_spec.version.value = version
    for name in draw(st.sampled_from([["scores"], ["scores"], ["scores", "logits"], ["probabilities"], []])):
        shape = draw(
            st.sampled_from(
                [(2, 10), (2, 10), (2, 10), (2, 11), (3, 10), (20,), (2, 0), (-2, -10), (2, 1, 10)]
            )
        )
        count = abs(int(np.prod(shape)))
        tensor = response.outputs[name]
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        kind = draw(st.sampled_from(["float", "float", "content", "double", "both", "short", "int", "zeros"]))
        values = np.random.default_rng(draw(st.integers(0, 99))).normal(size=count).astype("<f4").tolist()
        if values and draw(st.booleans()):
            values[draw(st.integers(0, count - 1))] = draw(numbers)
        tensor.dtype = {"double": 2, "int": 3}.get(kind, 1)
        if kind == "zeros":
            values = [0.0] * count
        if kind == "int":
            tensor.int_val.extend(range(count))
        elif kind == "double":
            tensor.double_val.extend(values)
        elif kind in ("float", "short", "zeros"):
            tensor.float_val.extend(values[: count - (kind == "short")])
        if kind in ("content", "both"):
            tensor.tensor_content = np.array(values, "<f4").tobytes()
            if kind == "both":
                tensor.float_val.append(1.0)
    reply = bytearray(response.SerializeToString())
    damage = draw(st.sampled_from(["none"] * 6 + ["cut", "flip", "twice", "garbage"]))
    if damage == "cut":
        del reply[draw(st.integers(0, len(reply))) :]
    elif damage == "flip" and reply:
        reply[draw(st.integers(0, len(reply) - 1))] ^= 1 << draw(st.integers(0, 7))
    elif damage == "twice":
        reply = reply + reply
    elif damage == "garbage":
        return draw(st.binary(max_size=60))
    return bytes(reply)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(any_reply(), st.integers(0, 15)), max_size=12), st.sampled_from([None, 2]), st.data()
)
def test_every_reply_is_judged_as_a_plain_parser_judges_it(
    asked: list[tuple[bytes, int]], version: int | None, data: st.DataObject
) -> None:
    pool = pool_of(batch=2)
    assert len(pool) >= 16
    checker = Checker(pool, "scores", version)
    again = data.draw(st.lists(st.sampled_from(asked), max_size=12)) if asked else []
    for part in (asked, again):  # the second part meets the layouts that the first has taught
        assert_as_plainly(checker, pool, version, [reply for reply, _ in part], [index for _, index in part])


@pytest.mark.parametrize("batch", [1, 3, 32])
@pytest.mark.parametrize("content", [False, True])
def test_thousands_of_true_replies_of_two_versions(batch: int, content: bool) -> None:
    pool, rng = pool_of(batch), np.random.default_rng(1)
    assert pool.labels is not None
    indices = rng.integers(len(pool), size=3000).tolist()
    versions = rng.integers(1, 3, size=3000)
    wrong = rng.random(3000) < 0.3
    replies = [
        reply_with(
            scores_for((pool.labels[index] + bad) % CLASSES, rng), version=int(version), content=content
        )
        for index, version, bad in zip(indices, versions, wrong, strict=True)
    ]
    checker = Checker(pool, "scores", None)
    for start in range(0, 3000, 500):
        part = slice(start, start + 500)
        checked = checker.check(replies[part], indices[part])
        assert checked.version.tolist() == versions[part].tolist()
        assert checked.correct.tolist() == np.where(wrong[part], 0, batch).tolist()
        assert not checked.mismatched.any()


def test_two_swapped_answers_are_found_by_their_labels() -> None:
    pool, rng = pool_of(), np.random.default_rng(2)
    assert pool.labels is not None
    indices = list(range(len(pool)))
    replies = [reply_with(scores_for(labels, rng)) for labels in pool.labels]
    other = next(i for i in indices if pool.labels[i, 0] != pool.labels[0, 0])
    replies[0], replies[other] = replies[other], replies[0]
    checked = Checker(pool, "scores", 2).check(replies, indices)
    assert sorted(np.flatnonzero(checked.correct == 0)) == sorted([0, other])


def test_one_flipped_answer_in_ten_thousand_is_found_by_labels_and_by_the_other_answers() -> None:
    pool, rng = pool_of(), np.random.default_rng(3)
    assert pool.labels is not None
    idle = [scores_for(labels, rng) for labels in pool.labels]
    indices = rng.integers(len(pool), size=10_000).tolist()
    replies = [reply_with(idle[index]) for index in indices]
    victim = 6789
    label = int(pool.labels[indices[victim], 0])
    flipped = idle[indices[victim]].copy()
    flipped[0, [label, label - 1]] = flipped[0, [label - 1, label]]
    replies[victim] = reply_with(flipped)
    by_label = Checker(pool, "scores", 2).check(replies, indices)
    assert np.flatnonzero(by_label.correct == 0).tolist() == [victim]
    assert not by_label.mismatched.any()
    by_others = Checker(pool, "scores", 2, references=References(len(pool))).check(replies, indices)
    assert np.flatnonzero(by_others.mismatched).tolist() == [victim]


def test_swapped_answers_with_one_label_are_found_by_the_other_answers_only() -> None:
    pool, rng = pool_of(), np.random.default_rng(4)
    assert pool.labels is not None
    idle = [reply_with(scores_for(labels, rng)) for labels in pool.labels]
    first, second = np.flatnonzero(pool.labels[:, 0] == pool.labels[0, 0])[:2].tolist()
    checker = Checker(pool, "scores", 2, references=References(len(pool)))
    assert not checker.check(idle, list(range(len(pool)))).mismatched.any()
    checked = checker.check([idle[second], idle[first]], [first, second])
    assert checked.correct.tolist() == [1, 1]
    assert checked.mismatched.tolist() == [True, True]


def test_a_version_pinned_in_the_pool_is_expected() -> None:
    pool = pool_of(version=1)
    assert pool.labels is not None
    reply = reply_with(scores_for(pool.labels[0], np.random.default_rng(6)), version=2)
    checked = Checker(pool, "scores", None).check([reply], [0])
    assert (checked.version[0], checked.correct[0], checked.mismatched[0]) == (2, 1, True)


def test_replies_that_differ_everywhere_stop_being_studied() -> None:
    """A server that puts another number beside each answer: parsed one by one, and right all the same."""
    pool, rng = pool_of(), np.random.default_rng(7)
    assert pool.labels is not None
    replies, indices = [], rng.integers(len(pool), size=300).tolist()
    for number, index in enumerate(indices):
        response = PredictResponse.FromString(reply_with(scores_for(pool.labels[index], rng)))
        response.outputs["tick"].CopyFrom(tensor_of(np.array([b"%09d" % number])))
        replies.append(response.SerializeToString())
    checked = Checker(pool, "scores", 2).check(replies, indices)
    assert checked.correct.tolist() == [1] * 300
    assert not checked.mismatched.any()


def test_a_new_version_in_each_answer_takes_neither_room_nor_the_names_of_others() -> None:
    pool, rng = pool_of(), np.random.default_rng(8)
    assert pool.labels is not None
    replies = [reply_with(scores_for(pool.labels[0], rng), version=1000 + number) for number in range(700)]
    checker = Checker(pool, "scores", None)
    for part in (replies, replies[::-1]):
        checked = checker.check(part, [0] * 700)
        assert len(set(checked.version.tolist())) == 51
        assert int(checked.mismatched.sum()) == 650
        assert (checked.version[checked.mismatched] == UNKNOWN).all()
    assert checker.causes == {"versions": 1300}
    assert checker.examples["versions"] == "version 1050 answered after 50 others"


def test_answers_of_ever_new_lengths_are_not_all_remembered() -> None:
    """Two of each length, so that what was learned of the first is of use."""
    pool = pool_of()
    checker = Checker(pool, "scores", None)
    for wide in range(10, 700):
        reply = reply_with(np.arange(wide, dtype=np.float32)[np.newaxis])
        for _ in range(2):
            checker.check([reply], [0])
    assert sum(map(len, checker._layouts.values())) <= 256


def test_an_answer_that_takes_its_parser_too_long_is_not_parsed() -> None:
    pool, response = pool_of(), PredictResponse()
    for number in range(60_000):
        response.outputs[f"{number:x}"].dtype = 1
    checker = Checker(pool, "scores", None)
    assert checker.check([response.SerializeToString()] * 2, [0, 1]).mismatched.all()
    assert checker.causes == {"unreadable": 2}
    assert "protobuf fields" in checker.examples["unreadable"]


def test_what_a_wrong_answer_was_is_told_in_few_words() -> None:
    pool = pool_of()
    checker = Checker(pool, "scores", None)
    reply = reply_with(np.zeros((1, CLASSES), np.float32), model="\x1b]0;owned\x07" + "m" * 1_000_000)
    assert checker.check([reply], [0]).mismatched.all()
    assert len(checker.examples["model"]) < 600
    assert checker.examples["model"].isprintable()


def test_no_replies() -> None:
    assert [len(column) for column in Checker(pool_of(), "scores", None).check([], [])] == [0, 0, 0]
