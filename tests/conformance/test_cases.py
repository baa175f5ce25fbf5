"""Each case of `cases/*.toml`, taken from TensorFlow Serving's documented and observed behaviour."""

from typing import Any

import pytest

from tests.conformance.asking import Target, cases, check_rest, check_rpc


def _named(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", cases("predict.toml"), ids=_named)
def test_predict(case: dict[str, Any], target: Target) -> None:
    check_rpc(case, target)


@pytest.mark.parametrize("case", cases("inference.toml"), ids=_named)
def test_inference(case: dict[str, Any], target: Target) -> None:
    check_rpc(case, target)


@pytest.mark.parametrize("case", cases("models.toml"), ids=_named)
def test_models(case: dict[str, Any], target: Target) -> None:
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
