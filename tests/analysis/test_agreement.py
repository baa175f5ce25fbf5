"""Which examples two conditions answer differently: distances, models that differ from themselves, and what is written."""

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bench import BenchError
from bench.analysis.agreement import values
from bench.analysis.agreement.compare import MOST_REPEATED, Answer, Differences, Rule
from bench.analysis.agreement.summary import different, paired_accuracy, plain_values, summary
from bench.runs.answers import ANSWERS, DIFFERENT, Answers

NAN, INF = math.nan, math.inf


def floats(*numbers: float) -> Any:
    return np.array(numbers, np.float32)


def texts(*words: bytes) -> Any:
    made = np.empty(len(words), object)
    made[:] = words
    return made


@pytest.mark.parametrize(
    ("before", "after", "apart"),
    [
        (floats(1, 2), floats(1, 2), 0.0),
        (floats(1, 2), floats(1, 2.5), 0.2),
        (floats(-2), floats(2), 2.0),
        (floats(NAN, 1), floats(NAN, 1), 0.0),
        (floats(NAN), floats(1), INF),
        (floats(INF), floats(INF), 0.0),
        (floats(INF), floats(-INF), INF),
        (floats(INF), floats(3), INF),
        (floats(0), floats(-0.0), 0.0),
        (floats(0), floats(1e-9), 1e-7),  # beside values around 1 it is as good as nothing
        (floats(1), np.array([1.5]), 1 / 3),  # another width of the same kind
        (floats(1), np.array([1]), INF),
        (floats(1), floats(1, 1), INF),
        (floats(1), np.float32(1), INF),  # a row, and a single value
        (np.array([3, 4]), np.array([3, 4]), 0.0),
        (np.array([3, 4]), np.array([4, 3]), INF),
        (np.array([3], np.int64), np.array([3], np.int32), 0.0),
        (np.array([2**63], np.uint64), np.array([2**63], np.uint64), 0.0),
        (np.array([True]), np.array([False]), INF),
        (texts(b"a", b"b"), texts(b"a", b"b"), 0.0),
        (texts(b"a"), texts(b"a\0"), INF),
        (np.array([1 + 1j], np.complex64), np.array([1 + 1j], np.complex64), 0.0),
        (np.array([1j], np.complex64), np.array([-1j], np.complex64), 2.0),
        (np.array([1], ml_dtypes.bfloat16), np.array([1.5], ml_dtypes.bfloat16), 1 / 3),
        (np.array([1], np.float16), np.array([1], np.float16), 0.0),
        (np.array([3], ml_dtypes.int4), np.array([3], ml_dtypes.int4), 0.0),
        (np.array([3], ml_dtypes.int4), np.array([4], ml_dtypes.int4), INF),
        (np.array([3], [("qint8", "i1")]), np.array([3], [("qint8", "i1")]), 0.0),
        (np.array([3], [("qint8", "i1")]), np.array([4], [("qint8", "i1")]), INF),
        (np.empty((0, 3), np.float32), np.empty((0, 3), np.float32), 0.0),
    ],
)
def test_how_far_two_values_are_apart(before: Any, after: Any, apart: float) -> None:
    assert values.distance(before, after, floor=0.01) == pytest.approx(apart)
    assert values.distance(after, before, floor=0.01) == pytest.approx(apart)


def test_the_floor_is_of_the_finite_values_and_the_limit_of_the_dtype() -> None:
    assert values.floor_of([floats(3, NAN), floats(-4, INF)]) == pytest.approx(0.01 * math.sqrt(12.5))
    assert values.floor_of([]) == 0
    assert values.limit_of(floats(1), 1e-3) == 1e-3
    assert values.limit_of(np.array([1], ml_dtypes.bfloat16), 1e-3) == 2**-6
    assert values.limit_of(np.array([1]), 0.0) == 0


def test_the_best_of_scores_and_of_ids() -> None:
    assert values.best(floats(1, NAN, 3, 3), 3) == [2, 3, 0]
    assert values.best(np.array([7, 5, 9]), 2) == [7, 5]
    assert values.best(texts(b"x", b"y"), 1) == [b"x"]
    assert values.best_distance(floats(1, 5, 4), floats(0, 4, 5), 2) == 0
    assert values.best_distance(floats(1, 5, 4), floats(9, 4, 5), 2) == INF
    assert values.overlap(np.array([1, 2, 3]), np.array([3, 9, 2]), 3) == pytest.approx(2 / 3)


