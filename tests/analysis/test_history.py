"""Change points of series whose truth is known."""

import numpy as np
import pytest

from bench.analysis.history import FEWEST, change_points, history
from tests.analysis.simulated import BASE, trial


def plain_strength(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", cut: int) -> float:
    """The paper's formula with loops."""
    left, right = values[:cut], values[cut:]
    n, m = len(left), len(right)
    across = np.mean([abs(x - y) for x in left for y in right])
    inside = [np.mean([abs(s[i] - s[j]) for i in range(len(s)) for j in range(i)]) for s in (left, right)]
    return float(n * m / (n + m) * (2 * across - sum(inside)))


def test_the_strongest_cut_is_the_one_of_the_formula() -> None:
    from bench.analysis.history import _strongest

    rng = np.random.default_rng(1)
    for _ in range(20):
        values = rng.normal(size=int(rng.integers(8, 25)))
        cuts = range(FEWEST, len(values) - FEWEST + 1)
        expected = max(cuts, key=lambda cut: plain_strength(values, cut))
        at, strength = _strongest(values)
        assert at == expected
        assert strength == pytest.approx(plain_strength(values, expected))


def test_changes_are_found_where_they_are() -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        series = np.concatenate([rng.normal(m, 0.02, 15) for m in (1.0, 1.15, 1.0)])
        found = [at for at, _ in change_points(series)]
        assert len(found) == 2
        assert abs(found[0] - 15) <= 1
        assert abs(found[1] - 30) <= 1


def test_chance_is_rarely_called_a_change() -> None:
    rng = np.random.default_rng(3)
    wrong = sum(bool(change_points(rng.lognormal(0, 0.1, 24), seed=seed)) for seed in range(100))
    assert wrong <= 6  # 2 expected


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
