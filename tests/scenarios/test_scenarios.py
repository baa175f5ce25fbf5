"""Each scenario as a user starts it: a real Locust process, the embedded server, a run folder with its answer."""

from pathlib import Path

import pytest

from bench.analysis.answers.answer import Answer
from bench.analysis.answers.questions import answers
from bench.choices import Choices
from bench.run import Run
from bench.serve import launch
from tests.load.locust_runs import ROOT, Finished, locust


@pytest.fixture
def run(ended: Finished) -> Run:
    """The run of a scenario that must end well, all requests answered as asked."""
    assert ended.code == 0, ended.output
    assert "Traceback" not in ended.output
    run = ended.run()
    assert run.finished
    assert (run.samples["status"] == 0).all()
    assert int(run.counts["mismatched"].sum()) == 0
    assert run.manifest["counts"]["sent"] == run.manifest["counts"]["recorded"] == len(run.samples)
    return run


def values(found: list[Answer]) -> dict[str, float | None]:
    return {name: value for answer in found for name, value in answer.values.items()}


def known(found: dict[str, float | None], name: str) -> float:
    value = found[name]
    assert value is not None, f"{name} in {found}"
    return value


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
    assert newer.values["examples"] == 1000
    assert newer.values["accuracy_gap"] == pytest.approx((right["version 2"] - right["version 1"]) / 1000)
    assert known(stable.values, "accuracy_gap_low") < 0 < known(stable.values, "accuracy_gap_high")
    assert stable.values["agreement"] == 1
    assert "no difference" in stable.text


def test_batch_sizes_take_turns(run: Run) -> None:
    seconds = (run.samples["due"] // 1).astype(int)
    for name, of_name in run.samples.groupby("name"):
        turn = ["batch 1", "batch 8", "batch 64"].index(name)
        # a request that is chosen at the very end of a turn may be due a moment later
        assert (seconds[of_name.index] // 3 == turn).mean() > 0.999
    found = values(answers(run))
    assert found["best_batch"] == 64
    assert known(found, "server_cpu_batch_64") < known(found, "server_cpu_batch_1")


def test_twenty_swaps_without_a_failure_and_every_answer_attributed(run: Run) -> None:
    assert (run.samples["version"].dropna().diff().dropna() >= 0).mean() > 0.99
    assert sorted(set(run.samples["version"])) == list(range(1, 22))
    told, *felt = answers(run)
    assert told.values == {"swaps": 20, "failed": 0, "unattributed": 0, "unattributed_share": 0}
    found = values(felt)
    assert 0 < known(found, "until_first_answer") <= known(found, "until_all") < 10
    assert known(found, "excursion_height") > 0


def changes(run: Run) -> list[int]:
    """The versions that answered, one after the other; answers that overlap at a change count once."""
    assert [event["kind"] for event in run.events] == ["swap", "swapped"] * 2
    assert values(answers(run))["unattributed"] == 0
    first = run.samples.groupby("version")["done"].min()
    return [int(version) for version in first.sort_values().index]


def test_labels_are_flipped(run: Run) -> None:
    assert changes(run) == [1, 2]
    last = run.samples[run.samples["due"] > float(run.events[-1]["time"]) + 0.1]
    assert set(last["version"]) == {1}, "flipped back"


def test_versions_are_rolled_back(run: Run) -> None:
    assert changes(run) == [1, 2]
    last = run.samples[run.samples["due"] > float(run.events[-1]["time"]) + 0.1]
    assert set(last["version"]) == {1}, "rolled back"


def test_versions_with_warmup_records_are_placed(run: Run) -> None:
    assert changes(run) == [1, 2, 3]


def test_a_rollout_that_cannot_be_says_so(ended: Finished) -> None:
    assert ended.code == 2, ended.output
    assert "--how sideways: place, flip or rollback is expected" in ended.output
    assert "Traceback" not in ended.output


def test_multi_model_compares_with_and_without_the_neighbour(run: Run) -> None:
    assert set(run.samples["name"]) == {"mnist", "mnist2"}
    neighbour = run.samples[run.samples["name"] == "mnist2"]
    assert neighbour["due"].min() > 5
    assert set(neighbour["batch"]) == {16}
    (answer,) = answers(run)
    assert known(answer.values, "p50_ratio_low") < known(answer.values, "p50_ratio_high")


def test_spike_tells_the_recovery(run: Run) -> None:
    found = values(answers(run))
    assert known(found, "spike_p99") > 0
    assert found["failed"] == 0


def test_soak_tells_drift_and_memory(run: Run) -> None:
    found = values(answers(run))
    assert known(found, "p50_drift_low") < known(found, "p50_drift_high")
    assert known(found, "server_memory_bytes") > 1e8


def test_overload_tells_what_is_borne_and_what_becomes_of_the_rest(ended: Finished) -> None:
    run = ended.run()
    assert run.finished, ended.output
    found = values(answers(run))
    assert found["borne_rate"] == 20
    assert found["in_time_20"] == 1
    assert known(found, "in_time_1000") < 0.9
    assert known(found, "rest_RESOURCE_EXHAUSTED") > 0


def test_keras_vgg16_in_small(run: Run) -> None:
    assert run.manifest["target"]["model"] == "vgg16"
    assert known(values(answers(run)), "bytes_per_second") > 0


def test_grpc_and_rest_give_the_same_answers(run: Run) -> None:
    by_name = run.samples.groupby("name")
    assert set(by_name.groups) == {"gRPC", "REST"}
    assert by_name["correct"].mean()["REST"] == pytest.approx(by_name["correct"].mean()["gRPC"], abs=0.05)
    (answer,) = answers(run)
    grpc, rest = (each["bytes"] for each in run.manifest["payload"].values())
    assert f"{rest:,} bytes in a request instead of {grpc:,}" in answer.text


def test_rest_without_its_port_is_told_before_the_load(tmp_path: Path) -> None:
    with launch.embedded(["--backend", "synthetic", "--model_name", "mnist"]) as server:
        done = locust(tmp_path, "--host", server.address, "-t", "1s", scenario="scenarios/grpc_vs_rest.py")
    assert done.code == 2, done.output
    assert "bench: --rest: this scenario asks over REST too" in done.output
    assert done.folders == []


def test_overhead_splits_the_time(run: Run) -> None:
    found = values(answers(run))
    assert 0 < known(found, "runtime_latency") < known(found, "request_latency")
    assert known(found, "outside") > 0
    assert known(found, "null_p50") > 0


@pytest.mark.parametrize("scenario", sorted((ROOT / "scenarios").glob("*.py")), ids=lambda path: path.stem)
def test_a_scenario_is_short(scenario: Path) -> None:
    assert len(scenario.read_text().splitlines()) <= 80
