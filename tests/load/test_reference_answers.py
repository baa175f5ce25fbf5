"""Under load a server has to give the answers that it gave when it was idle, even if it is wrong each time alike."""

from pathlib import Path

import pytest

from bench.analysis.reading.checks import warnings_of
from bench.launch import server_process
from bench.load.reference_answers import TWICE, Answered, received, sent
from tests.load.falsifier import falsifier
from tests.load.locust_runs import start, until_recorded

SERVER = ["--backend", "synthetic", "--model_name", "mnist", "--service-time", "constant(1ms)"]
ASKED = 16
"""Messages of 100; the idle server has half a second to answer each twice, on a slow machine too."""
METADATA = 2
"""Answers before: the signature is asked for when Locust starts and when the test does."""


def mismatched(folder: Path, references: int, *more: str) -> tuple[float, set[str]]:
    """The share of answers that are not as before, and the warnings, where all answers under load are false alike."""
    honest = METADATA + TWICE * references
    with (
        server_process.embedded(SERVER) as server,
        falsifier(server.address, 1, ("flip",), honest) as proxy,
    ):
        asked = ["--host", proxy.address, "--batch-size", "10", "--references", str(references)]
        process = start(folder, *asked, "-u", "8", "-r", "8", *more)
        done = until_recorded(process, folder, 1000, workers=2 if more else 1)
    assert done.code == 0, done.output
    run = done.run()
    assert len(run.samples) >= 1000
    return float(run.samples["mismatched"].mean()), {warning.check for warning in warnings_of(run)}


@pytest.mark.parametrize("more", [(), ("--processes", "2")], ids=["alone", "distributed"])
def test_what_is_false_in_the_same_way_each_time_differs_from_the_idle_server(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    for attempt in range(
        3
    ):  # where the machine was held up, the half second was over before all had been asked
        share, found = mismatched(tmp_path / str(attempt), ASKED, *more)
        if share > ASKED / 100 - 0.05:
            break
    assert share == pytest.approx(ASKED / 100, abs=0.05), "as many of the 100 messages have been asked before"
    assert "wrong answers" in found


def test_without_the_idle_server_answers_are_compared_with_each_other_only(tmp_path: Path) -> None:
    share, _ = mismatched(tmp_path, 0)
    assert share == 0


def test_answers_travel_between_processes() -> None:
    answered = [Answered((3, 3, 1, 1), (b"a", b"b", b"c", b"d")), Answered()]
    assert received(sent(answered)) == answered
