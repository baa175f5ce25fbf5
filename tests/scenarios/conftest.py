"""Starts the scenarios that a module's tests are about: each is a Locust process with a server.

Two at a time: most of each is waiting. The next ones run while a test looks at the one before.

A module says in RUNS which scenario each of its tests looks at, and with which arguments. `-t` are seconds of load that
is recorded, however late a busy machine begins with it; REQUESTS may ask for so many requests, too, and STEADY for so many
seconds after the warm-up, which is the longer, the busier the machine.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.runs.run import Run
from tests.load.locust_runs import Finished, finish, run_folder, start, wait_for
from tests.scenarios.answered import unsent


@pytest.fixture(scope="module")
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Future[Finished]]]:
    """The runs of a module's tests that are to be made, begun in the order of the module."""
    wanted = {item.name for item in request.session.items if item.path == request.path}
    everything = any(name not in request.module.RUNS for name in wanted)  # such as the test of the limits
    with ThreadPoolExecutor(2) as pool:

        def begin(name: str, asked: str) -> Future[Finished]:
            requests = getattr(request.module, "REQUESTS", {}).get(name, 1)
            each = getattr(request.module, "EACH", {}).get(name, 1)
            steady = getattr(request.module, "STEADY", {}).get(name, 0)
            return pool.submit(load, tmp_path_factory.mktemp("results"), asked, requests, each, steady)

        runs = {
            name: begin(name, asked)
            for name, asked in request.module.RUNS.items()
            if everything or name in wanted
        }
        yield runs.__getitem__
        pool.shutdown(cancel_futures=True)


def load(results: Path, asked: str, requests: int, each: int = 1, steady: int = 0) -> Finished:
    """A scenario's Locust process: until its script is through, or enough of its load is recorded."""
    scenario, *arguments = asked.split()
    if "-t" not in arguments:
        return finish(start(results, *arguments, scenario=f"scenarios/{scenario}.py"), results)
    place = arguments.index("-t") + 1
    seconds = int(arguments[place].removesuffix("s"))
    arguments[place] = "0s"  # without an end: Ctrl-C is one in order
    process = start(results, *arguments, scenario=f"scenarios/{scenario}.py")

    def enough() -> bool:
        folder = run_folder(results)
        if folder is None:
            return False
        parts = list(Run.open(folder).requests_in_parts())
        latest = max((part.due.max() for part in parts), default=0.0)
        if sum(len(part.due) for part in parts) < requests or latest < seconds - 0.8:
            return False
        if each > 1 and Run.open(folder).samples["name"].value_counts().min() < each:
            return False
        return not steady or Run.open(folder).steady.duration >= steady

    wait_for(enough, process)
    os.kill(process.pid, signal.SIGINT)
    return finish(process, results)


@pytest.fixture
def ended(request: pytest.FixtureRequest, started: Callable[[str], Future[Finished]]) -> Finished:
    """The Locust process of this test, when it has ended."""
    return started(request.node.name).result()


@pytest.fixture
def run(ended: Finished) -> Run:
    """The run of a scenario that must end well, all requests answered as asked.

    Where the machine is busy, some may be due and not have had their turn when the load is stopped.
    """
    assert "Traceback" not in ended.output
    run = ended.run()
    assert ended.code == (1 if unsent(run) else 0), ended.output
    assert run.finished
    asked = run.samples[run.samples["status"].notna()]
    assert set(asked["status"]) == {0}
    assert unsent(run) == 0 or len(run.samples[run.samples["due"] > asked["due"].max()]) == unsent(run)
    assert int(run.counts["mismatched"].sum()) == 0
    assert run.manifest.raw["counts"]["sent"] == len(asked)
    assert run.manifest.raw["counts"]["recorded"] == len(run.samples)
    return run