def scores(*numbers: float) -> list[Answer]:
    return [{"score": floats(number)} for number in numbers]


def asked_again(answer: Callable[[int, int], Answer]) -> Callable[[Sequence[int]], Any]:
    """answer: of an example's number and the side."""
    return lambda chosen: {number: (answer(number, 0), answer(number, 1)) for number in chosen}


def test_one_of_a_thousand_is_found_and_shown() -> None:
    before = scores(*range(1, 1001))
    after = [dict(each) for each in before if not isinstance(each, str)]
    after[417] = {"score": floats(9.0)}
    found = Differences(before, after, Rule())
    found.repeat(asked_again(lambda number, side: (before, after)[side][number]))
    assert (found.count, found.suspected, found.worst) == (1, [417], [417])
    assert 417 in found.repeated
    assert (found.unsteady(0), found.unsteady(1)) == (0, 0)
    answers = summary(found, before="Version 6", after="Version 7", origin="x", examples=1000)
    assert answers.agreement == pytest.approx(0.999)
    assert (answers.outputs[0].differing, answers.largest_output) == (1, "score")
    (row,) = different(found, list(range(1000)), "Version 6", "Version 7")
    assert row == {
        "example": 417,
        "cause": "values",
        "output": "score",
        "relative_difference": pytest.approx(1 - 9 / 418),
        "Version 6": {"score": [418.0]},
        "Version 7": {"score": [9.0]},
    }


@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_draws_lots_does_not_differ_from_its_like(seed: int) -> None:
    rng = random.Random(seed)

    def answer(_number: int, _side: int) -> Answer:
        return {"id": np.array([rng.randrange(2)])}

    sides = [[answer(number, side) for number in range(400)] for side in (0, 1)]
    found = Differences(sides[0], sides[1], Rule(), seed=seed)
    assert len(found.suspected) > 150
    answered = asked_again(answer)
    # time that was up after some: the others are suspected still, and no examples to show
    found.repeat(lambda chosen: answered(chosen[:20]))
    assert set(found.worst) <= set(found.repeated)
    found.repeat(answered)
    # half of 200 would be called different by the first answers; 0.003 % are by eight each
    assert found.count <= 1
    assert min(found.unsteady(0), found.unsteady(1)) > 100


@pytest.mark.parametrize("seed", range(5))
def test_beyond_noise_a_difference_shows_all_the_same(seed: int) -> None:
    rng = random.Random(seed)

    def answer(number: int, side: int) -> Answer:
        moved = 0.5 if side and number in (3, 77) else 0.0
        return {"score": floats(1 + moved + rng.gauss(0, 0.01))}

    sides = [[answer(number, side) for number in range(200)] for side in (0, 1)]
    found = Differences(sides[0], sides[1], Rule(), seed=seed)
    found.repeat(asked_again(answer))
    assert {3, 77} <= {number for number in found.suspected if found.differs(number)}
    assert found.count <= 3
    assert found.unsteady(0) > 100


def test_of_very_many_suspected_examples_some_are_asked_again() -> None:
    before, after = scores(*[1.0] * 600), scores(*[2.0] * 600)
    found = Differences(before, after, Rule())
    asked: list[int] = []

    def again(chosen: Sequence[int]) -> Mapping[int, tuple[Answer, Answer]]:
        asked.extend(chosen)
        # half of them turn out to be one condition's noise
        return {n: (before[n], (before if n % 2 else after)[n]) for n in chosen}

    found.repeat(again)
    assert len(set(asked)) == MOST_REPEATED
    assert 200 < found.count < 400


def test_time_that_is_up_leaves_the_first_answers() -> None:
    found = Differences(scores(1, 2), scores(1, 3), Rule())
    found.repeat(lambda _chosen: {})
    assert (found.count, found.worst) == (1, [1])


