"""Files that a process may open: counted before the load, and no traceback where they run out (issue 15)."""

import errno
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from locust.argument_parser import get_parser

from bench import BenchError
from bench.load.arguments import add_arguments
from bench.load.observing.telemetry import Telemetry, Values
from bench.load.open_files import check_open_files
from bench.load.options import read_options
from bench.load.run_folder import RunFolder
from bench.load.sources import Source
from bench.payload import Pool
from bench.runs.recording import RunWriter

POOL = Pool.of({"x": np.zeros((1, 1))}, None, output="y", model="m")


@pytest.mark.parametrize(
    ("connections", "protocol", "told", "text"),
    [
        ("1", "tfs", {"num_users": 5000}, None),
        ("900", "tfs", {"num_users": 1}, None),
        ("2000", "tfs", {"num_users": 1}, "--connections 2000: about 20"),
        (
            "1",
            "tfs-rest",
            {"num_users": 5000},
            "5000 users over REST, each with its own connection: about 50",
        ),
        ("1", "tfs-rest", {"num_users": 5000, "processes": 10}, None),
        ("1", "tfs-rest", {"num_users": 5000, "master": True}, None),
    ],
)
def test_a_load_of_more_connections_than_files_is_refused(
    monkeypatch: pytest.MonkeyPatch, connections: str, protocol: str, told: dict[str, Any], text: str | None
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    parser = get_parser(default_config_files=[])
    add_arguments(parser)
    options = read_options(parser.parse_args(["--connections", connections]))
    pools = {Source(type("Own", (), {}), 0, "Predict", protocol): POOL}
    if text is None:
        check_open_files(options, pools, SimpleNamespace(**told))
    else:
        with pytest.raises(BenchError, match=text) as refused:
            check_open_files(options, pools, SimpleNamespace(**told))
        assert "may open 1024: allow more with ulimit -n" in str(refused.value)


class Exhausted:
    source = "machine"

    def read(self, seconds: float) -> Values:
        raise OSError(errno.EMFILE, "Too many open files", "/proc/stat")

    def close(self) -> None:
        pass


class Fine(Exhausted):
    source = "worker 0"

    def read(self, seconds: float) -> Values:
        return {"seen": 1.0}


def test_a_probe_without_files_is_named_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    rows: list[tuple[str, Values]] = []
    telemetry = Telemetry([Exhausted(), Fine()], lambda _, source, values: rows.append((source, values)))
    telemetry._read()
    telemetry._read()
    telemetry.stop()
    assert rows[:4] == [("machine", {}), ("worker 0", {"seen": 1.0})] * 2
    assert caplog.messages == ["machine is not observed: [Errno 24] Too many open files: '/proc/stat'"]


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EMFILE, "ulimit -n"), (errno.ENOSPC, "make room there")]
)
def test_a_run_that_cannot_be_recorded_names_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BenchError("samples/0.rows: it failed; the run cannot be recorded") from OSError(number, "")

    writer = RunWriter.create(tmp_path, "own", None, {})
    monkeypatch.setattr(writer, "event", fail)
    reasons: list[str] = []
    RunFolder(writer, reasons.append).event(1.0, "note", "x")
    (reason,) = reasons
    assert remedy in reason
