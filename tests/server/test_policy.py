from pathlib import Path

import pytest
from google.protobuf import text_format

from bench.server.models.policy import aspired, versions_in
from bench.wire.messages import ModelConfig


def _policy(text: str) -> object:
    return text_format.Parse(
        f"model_version_policy {{ {text} }}" if text else "", ModelConfig()
    ).model_version_policy


@pytest.mark.parametrize(
    "name,number",
    [("1", 1), ("00000123", 123), ("+5", 5), ("-3", -3), ("9223372036854775807", 2**63 - 1)],
)
def test_names_that_are_versions(tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / name).mkdir()
    assert versions_in(tmp_path) == {number: tmp_path / name}


@pytest.mark.parametrize(
    "name", ["1.0", "v1", "temp-1", "1_tmp", "1_0", "9223372036854775808", "²", "0x1", "١"]
)
def test_names_that_are_not(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert versions_in(tmp_path) == {}


def test_of_two_names_for_one_number_the_later_in_sort_order_wins(tmp_path: Path) -> None:
    for name in ("1", "001"):
        (tmp_path / name).mkdir()
    assert versions_in(tmp_path) == {1: tmp_path / "1"}


def test_a_missing_directory_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        versions_in(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "policy,wanted",
    [
        ("", [9]),
        ("latest {}", [9]),
        ("latest { num_versions: 0 }", [9]),
        ("latest { num_versions: 2 }", [3, 9]),
        ("latest { num_versions: 7 }", [1, 2, 3, 9]),
        ("all {}", [1, 2, 3, 9]),
        ("specific { versions: 1 versions: 3 }", [1, 3]),
        ("specific { versions: 1 versions: 4 }", [1]),
        ("specific {}", []),
    ],
)
def test_policies(policy: str, wanted: list[int]) -> None:
    found = {number: Path(str(number)) for number in (1, 2, 3, 9)}
    assert sorted(aspired(found, _policy(policy))) == wanted
    assert aspired({}, _policy(policy)) == {}
