"""Change points of series whose truth is known."""

import numpy as np
import pytest

from bench.analysis.history import FEWEST, _strongest, change_points, history
from tests.analysis.simulated import BASE, trial


def plain_strength(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", first: int, last: int) -> float:
    """The paper's formula with loops."""
    stretch, rest = values[first:last], np.concatenate([values[:first], values[last:]])
    n, m = len(stretch), len(rest)
    across = np.mean([abs(x - y) for x in stretch for y in rest])
    inside = [np.mean([abs(s[i] - s[j]) for i in range(len(s)) for j in range(i)]) for s in (stretch, rest)]
    return float(n * m / (n + m) * (2 * across - sum(inside)))


def test_the_strongest_stretch_is_the_one_of_the_formula() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        values = rng.normal(size=int(rng.integers(8, 15)))
        count = len(values)
        strengths = [
            plain_strength(values, first, last)
            for first in range(count)
            for last in range(first + FEWEST, count + 1)
            if count - (last - first) >= FEWEST and not 0 < first < FEWEST and not 0 < count - last < FEWEST
        ]
        first, last, strength = _strongest(np.abs(values[:, None] - values[None, :]))
        assert strength == pytest.approx(max(strengths))
        assert strength == pytest.approx(plain_strength(values, first, last))


def test_changes_are_found_where_they_are() -> None:
    rng = np.random.default_rng(2)
    exact = 0
    for _ in range(10):
        series = np.concatenate([rng.normal(m, 0.02, 15) for m in (1.0, 1.15, 1.0)])
        found = [at for at, _ in change_points(series)]
        assert {15, 30} <= set(found)
        exact += len(found) == 2
    assert exact >= 8


def test_what_was_mended_soon_is_found_too() -> None:
    rng = np.random.default_rng(6)
    found = 0
    for _ in range(10):
        series = np.concatenate([rng.normal(m, 0.02, n) for m, n in ((1.0, 10), (1.15, 5), (1.0, 10))])
        found += [at for at, _ in change_points(series)] == [10, 15]
    assert found >= 8


def test_chance_is_rarely_called_a_change() -> None:
    rng = np.random.default_rng(3)
    wrong = sum(bool(change_points(rng.lognormal(0, 0.1, 24), seed=seed)) for seed in range(50))
    assert wrong <= 4  # 1 expected at the most


def test_one_wild_run_is_no_change() -> None:
    rng = np.random.default_rng(4)
    series = rng.normal(1.0, 0.01, 30)
    series[14] = 3.0
    assert change_points(series) == []


@pytest.mark.parametrize("values", [[], [1.0] * (2 * FEWEST - 1), [2.0] * 40])
def test_too_few_or_equal_values_never_change(values: list[float]) -> None:
    assert change_points(values) == []


def test_the_first_worse_run_is_named() -> None:
    rng = np.random.default_rng(5)
    trials = []
    for number in range(30):
        slower = 1.2 if number >= 18 else 1.0
        values = {
            "p50": 0.002 * slower * float(np.exp(0.01 * rng.standard_normal())),
            "requests_per_second": 1000
            * (1.3 if number >= 10 else 1.0)
            * float(np.exp(0.01 * rng.standard_normal())),
            "accuracy": 0.93,
        }
        trials.append(trial(BASE, values if number != 5 else {"accuracy": 0.93}, number=number))
    found = history({BASE: trials}, ["p50", "requests_per_second", "accuracy"])
    assert [(point.metric.name, point.first.path.name, point.worse) for point in found] == [
        ("requests_per_second", "010", False),
        ("p50", "018", True),
    ]
    assert found[1].after / found[1].before == pytest.approx(1.2, rel=0.02)
