"""`scenarios/rollout.py` as a user starts it: versions are placed, flipped and rolled back under load."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from bench.analysis.answers.questions import answers
from bench.runs.run import Run
from tests.load.locust_runs import Finished, locust
from tests.scenarios.answered import hold_to_limits, known, unsent, values

RUNS = {
    "test_twenty_swaps_without_a_failure_and_every_answer_attributed": "rollout --swaps 20 --settle 0.3 --schedule poisson:400",
    "test_labels_of_versions_with_warmup_records_are_flipped": "rollout --how flip --warmup 8 --settle 1 --schedule poisson:200",
    "test_versions_are_rolled_back": "rollout --how rollback --settle 1 --schedule poisson:200",
}


def test_twenty_swaps_without_a_failure_and_every_answer_attributed(run: Run) -> None:
    assert (run.samples["version"].dropna().diff().dropna() >= 0).mean() > 0.99
    assert sorted(set(run.samples["version"])) == list(range(1, 22))
    told, *felt = answers(run)
    assert told.values == {
        "swaps": 20,
        "failed": 0,
        "unsent": unsent(run),
        "unattributed": 0,
        "unattributed_share": 0,
    }
    found = values(felt)
    assert 0 < known(found, "until_first_answer") <= known(found, "until_all") < 10
    assert known(found, "excursion_height") > 0


def changes(run: Run) -> list[int]:
    """The versions that answered, one after the other; answers that overlap at a change count once."""
    assert [event["kind"] for event in run.events] == ["swap", "swapped"] * 2
    assert values(answers(run))["unattributed"] == 0
    first = run.samples.groupby("version")["done"].min()
    return [int(version) for version in first.sort_values().index]


def test_labels_of_versions_with_warmup_records_are_flipped(run: Run) -> None:
    assert changes(run) == [1, 2]
    last = run.samples[run.samples["due"] > float(run.events[-1]["time"]) + 0.1]
    assert set(last["version"]) == {1}, "flipped back"


def test_versions_are_rolled_back(run: Run) -> None:
    assert changes(run) == [1, 2]
    last = run.samples[run.samples["due"] > float(run.events[-1]["time"]) + 0.1]
    assert set(last["version"]) == {1}, "rolled back"


def test_a_rollout_that_cannot_be_is_refused_before_the_load(tmp_path: Path) -> None:
    done = locust(tmp_path, "--how", "sideways", scenario="scenarios/rollout.py")
    assert done.code == 2, done.output
    assert "--how sideways: expected place, flip or rollback" in done.output
    assert "Traceback" not in done.output
    assert done.folders == []


@pytest.mark.parametrize("of", RUNS)
def test_the_limits_beside_the_scenario_are_kept_and_can_be_broken(
    of: str, started: Callable[[str], Future[Finished]], tmp_path: Path
) -> None:
    hold_to_limits(RUNS[of], started(of).result().run(), tmp_path)
