"""This package's own server as a file declares it, and a server that runs already."""

import os
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.experiment.order import server_options
from bench.launch.kinds import launched
from bench.launch.running import Served
from bench.load.observing.counters import fetch
from bench.payload import predict_request
from bench.protocol.registry import api_named
from tests.launch.conftest import CPU, QUICK, Declare, gone
from tests.protocol.test_oip import inquiry


def test_it_serves_with_its_settings_until_the_block_ends(
    declare: Declare, models: list[Served], tmp_path: Path
) -> None:
    own = os.sched_getaffinity(0)
    with launched(
        declare(f'kind = "embedded"\ncpus = "{CPU}"\nflags = {{ {QUICK} }}'), models, tmp_path / "a"
    ) as server:
        assert server.pid is not None
        assert os.sched_getaffinity(server.pid) == {CPU}
        assert server.metrics is not None
        assert server.facts["available"] == {"mnist": [1, 2]}
        remote = declare(f'kind = "remote"\naddress = "{server.address}"\nmetrics = "{server.metrics}"')
        with launched(remote, models, tmp_path / "b") as same:
            assert (same.address, same.pid, same.metrics) == (server.address, None, server.metrics)
    assert gone(server.pid)
    assert os.sched_getaffinity(0) == own
    assert (tmp_path / "a" / "server.log").stat().st_size


def test_several_processes_show_their_counters_as_one_server(
    declare: Declare, models: list[Served], tmp_path: Path
) -> None:
    text = f'kind = "embedded"\nflags = {{ {QUICK}, processes = 2 }}'
    with launched(declare(text), models, tmp_path) as server:
        assert server.metrics is not None
        with urllib.request.urlopen(server.metrics, timeout=20) as page:  # noqa: S310 - our own server
            assert "# TYPE :tensorflow:serving:request_count counter" in page.read().decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind = "embedded"\nflags = { backend = "sythetic" }', "choose tensorflow, synthetic"),
        (
            'kind = "remote"\naddress = "127.0.0.1:1"\nready_seconds = 0.5',
            "not ready after 0.5 s (no connection",
        ),
        (
            'kind = "remote"\naddress = "127.0.0.1:1"\nmetadata = { token = "NO_SUCH_VARIABLE_HERE" }',
            'metadata.token = "NO_SUCH_VARIABLE_HERE": this environment variable is not set',
        ),
        (
            'kind = "remote"\naddress = "127.0.0.1:1"\ntls = { ca = "no.pem" }',
            'tls.ca = "no.pem": no such file',
        ),
    ],
)
def test_one_that_cannot_be_had_is_told(
    declare: Declare, models: list[Served], tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(BenchError) as caught, launched(declare(text), models, tmp_path):
        pass
    assert "servers.toml: servers.it" in str(caught.value)
    assert expected in str(caught.value)


def test_a_missing_version_is_not_waited_for_until_the_end_of_time(declare: Declare, tmp_path: Path) -> None:
    (tmp_path / "mnist" / "1").mkdir(parents=True)
    text = f'kind = "embedded"\nready_seconds = 2\nflags = {{ {QUICK} }}'
    served = [Served("mnist", tmp_path / "mnist", (1, 7))]
    with (
        pytest.raises(BenchError, match=r"not ready|version"),
        launched(declare(text), served, tmp_path),
    ):
        pass


def test_its_counters_tell_the_protocols_apart(
    declare: Declare, models: list[Served], tmp_path: Path
) -> None:
    text = f'kind = "embedded"\nprotocol = "oip"\nflags = {{ {QUICK} }}'
    request = predict_request({"images": np.zeros((1, 28, 28, 1), np.float32)}, model="mnist")
    with launched(declare(text), models, tmp_path / "a") as server:
        assert server.metrics is not None
        assert server_options(server)["protocol"] == "oip"
        assert fetch(server.metrics, "mnist", api_named("oip"))["ok"] == 0
        inquiry(server.address, "mnist").predict(request, "scores")
        ours, theirs = (fetch(server.metrics, "mnist", api_named(name)) for name in ("oip", "tfs"))
    assert [ours[name] for name in ("ok", "request_count", "runtime_count", "other_count")] == [1, 1, 1, 0]
    assert [theirs[name] for name in ("ok", "request_count", "other_count")] == [1, 0, 1]


def test_it_is_called_by_the_protocol_of_its_table(
    declare: Declare, models: list[Served], tmp_path: Path
) -> None:
    text = f'kind = "embedded"\nprotocol = "tfs-rest"\nflags = {{ {QUICK} }}'
    with launched(declare(text), models, tmp_path / "a") as server:
        assert server.address == server.rest
        assert server_options(server)["protocol"] == "tfs-rest"
        remote = declare(f'kind = "remote"\nprotocol = "tfs-rest"\naddress = "{server.address}"')
        with launched(remote, models, tmp_path / "b") as same:
            assert same.facts["available"] == {"mnist": [1, 2]}, "asked over REST"
            assert server_options(same)["protocol"] == "tfs-rest"
    with pytest.raises(BenchError, match=r'it.protocol = "tfs_rest": expected one of tfs, tfs-rest'):
        declare('kind = "embedded"\nprotocol = "tfs_rest"')
