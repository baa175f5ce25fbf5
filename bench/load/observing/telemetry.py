"""Telemetry of the load process, the server and the machine.

A row a second and source. `cpu_seconds` counts on from row to row, memory is resident bytes, delays are seconds,
shares are between 0 and 1. What cannot be known here is None or missing.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import gevent
import psutil

from bench.load.engine.timers import Timer
from bench.runs.histogram import nearest_rank

log = logging.getLogger("bench")

Values = dict[str, float | None]

TICK_SECONDS: Final = 0.01
"""The loop's delay is looked at so often; each look costs 20 us."""
FAMILY_SECONDS: Final = 10.0
"""New child processes of the server are looked for so often, since that walks through all processes."""


class Probe(Protocol):
    """Something that can be read again and again."""

    source: str
    """What it watches: `worker <number>`, `server`, `machine` or `gpu`."""

    def read(self, seconds: float) -> Values:
        """Values of the time since the last reading, which is this long ago."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@runtime_checkable
class Describing(Probe, Protocol):
    """A probe of which a run's manifest says how it went."""

    def described(self) -> dict[str, Any]:
        """Facts, ready for JSON."""
        ...


class FetchingProbe:
    """A probe that gets its values from elsewhere, beside the load: a row shows those that came in the second before."""

    def __init__(self, source: str, fetch: Callable[[], Values]) -> None:
        """fetch: gives nothing where a server is busy, or gone; the row then stays empty."""
        self.source = source
        self._fetch, self._newest = fetch, Values()
        self._fetching: gevent.Greenlet | None = None

    def read(self, seconds: float) -> Values:
        """What has come; nothing while there was no answer. `seconds` does not matter: what is fetched counts on."""
        newest, self._newest = self._newest, {}
        if self._fetching is None or self._fetching.ready():
            self._fetching = gevent.spawn(self._renew)
        return newest

    def close(self) -> None:
        """Wait for nothing more."""
        if self._fetching is not None:
            self._fetching.kill()

    def _renew(self) -> None:
        self._newest = self._fetch()


class ProcessProbe:
    """CPU time and memory of this process, and how long its main thread waited for a core."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._process = psutil.Process()
        self._waited = _waited_seconds()

    def read(self, seconds: float) -> Values:
        """`cpu_seconds`, `memory`, and `run_delay`: share of the time in which it could have run and had no core."""
        before, now = self._waited, _waited_seconds()
        self._waited = now
        return {
            "cpu_seconds": time.process_time(),
            "memory": self._process.memory_info().rss,
            "run_delay": None if before is None or now is None else (now - before) / seconds,
        }

    def close(self) -> None:
        """There is nothing to give back."""


class LoopDelayProbe:
    """The delay of the event loop: what every arrival and every answer suffers.

    Looks at fixed instants, so that a loop which stood still counts once for each instant that it missed.
    """

    def __init__(self, source: str, in_flight: Callable[[], int] = lambda: 0) -> None:
        """in_flight: how many calls this process has under way."""
        self.source = source
        self._in_flight, self._most = in_flight, 0
        self._delays: list[float] = []
        self._timer = Timer(self._look)
        self._due = time.perf_counter() + TICK_SECONDS
        self._timer.set(self._due)

    def read(self, seconds: float) -> Values:
        """`loop_delay` (99th percentile), `loop_delay_p50`, `loop_delay_max` in seconds; `in_flight_max` that was seen."""
        delays, self._delays = self._delays, []
        if not delays:  # the loop was blocked all the time: what is due now is as late as it can be
            delays = [max(0.0, time.perf_counter() - self._due)]
        delays.sort()
        p50, p99 = (delays[nearest_rank(q, len(delays)) - 1] for q in (50, 99))
        most, self._most = self._most, 0
        return {
            "loop_delay": p99,
            "loop_delay_p50": p50,
            "loop_delay_max": delays[-1],
            "in_flight_max": most,
        }

    def close(self) -> None:
        """Look no more."""
        self._timer.close()

    def _look(self) -> None:
        now = time.perf_counter()
        self._most = max(self._most, self._in_flight())
        while self._due <= now:
            self._delays.append(now - self._due)
            self._due += TICK_SECONDS
        self._timer.set(self._due)


class ServerProbe:
    """CPU time and memory of a server's process and all its children, on this machine."""

    source = "server"

    def __init__(self, pid: int) -> None:
        """Raises psutil.NoSuchProcess where there is no such process."""
        self._root = psutil.Process(pid)
        self._cpu: dict[psutil.Process, float] = {}
        self._spent = 0.0
        self._find_family()

    def read(self, seconds: float) -> Values:
        """`cpu_seconds` since the first look, `memory`, `processes`; no memory where all processes are gone."""
        if time.perf_counter() - self._looked > FAMILY_SECONDS:
            self._find_family()
        memory = 0
        for process, before in list(self._cpu.items()):
            try:
                self._cpu[process] = _cpu_seconds(process)
                memory += process.memory_info().rss
            except psutil.Error:  # it has ended
                del self._cpu[process]
            else:
                self._spent += self._cpu[process] - before
        count = len(self._cpu)
        return {"cpu_seconds": self._spent, "memory": memory if count else None, "processes": count}

    def close(self) -> None:
        """There is nothing to give back."""

    def _find_family(self) -> None:
        self._looked = time.perf_counter()
        try:
            family = [self._root, *self._root.children(recursive=True)]
            for process in family:
                if process not in self._cpu:
                    self._cpu[process] = _cpu_seconds(process)
        except psutil.Error:  # the root has ended; children of it that are known are still looked at
            return


