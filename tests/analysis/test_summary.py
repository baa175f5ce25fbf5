"""The trials of each cell of an experiment, taken together."""

import math

import pytest

from bench.analysis.groups import Member, groups, mean_and_interval, plain
from bench.analysis.summary import summary
from bench.analysis.trials import Identity


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
        doubted=batch == 16,
    )


def test_the_interval_is_students_t_on_logarithms() -> None:
    # logarithms 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653
    mean, low, high = mean_and_interval([math.e, math.e**2, math.e**3])
    assert mean == pytest.approx(math.e**2)
    half = 4.302653 / math.sqrt(3)
    assert (low, high) == pytest.approx((math.exp(2 - half), math.exp(2 + half)), rel=1e-5)


def test_one_trial_tells_nothing_of_its_error() -> None:
    assert mean_and_interval([5.0]) == (pytest.approx(5.0), 0.0, math.inf)
    assert math.isnan(mean_and_interval([])[0])


def test_cells_come_in_the_order_of_their_numbers() -> None:
    found = groups(
        [trial(batch, block, 100.0 * block) for block in (1, 2) for batch in (16, 2, 128)]
        + [trial(1, None, 1.0)]
    )
    table = summary(found)
    columns = {column.title: column.texts for column in table.columns}
    assert columns["batch"] == ["2", "16", "128"]
    assert columns["trials"] == ["2", "2", "2"]
    assert columns["requests/s"][0].startswith("141 ±")
    assert columns["p99 [ms]"] == ["–", "–", "–"]
    assert ("load", "4 users") in table.shared


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
    }
    assert (many["batch"], many["trials"], many["doubted"]) == (16, 2, 2)
    # logarithms that differ by ln 2: standard error ln(2) / 2, t(0.975, 1) = 12.706205
    half = 12.706205 * math.log(2) / 2
    measured = many["metrics"]["requests_per_second"]
    mean = math.sqrt(100.0 * 200.0)
    assert measured["mean"] == pytest.approx(mean)
    assert (measured["low"], measured["high"]) == pytest.approx(
        (mean / math.exp(half), mean * math.exp(half)), rel=1e-5
    )
    assert "p99" not in many["metrics"]


def test_single_runs_are_no_experiment() -> None:
    assert groups([trial(1, None, 1.0), trial(1, None, 2.0)]) == []
    assert groups([trial(1, 1, 1.0), trial(2, 1, 2.0)]) == []
