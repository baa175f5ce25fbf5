"""What the tests of predictions and of repositories share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.server.api.prediction import Predictions
from bench.server.execution.continuous_batching import Continuous, Runner
from bench.server.models import model_config
from bench.server.models.loading import RepositoryOptions
from bench.server.models.repository import Repository
from bench.server.models.servable import Loader
from tests.server.batches import Bench, Made, Rows
from tests.server.numpy_models import load, write
from tests.server.versions import QUICK, Start


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    path = tmp_path_factory.mktemp("m")
    write(path, 7, 2.0)
    repository = Repository(load, RepositoryOptions(poll_wait=0.0))
    repository.start(model_config.single("m", path))
    repository.wait_until_ready(20)
    yield repository
    repository.stop()


@pytest.fixture
def predictions(repository: Repository) -> Iterator[Predictions]:
    """Each test has to release whatever it prepared."""
    yield Predictions(repository)
    held = [handle.held for handle in repository.serving.versions.values()]
    assert held == [0], "a request still holds its version"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts repositories and stops them."""
    started: list[Repository] = []

    def begin(of: Any, loader: Loader = load, options: RepositoryOptions = QUICK) -> Repository:
        repository = Repository(loader, options)
        started.append(repository)
        repository.start(of)
        return repository

    yield begin
    for repository in started:
        repository.stop()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    benches: list[tuple[Bench, Continuous]] = []

    def make(model: Rows | None = None, *, batched: bool = True) -> tuple[Bench, Continuous]:
        folder = tmp_path / str(len(benches))
        folder.mkdir()
        bench = Bench(model or Rows(), folder)
        executor = Continuous(
            bench.predictions, Runner(bench.predictions, bench.metrics), bench.post, batched=batched
        )
        benches.append((bench, executor))
        return bench, executor

    yield make
    for bench, executor in benches:
        executor.close()
        bench.make_posted()
        assert bench.handle().held == 0, "a call still holds its version"
        bench.repository.stop()
