"""The server that the cases run against: one of our own that is started here, or the one named by `--target`.

    pytest tests/conformance --target HOST:PORT --rest-target HOST:PORT --target-version 2.14.1

runs them against another server, which serves the models that `python -m tests.conformance.models FOLDER` writes, and
prints what was equal, what differed and what was skipped, with the reason.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from bench.launch import server_process

pytest.register_assert_rewrite("tests.conformance.asking")

from tests.conformance.asking import Target  # noqa: E402 - its assertions are rewritten, which has to be said before

LIMIT = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption(
        "--target", help="host:port of a running server's gRPC port, with the models of models.py"
    )
    group.addoption("--rest-target", help="host:port of its REST port")
    group.addoption(
        "--target-version", help="version of TensorFlow Serving that it runs: cases of others are skipped"
    )


def skip_unless_it_holds(config: pytest.Config, case: Mapping[str, Any]) -> None:
    """Skip a case that the named server need not or must not be asked.

    `versions` of a case are those of the original that it holds for (PEP 440; all where it has none); `spoils` says
    why a server is of no use afterwards.
    """
    if not config.getoption("--target", None):
        return
    if "spoils" in case:
        pytest.skip(f"would spoil the server: {case['spoils']}")
    version = config.getoption("--target-version")
    if version and not SpecifierSet(case.get("versions", "")).contains(version):
        pytest.skip(f"holds for {case['versions']}, the server is {version}")
    if "target" in case and not config.getoption("--rest-target"):
        pytest.skip("no --rest-target")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print a table of the cases that were equal, different and skipped, where a server was named."""
    if not config.getoption("--target", None):
        return
    stats = terminalreporter.stats
    terminalreporter.section(f"conformance of {config.getoption('--target')}")
    for title, outcome in (
        ("equal", "passed"),
        ("different", "failed"),
        ("no answer", "error"),
        ("skipped", "skipped"),
    ):
        reports = stats.get(outcome, [])
        terminalreporter.write_line(f"{title:10} {len(reports):4}")
        for report in reports if outcome != "passed" else []:
            name = report.nodeid.partition("::")[2]
            why = report.longrepr[2] if outcome == "skipped" else _last_line(report)
            terminalreporter.write_line(f"    {name}: {str(why).removeprefix('Skipped: ')}")


def _last_line(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message.splitlines()[0] if crash else str(report.longrepr).splitlines()[-1]


@pytest.fixture(scope="session")
def conformance_models(written: Path) -> Path:
    """The folder that `tests.conformance.models` writes."""
    return written / "conformance"


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
    with server_process.embedded(arguments(models)) as server, Target(server.address, server.rest) as reached:
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
    with server_process.embedded(flags) as server, Target(server.address, server.rest) as reached:
        await_versions(reached)
        yield reached


def await_versions(target: Target) -> None:
    """A server is ready with one version of each model; the cases need both of mnist."""
    deadline = time.monotonic() + LIMIT
    while target.versions("mnist") != {1: "AVAILABLE", 2: "AVAILABLE"}:
        assert time.monotonic() < deadline, f"the versions of mnist: {target.versions('mnist')}"
        time.sleep(0.02)  # the server cannot be waited for in another way than by asking it
