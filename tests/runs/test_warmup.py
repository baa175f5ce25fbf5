"""The end of the warm-up and the trend after it, on series whose truth is known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from bench.runs.warmup import FEWEST, Part, Seconds, excess, transient, trend
from tests.benchmarks.warm_up import campaign

LENGTHS = [20, 60, 300]


def seconds(median: Sequence[float], quick: Sequence[float] = (), load: Sequence[float] = ()) -> Seconds:
    middle = np.asarray(median, dtype=float)
    return Seconds(
        np.asarray(load, dtype=float) if len(load) else np.full(len(middle), 100.0),
        np.asarray(quick, dtype=float) if len(quick) else middle / 2,
        middle,
    )


CALM = [1.0, 1.02, 0.99, 1.01, 0.98] * 10


@pytest.mark.parametrize(
    ("what", "found", "expected"),
    [
        ("steady", seconds(CALM), (0, True)),
        ("all equal", seconds([1.0] * 50), (0, True)),
        ("a slow first second", seconds([3.0, *CALM]), (1, True)),
        ("a decay", seconds([8, 4, 2, 1.5, 1.2, *CALM]), (5, True)),
        ("up to the cap of 10 s", seconds([*np.linspace(3, 2, 10), *CALM]), (10, True)),
        ("beyond it", seconds([*np.linspace(3, 2, 11), *CALM]), (10, False)),
        ("beyond a fifth", seconds([5, 4, 3, 2, *CALM[:10]]), (2, False)),
        ("a stall in the second second", seconds([1.0, 9.0, *CALM]), (0, True)),
        ("a stall within a decay", seconds([4.0, 2.0, 9.0, 1.5, *CALM]), (2, True)),
        ("a stall for a part of the first second", seconds([9.0, *CALM], quick=[0.5, *CALM[:50]]), (0, True)),
        ("a stall later", seconds([*CALM, 9.0, *CALM]), (0, True)),
        ("a second without an answer", seconds([math.nan, *CALM]), (0, True)),
        ("users that arrive", seconds(CALM, load=[10, 40, 70, *[100] * 47]), (3, True)),
        ("users that leave", seconds(CALM, load=[200, 150, 120, *[100] * 47]), (0, True)),
        ("too short for any", seconds([9.0, 1.0, 1.0, 1.0]), (0, True)),
        ("nothing", seconds([]), (0, True)),
    ],
)
def test_warm_up_is_a_monotone_transient_at_the_start(
    what: str, found: Seconds, expected: tuple[int, bool]
) -> None:
    assert transient(found) == expected, what


def test_no_stall_is_hidden_and_no_steady_run_cut() -> None:
    shares = campaign(12, seed=5)
    assert shares["stalls hidden"] == 0
    assert shares["steady: cut on average"] <= 0.02
    assert min(share for name, share in shares.items() if name.endswith(": cut")) >= 0.9


REST = Part(median=0.005, p99=0.02, longest=0.05, failed=0.0)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (REST, None),
        (Part(0.04, 0.15, 0.4, 0.0), None),  # eight times as slow, all of it
        (Part(0.005, 0.02, 0.7, 0.0), "slow"),  # a stall while users arrive: few requests, all of them held
        (Part(0.4, 0.7, 0.7, 0.0), "slow"),  # a stall as long as what is cut
        (Part(0.005, math.inf, 0.05, 0.02), "failed"),
        (Part(0.005, 0.02, 0.05, 0.0009), None),
    ],
)
def test_what_a_transient_does_not_explain(part: Part, expected: str | None) -> None:
    assert excess(part, REST) == expected


@pytest.mark.parametrize("values", [[], [1.0] * (FEWEST - 1), [1.0] * 20 + [math.nan], [math.inf] * 10])
def test_what_cannot_be_judged(values: list[float]) -> None:
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
