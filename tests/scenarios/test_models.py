"""The scenarios that compare models, sizes and ways to ask, as a user starts them."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from bench.analysis.answers.questions import answers
from bench.launch import server_process
from bench.runs.choices import Choices
from bench.runs.run import Run
from tests.load.locust_runs import ROOT, Finished, locust
from tests.scenarios.answered import hold_to_limits, known, values

# users think where throughput is not in question, or each run takes both cores from all others
RUNS = {
    "test_batch_sizes_take_turns": "batch_sizes --batches 1,64 -u 1 -r 1 -t 6s --schedule closed:2ms",
    "test_versions_finds_the_gap_and_none_between_copies": "versions -t 4s --batch-size 8",
    "test_overhead_splits_the_time": "overhead -t 4s --schedule closed:2ms",
    "test_grpc_and_rest_give_the_same_answers": "grpc_vs_rest -t 4s --model-version 2 --schedule closed:5ms",
    "test_keras_vgg16_in_small": "keras_vgg16 --image-size 32 --width 0.05 -t 2s --schedule closed:10ms",
    "test_mnist_in_a_closed_loop": "mnist -u 4 -r 4 -t 2s --schedule closed:5ms",
}
REQUESTS = {"test_versions_finds_the_gap_and_none_between_copies": 1_500}
EACH = {"test_batch_sizes_take_turns": 200}


def test_batch_sizes_take_turns(run: Run) -> None:
    turns = run.samples["due"] // 3
    expected = run.samples["name"].map({"batch 1": 0, "batch 64": 1})
    late = run.samples[turns % 2 != expected]
    # the one user's request that is chosen at the very end of a turn may be due in the next
    assert len(late) <= turns.max()
    assert late["due"].groupby(turns).count().max() <= 1 or late.empty
    assert set(expected) == {0, 1}
    found = values(answers(run))
    assert found["best_batch"] == 64
    assert known(found, "server_cpu_batch_64") < known(found, "server_cpu_batch_1")


def test_versions_finds_the_gap_and_none_between_copies(run: Run) -> None:
    assert {k: set(g["version"]) for k, g in run.samples.groupby("name")} == {
        "version 1": {1},
        "version 2": {2},
        "label stable": {1},
        "label canary": {2},
    }
    choices = Choices.of_run(run.path)
    assert choices is not None
    right = {name: int((chosen == choices.labels).sum()) for name, chosen in choices.chosen.items()}
    newer, stable, canary = answers(run)
    for answer in (newer, canary):
        assert known(answer.values, "accuracy_gap_low") > 0.3
        assert known(answer.values, "agreement") < 0.8
    examples = known(newer.values, "examples")
    assert examples > 900, "users choose by chance, and not all of the 1,000 yet"
    more = right["version 2"] - right["version 1"]
    assert newer.values["accuracy_gap"] == pytest.approx(more / examples, abs=0.01)
    assert known(stable.values, "accuracy_gap_low") < 0 < known(stable.values, "accuracy_gap_high")
    assert stable.values["agreement"] == 1
    assert "no difference" in stable.text


def test_overhead_splits_the_time(run: Run) -> None:
    found = values(answers(run))
    assert 0 < known(found, "runtime_latency") < known(found, "request_latency")
    assert known(found, "outside") > 0
    assert known(found, "null_p50") > 0


def test_grpc_and_rest_give_the_same_answers(run: Run) -> None:
    by_name = run.samples.groupby("name")
    assert set(by_name.groups) == {"gRPC", "REST"}
    assert by_name["correct"].mean()["REST"] == pytest.approx(by_name["correct"].mean()["gRPC"], abs=0.05)
    (answer,) = answers(run)
    grpc, rest = (each["bytes"] for each in run.manifest.raw["payload"].values())
    assert f"{rest:,} bytes in a request instead of {grpc:,}" in answer.text


def test_rest_without_its_port_is_told_before_the_load(tmp_path: Path) -> None:
    with server_process.embedded(["--backend", "synthetic", "--model_name", "mnist"]) as server:
        done = locust(tmp_path, "--host", server.address, "-t", "1s", scenario="scenarios/grpc_vs_rest.py")
    assert done.code == 2, done.output
    assert "bench: --rest: this scenario sends over REST too" in done.output
    assert done.folders == []


def test_keras_vgg16_in_small(run: Run) -> None:
    assert run.manifest.raw["target"]["model"] == "vgg16"
    assert known(values(answers(run)), "bytes_per_second") > 0


def test_mnist_in_a_closed_loop(run: Run) -> None:
    assert run.manifest.raw["load"]["kind"] == "closed"
    assert set(run.samples["version"]) == {2}
    assert run.samples["correct"].mean() > 0.85


@pytest.mark.parametrize("of", RUNS)
def test_the_limits_beside_the_scenario_are_kept_and_can_be_broken(
    of: str, started: Callable[[str], Future[Finished]], tmp_path: Path
) -> None:
    hold_to_limits(RUNS[of], started(of).result().run(), tmp_path)


@pytest.mark.parametrize("scenario", sorted((ROOT / "scenarios").glob("*.py")), ids=lambda path: path.stem)
def test_a_scenario_is_short(scenario: Path) -> None:
    assert len(scenario.read_text().splitlines()) <= 80
