"""Each case of `cases/*.toml`, taken from TensorFlow Serving's documented and observed behaviour."""

from pathlib import Path
from typing import Any

import pytest

from bench.launch import server_process
from tests.conformance.asking import Target, cases, check_rest, check_rpc
from tests.conformance.conftest import arguments, await_versions, skip_unless_it_holds


def _named(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.fixture(autouse=True)
def _holds(request: pytest.FixtureRequest) -> None:
    """Skip a case that does not hold for the named server's version, or that would spoil it."""
    if "case" in request.fixturenames:
        skip_unless_it_holds(request.config, request.getfixturevalue("case"))


def _safe(file: str) -> list[dict[str, Any]]:
    return [case for case in cases(file) if "spoils" not in case]


@pytest.mark.parametrize("case", cases("predict.toml"), ids=_named)
def test_predict(case: dict[str, Any], target: Target) -> None:
    check_rpc(case, target)


@pytest.mark.parametrize("case", cases("inference.toml"), ids=_named)
def test_inference(case: dict[str, Any], target: Target) -> None:
    check_rpc(case, target)


@pytest.mark.parametrize("case", _safe("models.toml"), ids=_named)
def test_models(case: dict[str, Any], target: Target) -> None:
    check_rpc(case, target)


@pytest.mark.parametrize("case", [c for c in cases("models.toml") if "spoils" in c], ids=_named)
def test_what_spoils_a_server(case: dict[str, Any], conformance_models: Path) -> None:
    """Each on a server of its own."""
    with (
        server_process.embedded(arguments(conformance_models)) as server,
        Target(server.address, None) as target,
    ):
        await_versions(target)
        check_rpc(case, target)


@pytest.mark.parametrize("case", cases("rest.toml"), ids=_named)
def test_rest(case: dict[str, Any], target: Target) -> None:
    check_rest(case, target)


@pytest.mark.parametrize("case", cases("batching.toml"), ids=_named)
def test_batching(case: dict[str, Any], batching_target: Target) -> None:
    check_rpc(case, batching_target)


def test_there_are_enough_cases() -> None:
    files = ("predict.toml", "inference.toml", "models.toml", "rest.toml", "batching.toml")
    assert sum(len(cases(file)) for file in files) >= 80
