"""`bench ab` and a server that counts what it is sent: what is wrong is refused before anything is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.cli.inside import bench
from tests.foreign import Foreign, serving

RANKER = Foreign(
    {"user": ("int64", (-1,)), "features": ("float", (-1, 3))},
    {"score": ("float", (-1,)), "rank": ("int64", (-1,))},
    lambda inputs: {"score": inputs["features"].sum(axis=1), "rank": inputs["user"]},
)
ROW = {"user": 1, "features": [1, 2, 3]}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(RANKER) as found:
        yield found


def ab(address: str, cwd: Path, rows: list[dict[str, Any]], *arguments: str) -> tuple[int, list[str], str]:
    """The exit code, lines of errors, and what was shown."""
    (cwd / "sample.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = bench(
        *("ab", address, "--model", "own", "--batch-size", "1,2", "--requests", "sample.jsonl", *arguments),
        cwd=cwd,
    )
    return done.returncode, done.stderr.splitlines(), " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"inputs": {"user": 1}}, "line 2, input 'features'"),
        ({"inputs": ROW | {"item": 3}}, "line 2, key 'item'"),
        ({"inputs": ROW | {"user": "x"}}, "line 2, input 'user'"),
        ({"inputs": ROW | {"user": 1.5}}, "line 2, input 'user'"),
        ({"inputs": ROW | {"features": [1, 2]}}, "line 2, input 'features'"),
        ({"inputs": ROW | {"features": [[1, 2, 3]]}}, "line 2, input 'user'"),
        ({"inputs": ROW, "label": 1}, "label"),
    ],
)
def test_wrong_keys_dtypes_and_shapes_are_refused_before_anything_is_sent(
    address: str, tmp_path: Path, row: dict[str, Any], text: str
) -> None:
    RANKER.calls.clear()
    code, errors, _ = ab(address, tmp_path, [{"inputs": ROW}, row])
    assert (code, len(errors)) == (2, 1), errors
    assert "sample.jsonl" in errors[0]
    assert text in errors[0]
    assert RANKER.calls == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "--output: the signature has the outputs rank, score; name the one that the labels are of"),
        (("--json", "nowhere/ab.json"), "--json nowhere/ab.json: No such file or directory; name a file in"),
        (("--junit", "."), "--junit .: Is a directory"),
        (("--markdown", "sample.jsonl/ab.md"), "--markdown sample.jsonl/ab.md: Not a directory"),
        (("--output", "rank", "--signature", "other"), "--signature other: model own at "),
    ],
)
def test_so_are_wrong_options(address: str, tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    RANKER.calls.clear()
    code, errors, _ = ab(address, tmp_path, [{"inputs": ROW, "label": 1}], *arguments)
    assert (code, len(errors)) == (2, 1), errors
    assert text in errors[0]
    assert RANKER.calls == []


def test_a_model_without_batch_dimension_takes_one_example(tmp_path: Path) -> None:
    """Its answer to a larger request is of the first example, and belongs to no other."""
    model = Foreign(
        {"x": ("float", (3,))}, {"y": ("float", (3,))}, lambda inputs: {"y": inputs["x"] * np.float32(2)}
    )
    rows = [{"inputs": {"x": [number, 0, 0]}} for number in range(4)]
    with serving(model) as address:
        code, errors, _ = ab(address, tmp_path, rows, "--answers-only")
        assert (code, len(errors)) == (2, 1), errors
        assert "--batch-size 2: signature serving_default has no batch dimension" in errors[0]
        assert model.calls == []


def test_nothing_answered_is_no_agreement(tmp_path: Path) -> None:
    busy = Foreign(
        RANKER.inputs, RANKER.outputs, RANKER.answer, refusal=(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
    )
    with serving(busy) as address:
        code, _, shown = ab(address, tmp_path, [{"inputs": ROW}], "--answers-only")
    assert (code, "no example was answered" in shown) == (3, True), shown


def test_random_inputs_are_named_in_the_verdict(address: str, tmp_path: Path) -> None:
    done = bench(
        *("ab", address, "--model", "own", "--batch-size", "1,2", "--examples", "5", "--answers-only"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Inputs were random: real ones, with --requests FILE" in " ".join(done.stdout.split())
    _, _, shown = ab(address, tmp_path, [{"inputs": ROW}], "--answers-only")
    assert "random" not in shown
