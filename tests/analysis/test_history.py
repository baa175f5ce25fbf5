"""Change points of series whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from bench.analysis.judging.history import accepted, change_points, history, points_of
from bench.analysis.statistics.step import DRIFTING, FEWEST, PHI, SECOND_CUT, Floats, strongest_steps
from tests.analysis.simulated import BASE, trial
from tests.benchmarks.history_errors import NOISES


def plain_statistic(values: Floats, first: int, last: int, phi: float) -> tuple[float, float]:
    """Residual sums of squares without and with a shift in a stretch, by least squares on the AR(1) covariance."""
    count = len(values)
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    inverse = np.linalg.inv(phi**distance / (1 - phi * phi))
    inside = (np.arange(count) >= first) & (np.arange(count) < last)

    def residual(design: Floats) -> float:
        fit = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ values)
        rest = values - design @ fit
        return float(rest @ inverse @ rest) * (1 - phi * phi) ** (-1 / count)

    ones = np.ones((count, 1))
    return residual(ones), residual(np.column_stack([ones, inside]))


def test_the_statistic_is_that_of_generalised_least_squares() -> None:
    rng = np.random.default_rng(1)
    for count in (6, 9, 14):
        values = rng.normal(size=count)
        stretches = [
            (first, last)
            for first in range(FEWEST, count)
            for last in range(first + FEWEST, count + 1)
            if not 0 < count - last < FEWEST
        ]
        sums = [[plain_statistic(values, *each, phi) for phi in PHI] for each in stretches]
        without = min(of_phi[0] for of_phi in sums[0])
        statistics = [
            max(
                count * np.log(without / shifted) - DRIFTING * phi - SECOND_CUT * (last < count)
                for phi, (_, shifted) in zip(PHI, each, strict=True)
            )
            for (_, last), each in zip(stretches, sums, strict=True)
        ]
        found, first, last = strongest_steps(values[None, :])
        assert found[0] == pytest.approx(max(statistics))
        assert (first[0], last[0]) == stretches[int(np.argmax(statistics))]


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


@pytest.mark.parametrize("noise", ["independent", "AR(1) 0.7", "log-normal, sd 1", "one run in 8 hit"])
def test_chance_is_called_a_change_in_one_of_20_series_at_the_most(noise: str) -> None:
    rng = np.random.default_rng(3)
    wrong = sum(bool(change_points(NOISES[noise](rng, 30))) for _ in range(80))
    assert wrong <= 8  # 5 % of 80 is 4; more than 8 come by chance once in 50 times


@pytest.mark.parametrize(("count", "series"), [(20, 200), (30, 40)])
def test_a_step_of_5_percent_at_1_percent_noise_is_found_19_times_in_20(count: int, series: int) -> None:
    rng = np.random.default_rng(8)
    found, middle = 0, count // 2
    for _ in range(series):
        values = np.concatenate([rng.normal(1.0, 0.01, middle), rng.normal(1.05, 0.01, middle)])
        found += any(abs(at - middle) <= 2 for at, _ in change_points(values))
    assert found >= 0.95 * series


def test_many_metrics_and_cells_without_a_change_are_judged_together() -> None:
    rng = np.random.default_rng(9)
    names = ["p50", "p99", "requests_per_second", "accuracy"]
    alarms = 0
    for _ in range(10):
        groups = {
            BASE._replace(batch=batch): [
                trial(BASE, {name: float(np.exp(0.1 * rng.standard_normal())) for name in names}, number=at)
                for at in range(24)
            ]
            for batch in range(5)
        }
        alarms += bool(history(groups, names))
    assert alarms <= 2
    assert accepted([0.001, 0.02, 0.5, 0.9]) == pytest.approx(0.025)
    assert accepted([0.02, 0.03, 0.5, 0.9]) == 0.0


@pytest.mark.parametrize(("step", "least", "changes"), [(1.015, None, 0), (1.015, 0.01, 1), (1.05, None, 1)])
def test_changes_below_the_least_size_are_not_reported(
    step: float, least: float | None, changes: int
) -> None:
    rng = np.random.default_rng(10)
    values = 0.002 * np.exp(0.001 * rng.standard_normal(40)) * np.where(np.arange(40) < 20, 1.0, step)
    trials = [trial(BASE, {"p50": float(value)}, number=at) for at, value in enumerate(values)]
    assert len(history({BASE: trials}, ["p50"], least=least)) == changes


def test_trials_of_one_experiment_are_one_point() -> None:
    """Eight trials each of six experiments, which differ by the day's luck: six points, not 48."""
    rng = np.random.default_rng(12)
    trials = [
        trial(
            BASE, {"p50": 0.002 * day * float(np.exp(0.001 * rng.standard_normal()))}, number=8 * number + at
        )
        for number, day in enumerate(np.exp(0.1 * rng.standard_normal(6)))
        for at in range(8)
    ]
    grouped = [replace(each, block=(f"experiment {at // 8}", at % 8)) for at, each in enumerate(trials)]
    assert [len(point) for point in points_of(grouped, "p50")] == [8] * 6
    assert history({BASE: grouped}, ["p50"]) == []


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


def test_a_percentile_that_is_not_reached_any_more_is_worse() -> None:
    """More than 1 % of the requests got no answer from trial 12 on, and from 24 on they did again."""
    rng = np.random.default_rng(7)
    trials = [
        trial(
            BASE,
            {"p99": np.inf if 12 <= number < 24 else 0.004 * float(np.exp(0.01 * rng.standard_normal()))},
            number=number,
        )
        for number in range(36)
    ]
    broke, mended = history({BASE: trials}, ["p99"])
    assert (broke.first.path.name, broke.worse, broke.after) == ("012", True, np.inf)
    assert (mended.first.path.name, mended.worse, mended.before) == ("024", False, np.inf)
    assert broke.before == pytest.approx(0.004, rel=0.02)
    assert history({BASE: [replace(each, values={"p99": np.inf}) for each in trials]}, ["p99"]) == []