class MachineProbe:
    """The processor use of the whole machine, and the time that its host gave to others."""

    source = "machine"

    def __init__(self) -> None:
        self._times = psutil.cpu_times()

    def read(self, seconds: float) -> Values:
        """`busy`: share of all cores' time that is not idle; `steal`: share taken by the host."""
        before, self._times = self._times, psutil.cpu_times()
        passed = {name: getattr(self._times, name) - getattr(before, name) for name in before._fields}
        # guest times are contained in user and nice
        total = sum(value for name, value in passed.items() if not name.startswith("guest"))
        if total <= 0:
            return {"busy": None, "steal": None}
        idle = passed["idle"] + passed.get("iowait", 0.0)
        return {"busy": 1 - idle / total, "steal": passed.get("steal", 0.0) / total}

    def close(self) -> None:
        """There is nothing to give back."""


class Telemetry:
    """Reads probes once a second and hands the values on."""

    def __init__(self, probes: Sequence[Probe], emit: Callable[[float, str, Values], Any]) -> None:
        """`emit` gets the instant of each reading on perf_counter's clock, the source, and its values."""
        self._probes, self._emit = probes, emit
        self._failing: list[Probe] = []
        self._begun = self._last = time.perf_counter()
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> dict[str, Any]:
        """Read a last time, unless the last reading was just now, and close the probes; gives what the manifest says of them.

        What is stopped within a moment has been read once: on a slow machine most of a short test is its start.
        """
        self._greenlet.kill()
        if self._last == self._begun or time.perf_counter() - self._last > 0.1:
            self._read()
        for probe in self._probes:
            probe.close()
        described = [probe.described() for probe in self._probes if isinstance(probe, Describing)]
        return {"telemetry": described} if described else {}

    def _run(self) -> None:
        due = self._last
        while True:
            due = max(due + 1.0, time.perf_counter())  # no readings in a row to make up for a blocked loop
            gevent.sleep(due - time.perf_counter())
            self._read()

    def _read(self) -> None:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        rows: dict[str, Values] = {}
        for probe in self._probes:
            row = rows.setdefault(probe.source, {})
            try:
                row.update(probe.read(seconds))
            except (
                OSError
            ) as error:  # such as too many open files: the load goes on, and so do the other probes
                if probe not in self._failing:
                    self._failing.append(probe)
                    log.warning("%s is not observed: %s", probe.source, error)
        for source, values in rows.items():
            self._emit(now, source, values)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _waited_seconds() -> float | None:
    """Time that the main thread has spent waiting for a core so far (Documentation/scheduler/sched-stats.rst)."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None
