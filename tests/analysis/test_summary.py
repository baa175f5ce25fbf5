"""The trials of each cell of an experiment, taken together."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from matplotlib.figure import Figure

from bench.analysis.grouping.groups import Member, groups, mean_and_interval, plain
from bench.analysis.grouping.identity import Identity
from bench.analysis.showing import best
from bench.analysis.showing.plot import Points, against
from bench.analysis.showing.report import Report
from bench.analysis.showing.summary import summary


def trial(batch: int, block: int | None, rate: float) -> Member:
    return Member(
        identity=Identity("mnist", "Predict", "embedded", "cpu", "mnist", 2, batch, "4 users"),
        block=None if block is None else ("folder", block),
        values={
            "requests_per_second": rate,
            "inferences_per_second": rate * batch,
            "p50": 1e-3,
            "p99": math.nan,
        },
        has_warnings=batch == 16,
    )


def test_the_interval_is_students_t_on_logarithms() -> None:
    # logarithms 1, 2, 3, 4: mean 2.5, standard error sqrt(5/3)/2, t(0.975, 3) = 3.182446
    mean, low, high = mean_and_interval([math.e**power for power in (1, 2, 3, 4)])
    assert mean == pytest.approx(math.e**2.5)
    half = 3.182446 * math.sqrt(5 / 3) / 2
    assert (low, high) == pytest.approx((math.exp(2.5 - half), math.exp(2.5 + half)), rel=1e-5)


def test_fewer_than_four_trials_have_a_range() -> None:
    """Student's t of two values that differ by 1 % reaches from 2.2 to 2.9; of two that differ more, to the stars."""
    assert mean_and_interval([1.0, 4.0]) == (pytest.approx(2.0), 1.0, 4.0)
    assert mean_and_interval([1.0, 2.0, 4.0]) == (pytest.approx(2.0), 1.0, 4.0)


def test_one_trial_tells_nothing_of_its_error() -> None:
    assert mean_and_interval([5.0]) == (pytest.approx(5.0), 0.0, math.inf)
    assert math.isnan(mean_and_interval([])[0])


def test_cells_come_in_the_order_of_their_numbers() -> None:
    found = groups(
        [trial(batch, block, 100.0 * block) for block in (1, 2) for batch in (16, 2, 128)]
        + [trial(1, None, 1.0)]
    )
    table = summary(found, "p50")
    columns = {column.title: column.texts for column in table.columns}
    assert columns["batch"] == ["2", "16", "128"]
    assert columns["trials"] == ["2", "2", "2"]
    assert columns["requests/s"][0].startswith("141 (100 … 200)")
    assert columns["p99 [ms]"] == ["–", "–", "–"]
    assert ("load", "4 users") in table.shared


def test_trials_of_two_experiments_are_not_averaged() -> None:
    first = [trial(2, block, 100.0) for block in (1, 2)]
    second = [each._replace(block=("results/other", block)) for block, each in enumerate(first)]
    table = summary(groups(first + second), "p50")
    columns = {column.title: column.texts for column in table.columns}
    assert columns["experiment"] == ["folder", "other"]
    assert columns["trials"] == ["2", "2"]


def test_programs_get_the_ends_of_the_intervals() -> None:
    found = groups([trial(16, 1, 100.0), trial(16, 2, 200.0), trial(2, 1, 50.0)])
    few, many = (plain(group) for group in found)
    assert (few["batch"], few["trials"], few["doubted"]) == (2, 1, 0)
    assert few["metrics"]["requests_per_second"] == {
        "trials": 1,
        "mean": pytest.approx(50.0),
        "low": None,
        "high": None,
        "mean_of": "logarithms",
        "not_reached": 0,
        "ends": "range",
    }
    assert (many["batch"], many["trials"], many["doubted"]) == (16, 2, 2)
    measured = many["metrics"]["requests_per_second"]
    assert measured["mean"] == pytest.approx(math.sqrt(100.0 * 200.0))
    assert (measured["low"], measured["high"], measured["ends"]) == (100.0, 200.0, "range")
    four = plain(groups([trial(16, block, 100.0 + block) for block in range(4)])[0])
    assert four["metrics"]["requests_per_second"]["ends"] == "interval"
    assert "p99" not in many["metrics"]


def test_single_runs_are_no_experiment() -> None:
    assert groups([trial(1, None, 1.0), trial(1, None, 2.0)]) == []
    assert groups([trial(1, 1, 1.0), trial(2, 1, 2.0)]) == []


def member(server: str, block: int, p99: float, load: str = "4 users") -> Member:
    identity = Identity("mnist", "Predict", server, server, "mnist", 2, 1, load)
    return Member(identity, ("folder", block), {"p99": p99}, has_warnings=False)


def test_best_is_only_what_the_trials_show_under_one_load() -> None:
    rows = [member("quick", block, 1.0 + 0.01 * block) for block in range(4)]
    rows += [member("alike", block, 1.02 + 0.01 * (3 - block)) for block in range(4)]
    clear = [member("slow", block, 2.0 + 0.01 * block) for block in range(4)]
    (line,) = best.best_cells(groups(rows + clear))
    assert "(quick)" in line
    assert "not significantly different from alike" in line
    (line,) = best.best_cells(groups(rows))
    assert "any other" in line
    (line,) = best.best_cells(groups(rows[:4] + clear))
    assert line.endswith("(quick)")
    other = [member("quick", block, 0.1, "1 user") for block in range(4)]
    assert best.best_cells(groups(clear + other)) == []  # nothing else under the same load


def test_axes_follow_the_points_and_not_the_bars() -> None:
    wild = Points("two trials", [1.0, 8.0], [0.002, 0.004], low=[1e-10, 1e-9], high=[1e5, 1e6])
    for seconds in (True, False):
        figure = Figure()
        against([wild], title="p99", over="batch", seconds=seconds)(figure)
        low, high = figure.axes[0].get_ylim()
        assert low >= 0.0 if not seconds else low > 0.001
        assert high < 0.01


def test_levels_of_a_search_are_not_compared() -> None:
    """A load was said to have 0.09 times the median latency of another, where the answer is a capacity."""
    rows = [
        member(name, block, base + 0.01 * block)
        for name, base in (("a", 1.0), ("b", 2.0))
        for block in range(4)
    ]
    of_one = {"groups": groups(rows), "compared": "p50", "tunings": []}
    compared, searched = (
        cast(Report, SimpleNamespace(**of_one, capacities=[(Path(folder), None)]))
        for folder in ("other", "folder")
    )
    assert best.conclusions(compared)
    assert best.conclusions(searched) == []
