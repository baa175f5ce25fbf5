"""bench.load.observing.telemetry: what the processes and the machine went through."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import psutil
import pytest

from bench.load.observing import telemetry
from bench.load.observing.energy import energy
from bench.load.observing.telemetry import (
    LoopDelayProbe,
    MachineProbe,
    ProcessProbe,
    ServerProbe,
    Telemetry,
)

FAMILY = """
import os, sys, time
child = os.fork()
end = time.process_time() + 0.2
while time.process_time() < end:
    pass
if child:
    print(child, flush=True)
    sys.stdin.read()
    os.waitpid(child, 0)
else:
    os.read(0, 1)
"""


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.fixture
def family() -> Iterator["subprocess.Popen[str]"]:
    """A server with one child; both end when their standard input does."""
    process = subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline()
    yield process
    process.communicate()


def test_a_process_knows_its_cpu_time_and_memory() -> None:
    probe = ProcessProbe("worker 3")
    assert probe.source == "worker 3"
    before = probe.read(0.5)["cpu_seconds"]
    burn(0.05)
    values = probe.read(0.5)
    assert before is not None
    assert values["cpu_seconds"] is not None
    assert before + 0.05 <= values["cpu_seconds"] <= time.process_time()
    assert values["memory"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


def test_waiting_for_a_core_shows_as_run_delay() -> None:
    if not os.path.exists("/proc/self/schedstat"):  # noqa: PTH110  # a fact of the kernel, not a file of ours
        pytest.skip("this kernel keeps no schedstat")
    core = min(os.sched_getaffinity(0))
    code = (
        "import os, sys, time; from bench.load.observing.telemetry import ProcessProbe; probe = ProcessProbe('worker 0');"
        "end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(probe.read(1.0)['run_delay'])"
    )
    pinned = [
        subprocess.Popen(
            [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{core}}}); {code}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    waited = [float(process.communicate()[0]) for process in pinned]
    assert max(waited) > 0.1


def test_a_blocked_loop_is_late_for_every_instant_that_it_missed() -> None:
    probe = LoopDelayProbe("worker 0")
    gevent.sleep(0.02)
    time.sleep(0.2)  # blocks the loop: this thread has not been patched
    gevent.sleep(0.001)
    values = probe.read(1.0)
    probe.close()
    assert values["loop_delay_max"] is not None
    assert values["loop_delay_max"] > 0.15
    assert values["loop_delay_p50"] is not None
    assert values["loop_delay_p50"] > 0.05


def test_the_most_calls_in_flight_of_each_reading() -> None:
    counts = iter([2, 7, 3, *[1] * 1000])
    seen: list[int] = []
    probe = LoopDelayProbe("worker 0", lambda: seen.append(next(counts)) or seen[-1])
    while len(seen) < 3:
        gevent.sleep(0.01)
    most = probe.read(1.0)["in_flight_max"]
    read = len(seen)
    while len(seen) == read:
        gevent.sleep(0.01)
    assert (most, probe.read(1.0)["in_flight_max"]) == (7, 1)
    probe.close()


def test_a_loop_that_has_not_turned_at_all_is_not_on_time() -> None:
    probe = LoopDelayProbe("worker 0")
    time.sleep(0.1)  # blocks the loop
    values = probe.read(0.1)
    probe.close()
    assert values["loop_delay_max"] is not None
    assert values["loop_delay_max"] > 0.08


def test_a_server_is_watched_with_its_children(family: "subprocess.Popen[str]") -> None:
    probe = ServerProbe(family.pid)
    values = probe.read(1.0)
    assert values["processes"] == 2
    own = psutil.Process(family.pid).memory_info().rss
    assert values["memory"] is not None
    assert values["memory"] > own
    family.communicate()
    gone = probe.read(1.0)
    assert (gone["memory"], gone["processes"]) == (None, 0)
    assert gone["cpu_seconds"] == probe.read(1.0)["cpu_seconds"]


def test_cpu_time_of_a_server_counts_from_the_first_look_on() -> None:
    code = "import sys, time\nfor line in sys.stdin:\n    end = time.process_time() + 0.1\n    while time.process_time() < end: pass\n    print(1, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        probe = ServerProbe(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        first, second = probe.read(1.0)["cpu_seconds"], probe.read(1.0)["cpu_seconds"]
        process.stdin.close()
    assert first is not None
    assert 0.08 <= first <= 0.15
    assert second == pytest.approx(first, abs=0.02)


def test_no_such_server() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    with pytest.raises(psutil.NoSuchProcess):
        ServerProbe(process.pid)


def test_the_machine_is_busy_while_something_runs() -> None:
    probe = MachineProbe()
    burn(0.3)
    values = probe.read(0.3)
    assert values["busy"] is not None
    assert 0.5 / psutil.cpu_count() < values["busy"] <= 1
    assert values["steal"] is not None
    assert 0 <= values["steal"] <= 1


def rapl(root: Path, **joules: int) -> None:
    """Zones of processors as Linux shows them; keys are number, and name behind an underscore."""
    for key, spent in joules.items():
        number, _, name = key.removeprefix("zone").partition("_")
        zone = root / f"intel-rapl:{':'.join(number)}"
        zone.mkdir(exist_ok=True)
        for file, text in (
            ("name", name.replace("_", "-")),
            ("max_energy_range_uj", "100000000"),
            ("energy_uj", str(spent * 10**6)),
        ):
            (zone / file).write_text(f"{text}\n")


def test_energy_of_processors_is_counted_past_the_end_of_their_counters(tmp_path: Path) -> None:
    """Two packages and the memory of one; cores are part of a package, and the platform holds all."""
    assert energy(tmp_path) is None
    rapl(tmp_path, zone0_package_0=90, zone00_core=1, zone01_dram=5, zone1_package_1=7, zone2_psys=1)
    probe = energy(tmp_path)
    assert probe is not None
    assert probe.read(1.0) == {"joules": 0.0}
    rapl(tmp_path, zone0_package_0=10, zone00_core=50, zone01_dram=6, zone1_package_1=9, zone2_psys=80)
    assert probe.read(1.0) == {"joules": 20.0 + 1.0 + 2.0}
    assert probe.read(1.0) == {"joules": 23.0}
    for zone in tmp_path.iterdir():  # as for all but root
        (zone / "energy_uj").unlink()
    assert energy(tmp_path) is None


class Counter:
    """A probe that counts its readings."""

    source = "counter"

    def __init__(self) -> None:
        self.spans: list[float] = []
        self.closed = False

    def read(self, seconds: float) -> telemetry.Values:
        self.spans.append(seconds)
        return {"readings": len(self.spans)}

    def close(self) -> None:
        self.closed = True


def test_probes_are_read_each_second_and_once_more_at_the_end() -> None:
    probe, emitted = Counter(), []
    probes = [probe, MachineProbe(), Counter()]
    before = time.perf_counter()
    watching = Telemetry(probes, lambda at, source, values: emitted.append((at, source, len(values))))
    after = time.perf_counter()
    with gevent.Timeout(60):
        while len(emitted) < 4:
            gevent.sleep(0.01)
    gevent.sleep(0.15)
    watching.stop()
    assert [(source, size) for _, source, size in emitted] == 3 * [("counter", 1), ("machine", 2)]
    assert probe.closed
    assert probe.spans[0] >= 0.99
    assert before <= emitted[-1][0] - sum(probe.spans) + 1e-6 <= after + 2e-6, (
        "spans without a gap, from the beginning"
    )
    gevent.sleep(0)
    assert len(emitted) == 6


def test_what_is_stopped_at_once_has_been_read_once() -> None:
    emitted: list[str] = []
    watching = Telemetry([Counter()], lambda at, source, values: emitted.append(source))
    watching.stop()
    assert emitted == ["counter"]
