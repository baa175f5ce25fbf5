"""The end of the warm-up and the trend after it, on series whose truth is known."""

import math

import numpy as np
import pytest

from bench.warmup import FEWEST, batch_size, mser, trend

LENGTHS = [20, 60, 300]


def brute_force(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> int:
    """The rule as it is written, without sums that are updated."""
    size = batch_size(len(values))
    over = len(values) % size
    means = values[over:].reshape(-1, size).mean(axis=1)
    n = len(means)
    cost = [((means[d:] - means[d:].mean()) ** 2).sum() / (n - d) ** 2 for d in range(n // 2 + 1)]
    cut = int(np.argmin(cost))
    return over + cut * size if cut else 0


@pytest.mark.parametrize("length", [8, 13, *LENGTHS])
def test_the_cut_is_the_one_of_the_formula(length: int) -> None:
    rng = np.random.default_rng(length)
    for _ in range(50):
        values = 1e6 + rng.standard_normal(length) + rng.uniform(0, 5) * np.exp(-np.arange(length) / 4)
        found = mser(values)
        assert found is not None
        assert found.at == brute_force(values)


@pytest.mark.parametrize("length", [60, 300])
def test_a_warm_up_is_cut_and_little_more(length: int) -> None:
    rng = np.random.default_rng(1)
    cuts = []
    for _ in range(100):
        values = 1 + 0.02 * rng.standard_normal(length)
        values[:8] += np.linspace(3, 1, 8)
        found = mser(values)
        assert found is not None
        cuts.append(found.at)
    assert min(cuts) >= 8
    assert np.median(cuts) <= 15


def test_a_steady_series_loses_little() -> None:
    rng = np.random.default_rng(2)
    cuts = [mser(1 + 0.05 * rng.standard_normal(300)) for _ in range(200)]
    assert np.mean([cut.at for cut in cuts if cut]) < 0.05 * 300
    assert mser(np.ones(50)) == (0, True)


def test_a_series_that_never_settles_says_so() -> None:
    found = mser(np.linspace(1, 3, 200))
    assert found is not None
    assert not found.settled


@pytest.mark.parametrize("values", [[], [1.0] * (FEWEST - 1), [1.0] * 20 + [math.nan], [math.inf] * 10])
def test_what_cannot_be_judged(values: list[float]) -> None:
    assert mser(values) is None
    assert trend(values) is None


@pytest.mark.parametrize("length", LENGTHS)
def test_a_trend_is_found_with_its_size(length: int) -> None:
    rng = np.random.default_rng(3)
    found = trend(1 + 0.3 * np.arange(length) / length + 0.03 * rng.standard_normal(length))
    assert found is not None
    assert found.change == pytest.approx(0.3, abs=0.06)
    assert found.p < 0.001
    falling = trend(-np.arange(length) / length + 2)
    assert falling is not None
    assert falling.change == pytest.approx(-0.5, abs=0.05)


def test_a_change_is_a_ratio_of_what_was_there_and_never_below_nothing() -> None:
    # a median latency that falls from 100 to 1 within a third of the run: the slope times the length is beyond -100 %
    decay = 1 + 99 * np.exp(-np.arange(60) / 8)
    found = trend(decay)
    assert found is not None
    assert -1 < found.change < -0.5
    rising = trend(decay[::-1])
    assert rising is not None
    assert 1 < rising.change <= 10
    from_nothing = trend(np.maximum(0.0, np.arange(60) - 20.0))
    assert from_nothing is not None
    assert 1 < from_nothing.change <= 10


@pytest.mark.parametrize("length", LENGTHS)
def test_chance_is_called_a_trend_as_often_as_it_says(length: int) -> None:
    rng = np.random.default_rng(4)
    found = [trend(rng.lognormal(0, 0.5, length)) for _ in range(1000)]
    share = np.mean([t is not None and t.p < 0.05 for t in found])
    assert 0.02 < share < 0.07


def test_mann_kendall_reference() -> None:
    # n = 10 without ties: variance 10 * 9 * 25 / 18 = 125, z = 16 / sqrt(125) = 1.4311
    values = [4, 7, 3, 9, 8, 10, 5, 12, 11, 6]
    s = sum(np.sign(values[j] - values[i]) for i in range(10) for j in range(i + 1, 10))
    assert s == 17
    found = trend(values)
    assert found is not None
    assert found.p == pytest.approx(0.15240, abs=1e-4)
    assert trend([5.0] * 10) == (0.0, 1.0)
