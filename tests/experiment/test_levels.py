"""What the levels of a search are called in reports."""

from types import SimpleNamespace

import pytest

from bench.config.experiment import Load
from bench.experiment.levels import Levels
from bench.experiment.plan import Condition

CELL = Condition("baseline", "baseline", "mnist", 1, 1, "")


def test_rates_have_no_exponent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report showed `7.736e+04 req/s`."""
    loads: list[Load] = []
    monkeypatch.setattr(Levels, "_measure", lambda self, cell, load, seconds, block=None: loads.append(load))
    levels = Levels(SimpleNamespace(), 2, SimpleNamespace())  # type: ignore[arg-type]
    levels.poisson(CELL, 77_363.6, 4.0)
    levels.poisson(CELL, 12.53, 4.0)
    levels.steps(CELL, [23_875.0, 1_083_562.0], 1.5)
    assert [each.title for each in loads] == ["77,364 req/s", "12.5 req/s", "23,875 to 1,083,562 req/s"]
    assert loads[0].schedule == "poisson:38681.8"
