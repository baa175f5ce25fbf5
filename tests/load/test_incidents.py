"""What happens to a load process at one instant is noted, with its instant: stepped clocks, ended connections, full disks."""

import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import psutil
import pytest

from bench import BenchError
from bench.analysis.reading.interruptions import interruptions
from bench.launch import server_process
from bench.load import run_folder
from bench.load.observing import incidents
from bench.load.observing.incidents import ConnectionsProbe, WallClockProbe
from bench.load.run_folder import LEAST_ROOM, RunFolder
from bench.runs.recording import RECORDING_ENDED, RunWriter
from bench.runs.run import Run
from tests.benchmarks.faults.scenery import steppable
from tests.load.locust_runs import finish, start, wait_for, wait_for_folder

Noted = list[tuple[float, str, str, dict[str, Any]]]


class Clock:
    """A wall clock that somebody steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.step = self.drift = 0.0
        self.looks = 0
        self._begin = time.perf_counter()
        changed = SimpleNamespace(perf_counter=time.perf_counter, time=self._time)
        monkeypatch.setattr(incidents, "time", changed)

    def _time(self) -> float:
        self.looks += 1
        return time.time() + self.step + self.drift * (time.perf_counter() - self._begin)

    def look(self) -> None:
        """Wait until it has been read twice more."""
        since = self.looks
        with gevent.Timeout(60):
            while self.looks < since + 2:
                gevent.sleep(0.01)


@pytest.fixture
def noted() -> Noted:
    return []


@pytest.fixture
def note(noted: Noted) -> Any:
    return lambda at, kind, text, **values: noted.append((at, kind, text, values))


@pytest.mark.parametrize(("step", "named"), [(3600.0, "+3600.000 s"), (-0.06, "-0.060 s"), (0.04, None)])
def test_a_step_of_the_wall_clock_is_noted(
    monkeypatch: pytest.MonkeyPatch, noted: Noted, note: Any, step: float, named: str | None
) -> None:
    """Slewing is none: 500 parts in a million is what adjtime does."""
    clock = Clock(monkeypatch)
    clock.drift = 5e-4
    probe = WallClockProbe("worker 3", note)
    clock.look()
    before = time.perf_counter()
    clock.step = step
    clock.look()
    assert probe.read(1.0) == {}
    probe.close()
    if named is None:
        assert noted == []
        return
    ((at, kind, text, _),) = noted
    assert before <= at <= time.perf_counter()
    assert kind == "wall clock stepped"
    assert text.startswith(f"by {named} in worker 3; ")


def test_ends_of_connections_are_noted_together_where_they_are_together(noted: Noted, note: Any) -> None:
    channel = SimpleNamespace(on_left=None)
    probe = ConnectionsProbe("worker 0", channel, note)
    before = time.perf_counter()
    for reason in ("gone", "gone", "lost"):
        channel.on_left(reason)
    assert noted == [], "the hub writes nothing"
    probe.read(1.0)
    assert [(text, values["count"]) for _, _, text, values in noted] == [
        ("2 connections of worker 0: gone", 2),
        ("1 connection of worker 0: lost", 1),
    ]
    assert all(before <= at <= at + values["lasting"] <= time.perf_counter() for at, _, _, values in noted)
    for number in range(10_000):  # a server that invents reasons fills no memory
        channel.on_left(f"reason {number}")
    probe.close()
    assert len(noted) == 2 + incidents.MOST
    assert sum(values["count"] for *_, values in noted) == 3 + 10_000


def test_a_disk_that_fills_ends_the_record_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept back is given free for it."""
    room = {"left": float("inf")}
    monkeypatch.setattr(run_folder, "room_in", lambda folder: room["left"])
    writer = RunWriter.create(tmp_path, "own", None, {"clock_origin": time.perf_counter(), "target": {}})
    reasons: list[str] = []
    folder = RunFolder(writer, reasons.append)
    assert folder._reserve.seek(0, 2) == LEAST_ROOM
    gevent.sleep(0)
    assert reasons == []
    room["left"] = 1e6
    with gevent.Timeout(60):
        while not reasons:
            gevent.sleep(0.01)
    assert folder.full
    assert folder._reserve.closed
    assert "1.0 MB are left on its disk" in reasons[0]
    assert folder.finish(state="interrupted", stopped=1.0)
    run = Run.open(writer.path)
    assert [event["kind"] for event in run.events] == [RECORDING_ENDED]
    assert run.manifest.whole


