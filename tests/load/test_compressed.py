"""A load of compressed requests: compressed before it begins, answered rightly, and recorded as such."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from bench.launch import server_process
from tests.foreign import serving
from tests.load.locust_runs import locust, start, until_recorded
from tests.load.test_any_model import RECOMMENDER


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    """Answers each digit with its label."""
    arguments = ["--backend", "synthetic", "--model_name", "mnist", "--rest_api_port=0"]
    with server_process.embedded(arguments) as launched:
        yield launched


@pytest.mark.parametrize(
    ("options", "most"),
    [(["--batch-size", "4"], 4 * 28 * 28 * 4), (["--protocol", "tfs-rest"], 28 * 28 * 4)],
    ids=["gRPC", "REST"],
)
def test_requests_are_compressed_and_rightly_answered(
    server: server_process.Server, tmp_path: Path, options: list[str], most: int
) -> None:
    address = str(server.rest) if "--protocol" in options else server.address
    load = ["--host", address, "-u", "2", "-r", "2", "--schedule", "closed:5ms", "--compression", "gzip"]
    done = until_recorded(start(tmp_path, *load, *options), tmp_path, 30)
    run = done.run()
    assert run.manifest.raw["load"]["compression"] == "gzip"
    (payload,) = run.manifest.payload.values()
    assert payload.bytes is not None
    assert payload.bytes < most / 2, done.output
    totals = [tally for _, tally in run.tallies.items()]
    examples = sum(tally.examples for tally in totals)
    assert sum(tally.requests for (key, _), tally in run.tallies.items() if key.outcome == "OK") >= 30
    assert sum(tally.correct for tally in totals) == sum(tally.checked for tally in totals) > 0
    assert examples > 0
    # answers over REST name no version: it is looked up again when the load has ended
    assert run.manifest.target.version_after == (1 if "--protocol" in options else None)


def test_a_server_that_reads_no_compressed_requests_is_named_before_the_load(tmp_path: Path) -> None:
    """As servers in Go answer where no decompressor was registered."""
    refusal = (
        grpc.StatusCode.UNIMPLEMENTED,
        'grpc: Decompressor is not installed for grpc-encoding "gzip"',
    )
    with serving(replace(RECOMMENDER, refusal=refusal)) as address:
        load = ["--host", address, "--model-name", "own", "--compression", "gzip"]
        done = locust(tmp_path, *load, scenario="scenarios/model.py")
    assert done.code == 2, done.output
    (told,) = [line for line in done.output.splitlines() if line.startswith("bench: ")]
    assert "leave --compression out" in told
