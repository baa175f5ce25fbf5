"""Against which server do the cases run: one of our own that is started here, or the one named by `--target`?"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.serve import launch

pytest.register_assert_rewrite("tests.conformance.asking")

from tests.conformance.asking import Target  # noqa: E402 - its assertions are rewritten, which has to be said before

LIMIT = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption(
        "--target", help="host:port of a running server's gRPC port, with the models of models.py"
    )
    group.addoption("--rest-target", help="host:port of its REST port")


@pytest.fixture(scope="session")
def conformance_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `tests.conformance.models` writes."""
    folder = tmp_path_factory.mktemp("conformance") / "models"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.conformance.models", str(folder)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def arguments(models: Path) -> list[str]:
    """The flags with which a server serves the cases' models."""
    return [
        f"--model_config_file={models / 'models.config'}",
        f"--monitoring_config_file={models / 'monitoring.config'}",
        "--rest_api_port=0",
        "--enable_grpc_healthcheck_service=true",
        "--allow_version_labels_for_unavailable_models=true",
        "--max_num_load_retries=0",
    ]


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The server under test, with all its versions available."""
    named = request.config.getoption("--target", None)
    if named:
        with Target(named, request.config.getoption("--rest-target")) as reached:
            await_versions(reached)
            yield reached
        return
    models = request.getfixturevalue("conformance_models")
    with launch.embedded(arguments(models)) as server, Target(server.address, server.rest) as reached:
        await_versions(reached)
        yield reached


@pytest.fixture(scope="module")
def batching_target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """A server with timed batching and max_batch_size 4; only one of our own."""
    if request.config.getoption("--target", None):
        pytest.skip("the named server's batching is not known")
    models = request.getfixturevalue("conformance_models")
    parameters = tmp_path_factory.mktemp("batching") / "batching.config"
    parameters.write_text("max_batch_size { value: 4 } batch_timeout_micros { value: 1000 }\n")
    flags = [*arguments(models), "--enable_batching=true", f"--batching_parameters_file={parameters}"]
    with launch.embedded(flags) as server, Target(server.address, server.rest) as reached:
        await_versions(reached)
        yield reached


def await_versions(target: Target) -> None:
    """A server is ready with one version of each model; the cases need both of mnist."""
    deadline = time.monotonic() + LIMIT
    while target.versions("mnist") != {1: "AVAILABLE", 2: "AVAILABLE"}:
        assert time.monotonic() < deadline, f"the versions of mnist: {target.versions('mnist')}"
        time.sleep(0.02)  # the server cannot be waited for in another way than by asking it