@pytest.mark.parametrize(("left", "refused"), [(2 * LEAST_ROOM - 1, True), (2 * LEAST_ROOM, False)])
def test_a_run_without_room_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int, refused: bool
) -> None:
    monkeypatch.setattr(run_folder, "room_in", lambda folder: left)
    if not refused:
        RunFolder.check_root(tmp_path)
        return
    with pytest.raises(BenchError, match=r"8\.4 MB are left on its disk; make room there"):
        RunFolder.check_root(tmp_path)


FILLING = """
import os
from pathlib import Path
from scenarios.mnist import Mnist

really = os.statvfs

def statvfs(path):
    seen = really(path)
    if not Path(__file__).with_name("full").exists():
        return seen
    return os.statvfs_result((seen.f_bsize, seen.f_frsize, seen.f_blocks, 1, 1, *seen[5:]))

os.statvfs = statvfs
"""


@pytest.fixture(scope="module")
def server() -> Any:
    with server_process.embedded(["--backend", "null"]) as launched:
        yield launched


def test_a_load_whose_disk_fills_ends_with_one_line_and_a_whole_folder(server: Any, tmp_path: Path) -> None:
    scenario, results = tmp_path / "filling.py", tmp_path / "results"
    scenario.write_text(FILLING)
    load = start(
        results,
        "--host",
        server.address,
        "-u",
        "2",
        "-r",
        "2",
        "--schedule",
        "closed:2ms",
        scenario=str(scenario),
    )
    folder = wait_for_folder(results, load)
    (tmp_path / "full").touch()
    done = finish(load, results)
    assert done.code == 2, done.output
    first, among_warnings = done.output.split("left on its disk", 1)  # when it happens
    assert "[interrupted]" not in first, done.output
    assert among_warnings.count("left on its disk") == among_warnings.count("[interrupted]") == 1, done.output
    assert "Traceback" not in done.output
    run = Run.open(folder)
    assert run.manifest.state == "interrupted"
    (named,) = [each for each in interruptions(run) if each.kind == "recording ended"]
    assert named.end == run.manifest.stopped
    assert (folder / "samples.parquet").exists()


@pytest.mark.skipif(not Path("/usr/bin/cc").exists(), reason="takes a C compiler")
def test_a_load_process_whose_clock_is_stepped_goes_on_and_is_named(server: Any, tmp_path: Path) -> None:
    """Locust's worker would leave: it hears of its master by the wall clock."""
    results = tmp_path / "results"
    options = [
        "--host",
        server.address,
        "-u",
        "2",
        "-r",
        "2",
        "--processes",
        "2",
        "--schedule",
        "closed:2ms",
    ]
    load = start(results, *options, environment=steppable(tmp_path))
    folder = wait_for_folder(results, load, workers=2)

    def told() -> int:
        return len([row for row in Run.open(folder).telemetry if row.get("source") == "worker 0"])

    wait_for(lambda: told() > 0, load)
    worker = psutil.Process(load.pid).children()[0]
    (tmp_path / "stepped").write_text(str(worker.pid))
    since = told()
    wait_for(lambda: told() > since + 1, load)
    assert worker.is_running()
    load.send_signal(signal.SIGINT)
    done = finish(load, results)
    assert done.code == 0, done.output
    kinds = [each.kind for each in interruptions(Run.open(folder))]
    assert "wall clock stepped" in kinds
    assert "load process lost" not in kinds
