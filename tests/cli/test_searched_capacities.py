"""Searched capacities in `bench compare`, `bench history` and `bench report`: by what their searches found, not by their levels."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.runs.chunk import Chunk
from tests.cli.checkouts import MANIFEST, RATE, SECONDS, Checkout
from tests.cli.inside import bench
from tests.cli.searched_capacities import searched
from tests.recorded import requests, write


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs that stand for the levels of a search."""
    root = tmp_path_factory.mktemp("recorded")
    for number in range(3):
        chunks = [
            Chunk.of(
                **requests(10 * number + second, count=RATE, rate=RATE, start=float(second)),
                keep_samples=False,
            )
            for second in range(SECONDS)
        ]
        write(root / "good", chunks, note=f"t{number}", **MANIFEST)
    return root


@pytest.fixture
def place(tmp_path: Path, recorded: Path) -> Checkout:
    return Checkout(tmp_path, recorded)


def compared(place: Checkout, *arguments: str) -> dict[str, Any]:
    """The change that `bench compare` finds."""
    done = bench("compare", *arguments, "--json", cwd=place.path)
    assert done.returncode == 0, done.stderr
    (comparison,) = json.loads(done.stdout)["comparisons"]
    (change,) = comparison["changes"]
    assert change["metric"] == "capacity"
    return dict(change)


def test_two_searches_are_compared(place: Checkout) -> None:
    searched(place, "base", 5000)
    searched(place, "new", 4000, git={"commit": "b" * 40, "dirty": False})
    change = compared(place, "base", "new")
    assert change["verdict"] == "worse"
    assert (change["before"], change["after"]) == (pytest.approx(5000), pytest.approx(4000))
    assert change["low"] < 0.8 < change["high"]
    shown = bench("compare", "base", "new", cwd=place.path)
    assert "capacity" in shown.stdout
    assert "p99" not in shown.stdout


def test_conditions_of_one_search_are_compared_by_their_ratio(place: Checkout) -> None:
    """Both sustain 5000/s by themselves; that the levels were compared one by one tells more."""
    searched(place, "one", 5000, ratio=0.93, error=0.001)
    change = compared(place, "one", "--by", "server", "--baseline", "base")
    assert change["verdict"] == "worse"
    assert change["low"] < 0.93 < change["high"] < 0.95


def test_a_search_without_an_answer_is_inconclusive(place: Checkout) -> None:
    searched(place, "base", 5000)
    searched(place, "new", None, git={"commit": "b" * 40, "dirty": False})
    change = compared(place, "base", "new")
    assert change["verdict"] == "unknown"
    assert "load generator was the limit" in change["reason"]


def test_the_search_with_which_a_capacity_changed_is_found(place: Checkout) -> None:
    rng = np.random.default_rng(1)
    begun = datetime(2026, 3, 1, tzinfo=UTC)
    for number in range(12):
        rate = (5000 if number < 6 else 4000) * (1 + 0.01 * rng.standard_normal())
        searched(place, f"n{number:02}", rate, started=(begun + timedelta(days=number)).isoformat())
    done = bench("history", ".", "--json", cwd=place.path)
    assert done.returncode == 0, done.stderr
    (change,) = json.loads(done.stdout)
    assert change["metric"] == "capacity"
    assert Path(change["first_run"]).parts[0] == "n06"
    assert change["worse"]
    reported = bench("report", "n06", "--json", cwd=place.path)
    assert json.loads(reported.stdout)["capacities"][0]["capacity"]["conditions"][0]["outcome"] == "found"
