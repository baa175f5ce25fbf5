"""Requests for any model, as its own server describes it."""

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.load import own_options
from bench.load.any_model import model_options, model_pool, model_server
from bench.load.options import ScenarioOptions
from bench.load.site import Site
from bench.load.sources import NoServerYetError
from bench.payload import Pool, array_of
from bench.wire.messages import PredictRequest
from tests.foreign import Arrays, Foreign, serving
from tests.load.test_preflight import options


def score(inputs: Arrays) -> Arrays:
    return {"score": inputs["user"].astype(np.float32) + inputs["features"].sum(axis=1)}


RECOMMENDER = Foreign(
    {"user": ("int64", (-1,)), "features": ("float", (-1, 8))}, {"score": ("float", (-1,))}, score
)


@pytest.fixture(autouse=True)
def scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_options, "OWN", {})
    model_options()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(RECOMMENDER) as found:
        yield found


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "sample.jsonl"
    lines = [{"inputs": {"user": user, "features": [0.5] * 8}, "label": user % 2} for user in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def given(address: str, *arguments: str) -> ScenarioOptions:
    return replace(options("--model-name", "own", *arguments), address=address)


def users(pool: Pool) -> list[int]:
    requests = map(PredictRequest.FromString, pool.messages)
    return [user for request in requests for user in array_of(request.inputs["user"]).tolist()]


def test_requests_of_a_file_are_for_the_signature_that_the_server_reports(
    address: str, requests: Path
) -> None:
    pool = model_pool(given(address, "--requests", str(requests), "--batch-size", "4"))
    assert set(users(pool)) == set(range(40))
    assert (pool.model, pool.signature, pool.output, pool.batch) == ("own", "serving_default", "score", 4)
    assert pool.labels is not None
    assert pool.origin.startswith("sample.jsonl, 40 examples, sha256 ")


def test_random_requests_follow_the_seed(address: str) -> None:
    first, again, other = (model_pool(given(address, "--seed", seed)) for seed in ("1", "1", "2"))
    assert first.sha256 == again.sha256 != other.sha256
    assert first.labels is None
    assert first.origin == "random, 500 examples, seed 1"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--requests", "FILE"], "line 41, key 'item': the signature has features, user"),
        (["--requests", "none.jsonl"], "--requests none.jsonl: No such file or directory"),
        (["--requests", "FILE", "--shape", "len=3"], "--shape len=3: it is for random inputs"),
        (["--signature", "rank"], "--signature rank: model own at "),
        (["--model-name", "other"], "--model-name other: "),
        (["--output", "rank"], "--output rank: the signature has the outputs score"),
        (["--shape", "user=3,4"], r"--shape user=3,4: the input is int64 \[-1\]"),
        (["--examples", "0"], "--examples 0: expected an integer >= 1"),
        (["--batch-size", "0"], "--batch-size 0"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    address: str, requests: Path, arguments: list[str], problem: str
) -> None:
    with requests.open("a") as file:
        file.write('{"inputs": {"item": 1}}\n')
    with pytest.raises(BenchError, match=problem) as refused:
        model_pool(given(address, *(str(requests) if each == "FILE" else each for each in arguments)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "how",
    [
        ("--headless", "--processes", "2"),
        ("--headless", "--master"),
        ("--worker",),
        (),
        ("--headless", "--preflight", "cells.json"),
    ],
)
def test_standard_input_is_for_one_load_process(
    address: str, how: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one, or another test, would find it empty."""
    row = b'{"inputs": {"user": 7, "features": [0, 0, 0, 0, 0, 0, 0, 0]}}'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(row)))
    assert set(users(model_pool(given(address, "--requests", "-", "--headless")))) == {7}
    with pytest.raises(BenchError, match="--requests -: standard input is read once"):
        model_pool(given(address, "--requests", "-", *how))


def test_a_model_has_to_be_named() -> None:
    with pytest.raises(BenchError, match="--model-name: name the model"):
        model_pool(replace(options(), address="localhost:1"))
    with pytest.raises(NoServerYetError):
        model_pool(given(""))


def test_a_server_without_metadata_is_refused() -> None:
    with (
        serving(replace(RECOMMENDER, tells=False)) as silent,
        pytest.raises(BenchError, match=r"signatures of own .*: a payload of your own"),
    ):
        model_pool(given(silent))


def test_a_folder_that_the_embedded_server_serves(tmp_path: Path) -> None:
    (tmp_path / "ranker" / "3").mkdir(parents=True)
    (tmp_path / "own").mkdir()
    path = str(tmp_path / "ranker")
    (_, config) = model_server(Site(options("--model-path", path), print, tmp_path / "own"))
    assert f'name: "ranker"\n    base_path: "{path}"' in Path(config).read_text()
    for wrong in (str(tmp_path / "ranker" / "3"), str(tmp_path / "none")):
        with pytest.raises(
            BenchError, match=f"--model-path {wrong}: expected a folder with numbered versions"
        ):
            model_server(Site(options("--model-path", wrong), print, tmp_path / "own"))
    with pytest.raises(BenchError, match="--host: give HOST:PORT of the server, or --model-path DIR"):
        model_server(Site(options(), print, tmp_path / "own"))
