"""A question that gets another answer than before is noticed."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.load.checking import references
from bench.load.checking.references import References

MESSAGES, BATCH, VALUES = 20, 2, 5


def truth(seed: int = 1) -> np.ndarray:
    """[messages, batch, values]"""
    return np.random.default_rng(seed).random((MESSAGES, BATCH, VALUES), dtype=np.float32)


def wrong(found: References, version: int | None, messages: np.ndarray, values: np.ndarray) -> list[int]:
    return np.flatnonzero(~found.same(version, messages, values)).tolist()


@settings(max_examples=100, deadline=None)
@example(176, 11, {43})  # the first two answers to its message come together
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sets(st.integers(0, 399), max_size=1))
def test_one_wrong_answer_is_found_wherever_it_stands(seed: int, at_once: int, victims: set[int]) -> None:
    rng = np.random.default_rng(seed)
    right = truth()
    order = np.concatenate([rng.permutation(MESSAGES) for _ in range(20)])
    answers = right[order]
    for victim in victims:
        answers[victim, 1] += 1
    found = References(MESSAGES)
    told = 0
    for start in range(0, len(order), at_once):
        part = slice(start, start + at_once)
        told += len(wrong(found, 7, order[part], answers[part]))
    # of a message's first answers nobody can say which is wrong
    early = any(victim < 2 * MESSAGES for victim in victims)
    assert told in ((1, 2, 3) if early else (len(victims),))


def test_one_wrong_value_of_one_example_is_found() -> None:
    right, found = truth(), References(MESSAGES)
    every = np.arange(MESSAGES)
    for _ in range(2):
        assert found.same(1, every, right).all()
    bad = right.copy()
    bad[3, 1, 4] += 0.5
    assert wrong(found, 1, every, bad) == [3]


def test_versions_have_answers_of_their_own() -> None:
    found, every = References(MESSAGES), np.arange(MESSAGES)
    for version, seed in ((1, 1), (2, 2), (None, 3), (1, 1), (2, 2), (None, 3)):
        assert wrong(found, version, every, truth(seed)) == []
    assert wrong(found, 1, every, truth(2)) == list(range(MESSAGES))


def test_last_digits_may_differ_and_no_more() -> None:
    found, every, right = References(MESSAGES, tolerance=1e-4), np.arange(MESSAGES), truth()
    for moved, expected in ((0.0, []), (5e-5, []), (5e-4, list(range(MESSAGES)))):
        assert wrong(found, 1, every, right + np.float32(moved)) == expected


def test_nan_where_nan_was_is_no_change() -> None:
    found, right = References(MESSAGES), truth()
    right[4, 0, 2] = np.nan
    for _ in range(2):
        assert wrong(found, 1, np.arange(MESSAGES), right) == []


def test_texts_have_to_be_equal() -> None:
    found = References(2)
    texts = np.array([[[b"cat"], [b"dog"]], [[b"cow"], [b"hen"]]], object)
    every = np.arange(2)
    assert wrong(found, 1, every, texts) == wrong(found, 1, every, texts.copy()) == []
    assert wrong(found, 1, every, texts[::-1]) == [0, 1]


def test_outputs_may_have_a_shape_for_each_message_but_keep_it() -> None:
    found, long, short = References(2), truth()[:1], truth()[:1, :, :3]
    for _ in range(3):
        assert wrong(found, 1, np.array([0]), long) == []
        assert wrong(found, 1, np.array([1]), short) == []
    assert wrong(found, 1, np.array([0]), short) == [0]


def test_each_message_may_have_as_many_values_as_it_likes() -> None:
    """Indices of the boxes found, [k]: a k for each message, none at all for some."""
    found = References(6)
    answers = [np.arange(k, dtype=np.int64) for k in (2, 0, 2, 5, 0, 1)]
    for _ in range(3):
        for index, values in enumerate(answers):
            assert wrong(found, 1, np.array([index]), values[np.newaxis]) == []
    assert found.settled(1, np.arange(6), np.zeros((6, 2), np.int64)).all()
    for index, other in ((0, 3), (1, 1), (3, 2), (5, 0)):
        assert wrong(found, 1, np.array([index]), np.arange(other, dtype=np.int64)[np.newaxis]) == [0]
    flipped = answers[3][::-1].copy()
    assert wrong(found, 1, np.array([3]), flipped[np.newaxis]) == [0]
    assert wrong(found, 1, np.array([3]), answers[3].astype(np.int32)[np.newaxis]) == [0]


def test_scalars_and_empty_answers_are_compared() -> None:
    found, every = References(3), np.arange(3)
    for _ in range(2):
        assert wrong(found, 1, every, np.array([1.0, 2.0, 3.0], np.float32)) == []
    assert wrong(found, 1, every, np.array([1.0, 2.5, 3.0], np.float32)) == [1]
    nothing = References(3)
    for _ in range(2):
        assert wrong(nothing, 1, every, np.zeros((3, 0, 4), np.float32)) == []


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float8_e5m2", "float8_e4m3fn", "int4", "uint8", "bool", "complex64"]
)
def test_every_dtype_is_compared_with_its_own_precision(dtype: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    found, every = References(2), np.arange(2)
    right = np.array([[0, 1, 1], [1, 0, 1]]).astype(kind)
    for _ in range(2):
        assert wrong(found, 1, every, right) == []
    other = right.copy()
    other[1, 1] = kind.type(1)
    assert wrong(found, 1, every, other) == [1]
    if kind.name in ("bfloat16", "float16"):
        step = float(ml_dtypes.finfo(kind).eps)
        assert wrong(found, 1, every, (right.astype(np.float32) * (1 + step)).astype(kind)) == []


def test_large_answers_are_compared_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    right = truth()
    monkeypatch.setattr(references, "KEPT_BYTES", 5 * right[0].nbytes)
    found, every = References(MESSAGES), np.arange(MESSAGES)
    for _ in range(2):
        assert wrong(found, 1, every, right) == []
    assert wrong(found, 1, every, right + 1) == [0, 1, 2, 3, 4]


def test_of_many_versions_the_newest_are_known() -> None:
    found, every = References(MESSAGES), np.arange(MESSAGES)
    for version in range(10):
        found.same(version, every, truth(version))
    assert wrong(found, 9, every, truth(1)) == list(range(MESSAGES))
    assert wrong(found, 0, every, truth(1)) == [], "forgotten, so this is the first answer again"
