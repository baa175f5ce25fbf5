"""Starts the scenarios that the collected tests are about, two at a time: each is a Locust process with a server."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.load.locust_runs import Finished, locust

RUNS = {
    # test -> scenario and its arguments
    "test_twenty_swaps_without_a_failure_and_every_answer_attributed": (
        "rollout --swaps 20 --settle 0.3 --schedule poisson:400"
    ),
    "test_versions_finds_the_gap_and_none_between_copies": "versions -t 4s",
    "test_batch_sizes_take_turns": "batch_sizes --batches 1,8,64 -t 9s",
    "test_labels_are_flipped": "rollout --how flip --settle 1 --schedule poisson:200",
    "test_versions_are_rolled_back": "rollout --how rollback --settle 1 --schedule poisson:200",
    "test_versions_with_warmup_records_are_placed": "rollout --warmup 8 --settle 1 --schedule poisson:200",
    "test_a_rollout_that_cannot_be_says_so": "rollout --how sideways --settle 0",
    "test_multi_model_compares_with_and_without_the_neighbour": "multi_model -t 11s",
    "test_spike_tells_the_recovery": "spike --schedule spike:100x5@3s+2s -t 8s",
    "test_soak_tells_drift_and_memory": "soak --schedule poisson:100 -t 14s",
    "test_overload_tells_what_is_borne_and_what_becomes_of_the_rest": "overload --schedule steps:20,1000/3s -t 6s",
    "test_keras_vgg16_in_small": "keras_vgg16 --image-size 32 --width 0.05 -t 2s",
    "test_grpc_and_rest_give_the_same_answers": "grpc_vs_rest -t 4s --model-version 2",
    "test_overhead_splits_the_time": "overhead -t 4s",
}


@pytest.fixture(scope="session")
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Future[Finished]]]:
    """The runs of all tests that are to be made, as they come."""
    wanted = [item.name for item in request.session.items if item.name in RUNS]
    with ThreadPoolExecutor(2) as pool:

        def start(name: str) -> Future[Finished]:
            scenario, *arguments = RUNS[name].split()
            folder = tmp_path_factory.mktemp("results")
            return pool.submit(locust, folder, *arguments, scenario=f"scenarios/{scenario}.py")

        # of several pytest processes each is given all tests, and told one by one which it is to make
        runs = {} if "PYTEST_XDIST_WORKER" in os.environ else {name: start(name) for name in wanted}

        def get(name: str) -> Future[Finished]:
            if name not in runs:
                runs[name] = start(name)
            return runs[name]

        yield get
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def ended(request: pytest.FixtureRequest, started: Callable[[str], Future[Finished]]) -> Finished:
    """The Locust process of this test, when it has ended."""
    return started(request.node.name).result()