def test_missing_outputs_shapes_dtypes_and_errors_have_names() -> None:
    before: list[Answer] = [
        {"a": floats(1), "b": floats(1)},
        {"a": floats(1), "b": floats(1)},
        {"a": floats(1), "b": floats(1)},
        "INTERNAL: broken",
        {"a": floats(1), "b": floats(1)},
    ]
    after: list[Answer] = [
        {"a": floats(1), "c": floats(1)},
        {"a": floats(1, 2), "b": floats(1)},
        {"a": np.array([1]), "b": floats(1)},
        "INTERNAL: broken",
        "DEADLINE_EXCEEDED: late",
    ]
    found = Differences(before, after, Rule())
    assert [each.cause for each in found.first] == ["missing output", "shape", "dtype", "values", "no answer"]
    assert found.suspected == [0, 1, 2, 4]
    assert found.notes("Version 6", "Version 7") == ["Version 6 lacks output c, which Version 7 has"]
    answers = summary(found, before="Version 6", after="Version 7", origin="x", examples=5)
    assert (answers.compared, answers.differing) == (4, 4)
    assert (answers.failed_before, answers.failed_after) == (1, 2)
    assert answers.failure_after == "INTERNAL: broken"
    assert answers.outputs[0].note == "dtype float32 and int64, shape [1] and [2]"
    only_b = Differences(before, after, Rule(outputs=("b",)))
    assert only_b.suspected == [0, 4]


def test_rankings() -> None:
    before: list[Answer] = [{"scores": floats(*range(30)), "ids": np.arange(30)} for _ in range(4)]
    after: list[Answer] = [
        {"scores": floats(*range(30)) + 0.4, "ids": np.arange(30)},
        {"scores": floats(*range(29), 0), "ids": np.arange(30)},  # the best one is now the last
        {"scores": floats(*range(30)), "ids": np.roll(np.arange(30), 1)},
        {"scores": floats(*range(30)), "ids": np.arange(30)},
    ]
    found = Differences(before, after, Rule())
    assert found.suspected == [0, 1, 2]
    by_name = {each.output: each for each in found.by_output()}
    assert (by_name["scores"].first, by_name["scores"].top) == (3, 10)
    assert by_name["scores"].overlap == pytest.approx(1 - 0.1 / 4)
    assert (by_name["ids"].first, by_name["ids"].overlap) == (3, pytest.approx(1 - 0.1 / 4))
    assert Differences(before, after, Rule(top=5)).suspected == [1, 2]


def test_the_worst_ten_are_written_and_inputs_only_where_they_are_wanted(tmp_path: Path) -> None:
    before, after = scores(*[1.0] * 15), scores(*[1 + number / 10 for number in range(15)])
    found = Differences(before, after, Rule())
    answers = summary(found, before="a", after="b", origin="file", examples=15)
    answers.write(tmp_path, different(found, list(range(100, 115)), "a", "b"))
    rows = [json.loads(line) for line in (tmp_path / DIFFERENT).read_text().splitlines()]
    assert [row["example"] for row in rows] == list(range(114, 104, -1))
    assert not any("inputs" in row for row in rows)
    assert Answers.read(tmp_path) == answers
    (row, *_) = different(found, list(range(15)), "a", "b", [{"text": texts(b"secret")}] * 15)
    assert row["inputs"] == {"text": ["secret"]}


def test_a_folder_of_somebody_else_is_read_with_care(tmp_path: Path) -> None:
    assert Answers.read(tmp_path) is None
    for content in ("{", "[]", '{"schema": 1}', "nul"):
        (tmp_path / ANSWERS).write_text(content)
        with pytest.raises(BenchError, match=ANSWERS):
            Answers.read(tmp_path)


def test_values_as_json_has_them() -> None:
    assert plain_values(floats(1, NAN, INF)) == [1.0, "NaN", "Infinity"]
    assert plain_values(texts(b"a", b"\xff")) == ["a", {"hex": "ff"}]
    assert plain_values(np.array(3)) == 3
    assert plain_values(np.array([1], ml_dtypes.bfloat16)) == [1.0]
    assert plain_values(np.array([3], [("qint8", "i1")])) == [3]
    assert plain_values(np.zeros(5000, np.int8)) == {"first": [0] * 1000, "values": 5000}
    json.dumps(plain_values(np.array([1j])))


def test_labels_met_by_both() -> None:
    seen = paired_accuracy([True, True, False, None, False], [True, False, True, True, False])
    assert (seen.examples, seen.right_before, seen.right_after) == (4, 2, 2)
    assert (seen.only_before, seen.only_after) == (1, 1)
