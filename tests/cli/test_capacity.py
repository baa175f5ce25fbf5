"""`bench capacity` from beginning to end on a server with known service times, and what it refuses."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import BenchError
from bench.cli.ab_conditions import capacity_of, looked_up
from bench.cli.capacity_run import _hunts as hunts_of_server
from bench.cli.capacity_run import _planned as planned
from bench.cli.capacity_run import groups_of
from bench.experiment.beginning import prepare
from bench.experiment.order import server_options
from bench.launch import server_process
from bench.launch.remote import described
from bench.runs.capacity import Capacity
from bench.runs.manifest import Manifest
from tests.analysis.test_schemas import check
from tests.cli.inside import bench, process

SERVICE = ("--service_time", "exponential(2ms)", "--workers", "1")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server_process.embedded(["--backend", "synthetic", "--model_name", "mnist", *SERVICE]) as server:
        yield server.address


def test_the_way_to_an_answer(address: str, tmp_path: Path) -> None:
    """So short a time gives a bracket at best; how good answers are is for tests/benchmarks/capacity.py."""
    done = process(
        *("capacity", address, "--model", "mnist", "--p99-ms", "25", "--time", "2s"),
        *("--results", tmp_path / "results", "--json", tmp_path / "told.json"),
        cwd=tmp_path,
    )
    assert done.returncode in (0, 3), done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    check("capacity", told)
    written = Capacity.read(Path(told["folder"]))
    assert written is not None
    assert written.model_dump(by_alias=True) == told["capacity"]
    (condition,) = written.conditions
    assert (condition.model, condition.batch) == ("mnist", 1)
    assert condition.saturated is not None
    assert condition.saturated > 0
    (sentence,) = told["sentences"]
    assert " ".join(done.stdout.split()).startswith(sentence)
    assert (done.returncode == 0) == (condition.outcome == "found")
    reported = bench("report", told["folder"], "--json", cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--p99-ms 20, or --goodput"),
        (("--p99-ms", "20", "--goodput", "0.99@20ms"), "--p99-ms 20, or --goodput"),
        (("--goodput", "99@20ms"), "--goodput 99@20ms: expected a share"),
        (("--goodput", "0.99"), "--goodput 0.99: expected a share"),
        (("--goodput", "0.99@soon"), "--goodput 0.99@soon: expected a share"),
        (("--p99-ms", "20", "--precision", "300%"), "--precision 300%: expected a share"),
        (("--p99-ms", "20", "--max-errors", "2"), "--max-errors 2: expected a share"),
        (("--p99-ms", "20", "--max-errors", "1%"), "--max-errors 1%: the service level allows no more"),
        (("--p99-ms", "20", "--by", "version"), "of HOST:PORT give two --versions"),
        (("--p99-ms", "20", "--master", "localhost:1", "--processes", "2"), "--processes and --master"),
        (("--p99-ms", "20", "--master", "localhost:1"), "--master localhost:1: "),
        (("--p99-ms", "20000"), "--deadline 10: below the 20 s"),
        (("--p99-ms", "20", "--model", "other"), "does not serve it"),
    ],
)
def test_usage(address: str, tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    done = bench("capacity", address, "--model", "mnist", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in " ".join(done.stderr.split())
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("protocols", [["oip"], ["tfs", "oip"], ["oip", "tfs"]])
def test_each_condition_has_its_protocol(address: str, protocols: list[str]) -> None:
    """As it is looked at: its requests, and the server that load processes call; the first one is the baseline."""
    asking = inquiry_options()
    with looked_up(
        capacity_of(address, None, "mnist", None, 1, protocol=",".join(protocols)),
        signature=None, requests=None, shape="", count=10, seed=1, outputs=(), deadline=10.0, server=asking,
    ) as looked:  # fmt: skip
        assert [side.inquiry.api.name for side in looked.sides] == (protocols * 2)[:2]
        prepared = planned(
            looked, None, asking, {"seed": 1, "deadline": 10.0, "count": 10, "telemetry": PAGES}
        )
        pages = [list(described(each).telemetry) for each in prepared.servers]
        assert pages == [["http://n:9100/m"], []][: len(protocols)]
        assert [server_options(described(each))["protocol"] for each in prepared.servers] == protocols
        hunts = hunts_of_server(looked, prepared)
    assert [each.cell.server for each in hunts] == [each.name for each in prepared.servers]
    assert {each.condition.model for each in hunts} == {"mnist"}


PAGES = ["http://n:9100/m"], []
"""Of each side, of exporters."""


def inquiry_options() -> dict[str, Any]:
    """What `bench capacity` has of its command line where nothing is named."""
    tls = dict.fromkeys(("grpc_tls_ca", "grpc_tls_cert", "grpc_tls_key", "grpc_tls_server_name"))
    call = {
        "timeout": 10.0,
        "transport": "native",
        "pairs": "",
        "parameters": "",
        "authority": None,
        "max_answer_bytes": 1 << 20,
    }
    return {**call, **tls, "grpc_tls": False}


def conditions(place: Path, more: str, by: str | None) -> list[list[str]]:
    """Titles of the conditions of a file that are compared with each other."""
    (place / "servers.toml").write_text('[servers.here]\nkind = "remote"\naddress = "localhost:1"\n')
    file = place / "two.toml"
    file.write_text(
        f'scenario = "mnist_open"\nservers = ["here"]\nloads = [{{ users = 4 }}, {{ users = 8 }}]\n{more}'
    )
    return [
        [each.condition.title for each in group]
        for group in groups_of(prepare(file, {"trials": 1}), file, by)
    ]


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_first_condition_of_a_file_is_the_baseline(tmp_path: Path, seed: int) -> None:
    """Blocks have another order with each seed."""
    assert conditions(tmp_path, f"batch_sizes = [32, 1]\nseed = {seed}\n", None) == [["batch 32", "batch 1"]]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('protocol = "tfs-rest"', "here: protocol tfs-rest: arrivals at random are sent over gRPC only"),
        ("ready_seconds = 0.3", "servers.here: not ready after 0.3 s"),
    ],
)
def test_servers_of_a_file_that_cannot_be_measured(tmp_path: Path, more: str, expected: str) -> None:
    (tmp_path / "servers.toml").write_text(
        f'[servers.here]\nkind = "remote"\naddress = "localhost:1"\n{more}\n'
    )
    (tmp_path / "one.toml").write_text(
        'scenario = "mnist_open"\nservers = ["here"]\nloads = [{ users = 4 }]\n'
    )
    done = bench("capacity", "one.toml", "--p99-ms", "20", cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    waits = more.startswith("ready")
    assert ("connecting to here" in done.stderr) == (tmp_path / "results").exists() == waits


def test_what_is_compared_with_what(tmp_path: Path) -> None:
    versions = "models = { mnist = { versions = [1, 2, 3] } }\n"
    assert conditions(tmp_path, versions, None) == [["version 1", "version 2", "version 3"]]
    both = f"batch_sizes = [1, 8]\n{versions}"
    assert all(len(group) == 1 for group in conditions(tmp_path, both, None))
    assert conditions(tmp_path, both, "version") == [
        [f"version {version}, batch {batch}" for version in (1, 2, 3)] for batch in (1, 8)
    ]
    assert [len(group) for group in conditions(tmp_path, both, "batch")] == [2, 2, 2]
    with pytest.raises(BenchError, match="--by server: there is one server"):
        conditions(tmp_path, both, "server")


def test_users_that_are_enough(address: str, tmp_path: Path) -> None:
    done = process(
        *("capacity", address, "--model", "mnist", "--p99-ms", "100", "--users", "--time", "8s"),
        *("--results", tmp_path / "results", "--json", tmp_path / "told.json"),
        cwd=tmp_path,
    )
    assert done.returncode in (0, 3), done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    check("capacity", told)
    (condition,) = told["capacity"]["conditions"]
    assert told["capacity"]["counted"] == "users"
    # a busy machine may leave out all levels, and says so
    assert condition["levels"] or condition["discarded"]
    assert all(level["users"] >= 1 and level["rate"] > 0 for level in condition["levels"])


def test_an_interrupted_experiment_gives_what_is_known_so_far(address: str, tmp_path: Path) -> None:
    (tmp_path / "servers.toml").write_text(f'[servers.here]\nkind = "remote"\naddress = "{address}"\n')
    (tmp_path / "one.toml").write_text(
        'scenario = "mnist_open"\nservers = ["here"]\nloads = [{ users = 4 }]\n'
    )
    refused = bench("capacity", "one.toml", "--p99-ms", "20", "--seed", "3", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--seed: it is for HOST:PORT" in refused.stderr
    command = [sys.executable, "-m", "bench", "capacity", "one.toml", "--p99-ms", "25", "--time", "20s"]
    with subprocess.Popen(
        command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stderr is not None
        # the ramp is next; before it a busy machine may wait for a connection
        assert any("(32 users)" in line for line in running.stderr)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "interrupted; what is known so far" in err
    assert out.startswith("inconclusive")
    (folder,) = (tmp_path / "results").iterdir()
    written = Capacity.read(folder)
    assert written is not None
    (condition,) = written.conditions
    assert (condition.title, condition.server) == ("mnist on here", "here")
    assert condition.saturated is not None
    (probe,) = folder.glob("*b1t001")
    assert Manifest.read(probe).load.kind == "closed", "although the scenario has a rate of its own"
    again = bench("run", folder, "--resume", cwd=tmp_path)
    assert again.returncode == 2
    assert "made by bench capacity" in again.stderr
