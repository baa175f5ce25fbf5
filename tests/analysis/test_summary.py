"""The trials of each cell of an experiment, taken together."""

import math
from pathlib import Path

import pytest

from bench.analysis.summary import mean_and_interval, repeated, summary
from bench.analysis.trials import Identity, Trial, Trials


def trial(batch: int, block: int | None, rate: float) -> Trial:
    return Trial(
        identity=Identity("mnist", "Predict", "embedded", "cpu", "mnist", 2, batch, "4 users"),
        values={
            "requests_per_second": rate,
            "inferences_per_second": rate * batch,
            "p50": 1e-3,
            "p99": math.nan,
        },
        ends={},
        block=None if block is None else ("folder", block),
        path=Path("run"),
        started="",
        doubts=[],
        manifest={},
        answered=1,
        requests=1,
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
    found = Trials(
        [trial(batch, block, 100.0 * block) for block in (1, 2) for batch in (16, 2, 128)]
        + [trial(1, None, 1.0)],
        [],
        [],
    )
    assert repeated(found)
    table = summary(found)
    columns = {column.title: column.texts for column in table.columns}
    assert columns["batch"] == ["2", "16", "128"]
    assert columns["trials"] == ["2", "2", "2"]
    assert columns["requests/s"][0].startswith("141 ±")
    assert columns["p99 [ms]"] == ["–", "–", "–"]
    assert ("load", "4 users") in table.shared


def test_single_runs_are_no_experiment() -> None:
    assert not repeated(Trials([trial(1, None, 1.0), trial(1, None, 2.0)], [], []))
