"""The display of an experiment: results of ended trials, a bar that fits, and how long it will still take."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench.cli.run_clock import Clock
from bench.cli.run_display import Lines, Screen, outcome
from bench.experiment.plan import Condition, PlannedTrial, predicted_seconds
from bench.experiment.trial import Glance
from bench.launch.embedded import Embedded
from bench.runs.journal import Ended
from tests.recorded import requests, seconds, write

CELL = Condition(
    "a-server-with-a-long-name", "2.18.0-with-onednn", "mnist", 2, 256, "constant:1000 of 4 users"
)
START, TRIAL = 4.0, 21.3
"""Seconds of a start of a server, and of a trial of 20 s, as they are predicted."""


def plan(blocks: int, trials: int) -> list[PlannedTrial]:
    cells = [CELL._replace(batch=batch) for batch in range(1, trials + 1)]
    return [
        PlannedTrial(block, (block - 1) * trials + at, cell, 1)
        for block in range(1, blocks + 1)
        for at, cell in enumerate(cells, 1)
    ]


@pytest.mark.parametrize("slower", [1.0, 1.6])
def test_the_time_left_is_right_within_a_fifth(slower: float) -> None:
    """Also where starts and trials take longer than predicted, and one start serves many trials."""
    planned = plan(3, 5)
    launch = {CELL.server: Embedded.launch_seconds}
    now = 0.0
    clock = Clock(
        [predicted_seconds(planned[:ended], 20, launch) for ended in range(len(planned) + 1)], now=lambda: now
    )
    ends = []
    for at in range(len(planned)):
        now += slower * (TRIAL + (START if at % 5 == 0 else 0.0))
        ends.append(now)
    for at, ended in enumerate(ends[:-1]):
        now, truth = ended, ends[-1] - ended
        clock.step()
        assert clock.left == pytest.approx(truth, rel=0.2), f"after {at + 1} trials"
        now = ended + 1.0
        assert clock.left == pytest.approx(truth - 1.0, rel=0.2), "it counts down"


def test_a_server_without_tensorflow_starts_sooner() -> None:
    starts = [
        Embedded(kind="embedded", flags=flags).predicted_launch for flags in ({}, {"backend": "synthetic"})
    ]
    assert starts[1] < 0.5 * starts[0]


def test_of_a_budget_no_more_is_left_than_it_has() -> None:
    now = 100.0
    clock = Clock(budget=120.0, now=lambda: now)
    now = 150.0
    clock.step()
    assert str(clock) == "at most 1:10 min left"
    now = 500.0
    assert clock.left == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment's folder with a run."""
    root = tmp_path_factory.mktemp("experiment")
    write(root, seconds(requests(1, count=6000, rate=500, errors=0.005))).path.rename(root / "run")
    return root


MEASURED, FAILED = Ended(1, "measured", None, "run"), Ended(2, "failed", "no answer", None)


def test_an_ended_trial_shows_its_result(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial = plan(1, 1)[0]
    display = Lines(folder)
    with display.showing(4, 1, Clock([0.0, 25.0, 50.0, 75.0])):
        display.ended(trial, MEASURED, 21.0)
        display.ended(trial, FAILED, 3.0)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"[2/4, 0 s left] block 1: {CELL._replace(batch=1).title()}: 4")
    for text in ("/s, p50 2.", " ms, p99 4.", " ms, 0.", " % failed"):
        assert text in first
    assert second.endswith("failed: no answer")
    assert outcome(folder, trial, replace(MEASURED, folder="gone"), 21.0).endswith(": 21 s")


def test_the_bar_fits_80_columns_and_leaves_results_only(folder: Path) -> None:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, width=80, height=24, legacy_windows=False, highlight=False
    )
    display = Screen(console, folder)
    trial = plan(1, 1)[0]
    with display.showing(4, 0, Clock([0.0, 25.0, 50.0, 75.0, 100.0])):
        display.glance(Glance(trial, 3.0, rate=12345.6, p99=0.0123))
        display._progress.refresh()
        shown = file.getvalue()
        display.ended(trial, MEASURED, 21.0)
    bars = [line for line in shown.splitlines() if "0/4" in line]
    assert bars
    assert "12,346/s, p99 12.30 ms: a-server" in bars[-1]
    assert "1:40 min left" in bars[-1]
    assert shown.count("\n") <= len(bars), "one line"
    # the bar is erased at the end: what follows its last place begins with the result
    left = file.getvalue()[len(shown) :]
    assert "p99 4." in left
    assert "\x1b[2K" in left.rsplit("1/4", 1)[1]
