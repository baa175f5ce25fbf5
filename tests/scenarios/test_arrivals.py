"""The scenarios in which requests arrive at a rate, as a user starts them."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from bench.analysis.answers.questions import answers
from bench.runs.run import Run
from tests.load.locust_runs import Finished
from tests.scenarios.answered import hold_to_limits, known, sent, values

RUNS = {
    "test_soak_tells_drift_and_memory": "soak --schedule poisson:50 -t 14s",
    "test_multi_model_compares_with_and_without_the_neighbour": "multi_model -t 11s --deadline 60",
    "test_spike_tells_the_recovery": "spike --schedule spike:100x5@3s+2s -t 8s",
    "test_overload_tells_what_is_borne_and_what_becomes_of_the_rest": "overload --schedule steps:20,1000/3s --batch-size 16 -t 6s --deadline 20",
    "test_mnist_at_a_rate": "mnist_open --schedule poisson:300 -t 3s",
}
STEADY = {"test_soak_tells_drift_and_memory": 10}  # three thirds of three whole seconds


def test_soak_tells_drift_and_memory(run: Run) -> None:
    found = values(answers(sent(run)))
    assert known(found, "p50_drift_low") < known(found, "p50_drift_high")
    assert known(found, "server_memory_bytes") > 1e8


def test_multi_model_compares_with_and_without_the_neighbour(run: Run) -> None:
    assert set(run.samples["name"]) == {"mnist", "mnist2"}
    neighbour = run.samples[run.samples["name"] == "mnist2"]
    assert neighbour["due"].min() > 5
    assert set(neighbour["batch"]) == {16}
    (answer,) = answers(sent(run))
    assert known(answer.values, "p50_ratio_low") < known(answer.values, "p50_ratio_high")


def test_spike_tells_the_recovery(run: Run) -> None:
    found = values(answers(run))
    assert known(found, "spike_p99") > 0
    assert found["failed"] == 0


def test_overload_tells_what_is_borne_and_what_becomes_of_the_rest(ended: Finished) -> None:
    run = ended.run()
    assert run.finished, ended.output
    found = values(answers(run))
    assert found["sustained_rate"] == 20
    assert found["in_time_20"] == 1
    assert known(found, "in_time_1000") < 0.9
    assert known(found, "rest_RESOURCE_EXHAUSTED") > 0


def test_mnist_at_a_rate(run: Run) -> None:
    assert run.manifest.raw["load"]["kind"] == "poisson"
    due = run.samples["due"]
    assert len(due) == pytest.approx(300 * (due.max() - due.min()), rel=0.3)
    answered = run.samples[run.samples["status"] == 0]  # a busy machine may not come to send the last ones
    assert set(answered["version"]) == {2}
    assert answered["correct"].mean() > 0.85


@pytest.mark.parametrize("of", RUNS)
def test_the_limits_beside_the_scenario_are_kept_and_can_be_broken(
    of: str, started: Callable[[str], Future[Finished]], tmp_path: Path
) -> None:
    hold_to_limits(RUNS[of], started(of).result().run(), tmp_path)
