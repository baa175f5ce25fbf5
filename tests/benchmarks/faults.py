"""Does the report of a run name each fault, when it was and how long it lasted, and none of a clean run?

    python -m tests.benchmarks.faults FOLDER [--rounds N] [--only NAME] [--server embedded|binary] [--clean N]

Each fault happens at a known instant of a short load of 500 requests/s (20 ms each) to a synthetic server: `embedded` is
`bench serve`, `binary` what `bench.launch` starts as a tensorflow_model_server, here the stand-in of the launch tests around
the same server: the original was not run. `bench report --json` must name the fault, its begin within 0.1 s and its
length within 50 ms. The results are lines of FOLDER/results.jsonl; a further call goes on where the last has ended.

A limit on the size of files stands for a full disk. The wall clock of a worker, stepped by an hour, must change nothing:
runs are measured by CLOCK_MONOTONIC, which nobody can step.
"""

import argparse
import ctypes
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from bench.config.servers import read_servers
from bench.launch import server_process
from bench.launch.kinds import launched
from bench.launch.ready import wait_available
from bench.launch.running import Served
from bench.wire import frames
from bench.wire.messages import PredictResponse
from tests.load.falsifier import Falsifier, _received
from tests.load.locust_runs import ROOT, Finished, finish, free_port, start

AT: Final = 3.0
"""Second of the run at which a fault begins."""
CONFIRMED: Final = 6.5
"""By then the right answer to each of the 1,000 digits has come twice, and is known for good."""
LASTS: Final = 0.7
SECONDS: Final = 4
BEGIN_WITHIN, LENGTH_WITHIN = 0.1, 0.05
STEPPED: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, now), pid = 0;
  FILE *file = id == CLOCK_REALTIME ? fopen(getenv("STEPPED"), "r") : NULL;
  if (file) {
    if (fscanf(file, "%d", &pid) == 1 && pid == getpid()) now->tv_sec += 3600;
    fclose(file);
  }
  return result;
}
"""
"""The wall clock of the process whose number is in the file STEPPED is an hour ahead."""
_UNSPECIFIED: Final = (ctypes.c_char * 16)()
Span = tuple[float, float]
"""Begin and end of a fault, by CLOCK_MONOTONIC."""


class Between(Falsifier):
    """A proxy that passes everything on until a fault is switched on."""

    def __init__(self, target: str) -> None:
        super().__init__(target, 1, ("flip",))
        self.falsify: str | None = None
        self.asked = threading.Event()
        """Set when a request has been passed on since it was cleared."""

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            server.sendall(data)
            if len(data) > 1000:  # the preface of a connection is shorter
                self.asked.set()
        server.close()

    def _falsify(self, out: bytearray, place: slice, waiting: slice | None) -> slice | None:
        if self.falsify == "flip":
            return super()._falsify(out, place, waiting)
        if self.falsify == "stale":
            response = PredictResponse.FromString(bytes(out[place.start + 5 : place.stop]))
            response.model_spec.version.value = 1
            message = response.SerializeToString()
            out[place.start + 5 : place.stop] = message
        return None

    def end(self, manner: str) -> None:
        """End all connections of clients: reset (TCP RST), goaway (and hang up), cut (in the middle of a frame)."""
        for client in self._sockets[1::2]:
            with suppress(OSError):
                if manner == "reset":  # close() would wait for the thread that reads
                    ctypes.CDLL(None).connect(client.fileno(), _UNSPECIFIED, len(_UNSPECIFIED))
                    continue
                client.sendall(
                    frames.goaway(2**31 - 1, 11) if manner == "goaway" else b"\0\0\x40\0\0\0\0\0\1half"
                )
                client.shutdown(socket.SHUT_RDWR)
        del self._sockets[1:]


class Target:
    """A server that can be killed and started anew at the same address."""

    def __init__(self, kind: str, folder: Path, stack: ExitStack) -> None:
        self._kind, self.folder, self._stack = kind, folder, stack
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        (folder / "mnist" / "2").mkdir(parents=True)
        self.pid = 0
        self._again: list[str] = []
        """How the executable was started."""
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        if self._kind == "embedded":
            flags = ["--backend=synthetic", "--service-time=constant(20ms)", f"--port={self._port}"]
            flags += ["--model_name=mnist", f"--model_base_path={self.folder / 'mnist'}"]
            self.pid = self._stack.enter_context(server_process.embedded(flags)).pid
            return
        if self._again:  # the launcher refuses a port that the dead one's connections still have
            process = subprocess.Popen(self._again)
            self._stack.callback(process.wait)
            self._stack.callback(process.kill)
            served = [Served("mnist", self.folder / "mnist", (2,))]
            wait_available(
                self.address,
                served,
                seconds=60,
                ended=lambda: None if process.poll() is None else "ended",
                tail=str,
            )
            return
        program, declared = self.folder / "tensorflow_model_server", self.folder / "servers.toml"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from tests.launch.model_server import main\nsys.exit(main(sys.argv[1:]))\n"
        )
        program.chmod(0o755)
        declared.write_text(
            f'[servers.it]\nkind = "binary"\npath = "{program}"\nport = {self._port}\n'
            'flags = { backend = "synthetic", service_time = "constant(20ms)" }\n'
        )
        running = launched(
            read_servers(declared)["it"],
            [Served("mnist", self.folder / "mnist", (2,))],
            self.folder / "place",
        )
        server = self._stack.enter_context(running)
        assert server.pid is not None
        self.pid = server.pid
        self._again = [str(program), *server.facts["arguments"]]


class Scene(NamedTuple):
    """What a fault can act on."""

    server: Target
    proxy: Between
    load: "subprocess.Popen[str]"
    run: Path

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.load.pid).children()


def now() -> float:
    return time.perf_counter()


def stopped(pid: int) -> Span:
    """Stop a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    begin = now()
    time.sleep(LASTS)
    os.kill(pid, signal.SIGCONT)
    return begin, now()


def slow_start(scene: Scene) -> Span:
    """The first request is answered late, and those behind it."""
    scene.proxy.asked.clear()
    scene.proxy.asked.wait()
    return stopped(scene.server.pid)


def kill(scene: Scene) -> Span:
    os.kill(scene.server.pid, signal.SIGKILL)
    begin = now()
    scene.server.start()
    return begin, now()


def falsified(scene: Scene, kind: str) -> Span:
    begin, scene.proxy.falsify = now(), kind
    time.sleep(LASTS)
    scene.proxy.falsify = None
    return begin, now()


def ended(scene: Scene, manner: str) -> Span:
    begin = now()
    scene.proxy.end(manner)
    return begin, begin


def lost_worker(scene: Scene) -> Span:
    scene.workers()[0].kill()
    return now(), float("inf")


def full_disk(scene: Scene) -> Span:
    largest = max(path.stat().st_size for path in scene.run.rglob("*.rows"))
    resource.prlimit(scene.load.pid, resource.RLIMIT_FSIZE, (largest, largest))
    return now(), float("inf")


def clock_step(scene: Scene) -> Span:
    (scene.server.folder / "stepped").write_text(str(scene.workers()[0].pid))
    return now(), now()


def steppable(folder: Path) -> dict[str, str]:
    """The environment of processes whose wall clock can be stepped."""
    (folder / "stepped.c").write_text(STEPPED)
    library = folder / "stepped.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "stepped.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "STEPPED": str(folder / "stepped")}


class Fault(NamedTuple):
    """A fault, and the kind of interruption that has to name it."""

    inject: Callable[[Scene], Span]
    named: str | None
    """None: it has to change nothing."""
    proxy: bool = False
    """Whether the load goes through the proxy."""
    at: float = AT
    processes: int = 1


FAULTS: Final = {
    "kill": Fault(kill, "no answers"),
    "hang": Fault(lambda scene: stopped(scene.server.pid), "no answers"),
    "slow start": Fault(slow_start, "no answers", proxy=True, at=0.0),
    "reset": Fault(lambda scene: ended(scene, "reset"), "failed requests", proxy=True),
    "goaway": Fault(lambda scene: ended(scene, "goaway"), "failed requests", proxy=True),
    "truncated answer": Fault(lambda scene: ended(scene, "cut"), "failed requests", proxy=True),
    "wrong answer": Fault(lambda scene: falsified(scene, "flip"), "wrong answers", proxy=True, at=CONFIRMED),
    "stale version": Fault(lambda scene: falsified(scene, "stale"), "outdated answers", proxy=True),
    "lost worker": Fault(lost_worker, "load process lost", processes=2),
    "stopped worker": Fault(lambda s: stopped(s.workers()[0].pid), "load process paused", processes=2),
    "full disk": Fault(full_disk, "recording ended"),
    "clock step": Fault(clock_step, None, processes=2),
}


@contextmanager
def scenery(kind: str) -> Iterator[tuple[Target, Between]]:
    """A server and a proxy before it."""
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        target = Target(kind, Path(made), stack)
        proxy = Between(target.address)
        stack.callback(proxy.close)
        yield target, proxy


def origin(results: Path, load: "subprocess.Popen[str]") -> tuple[Path, float]:
    """The folder of a run, and when it began, as soon as it has."""
    while load.poll() is None:
        for path in results.glob("*/manifest.json"):
            with suppress(ValueError):
                begun = json.loads(path.read_text()).get("clock_origin")
                if begun is not None:
                    return path.parent, float(begun)
        time.sleep(0.002)
    raise SystemExit(load.communicate()[0])


def reported(done: Finished) -> dict[str, Any]:
    """The run as `bench report --json` tells of it."""
    command = [sys.executable, "-m", "bench", "report", str(done.folders[0]), "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    run: dict[str, Any] = json.loads(shown.stdout)["runs"][0]
    return run


def inject(
    name: str, target: Target, proxy: Between, results: Path, seconds: int = SECONDS
) -> dict[str, Any]:
    """A load with one fault: what was done, and what the report says of it."""
    fault = FAULTS[name]
    options = [
        "--host",
        (proxy if fault.proxy else target).address,
        "--schedule",
        f"constant:{500 // fault.processes}",  # each user's
        "-u",
        str(fault.processes),
        "-r",
        str(fault.processes),
        "-t",
        f"{seconds + math.ceil(fault.at)}s",
        "--deadline",
        "5",
    ]
    options += ["--server-pid", str(target.pid), "--exit-code-on-error", "0"]
    options += ["--processes", "2"] if fault.processes > 1 else []
    around = steppable(target.folder) if name == "clock step" else None
    load = start(results, *options, scenario="scenarios/mnist_open.py", environment=around)
    run, begun = origin(results, load)
    time.sleep(max(0.0, begun + fault.at - now()))
    begin, end = (each - begun for each in fault.inject(Scene(target, proxy, load, run)))
    done = finish(load, results)
    told = reported(done)
    last = json.loads((run / "manifest.json").read_text()).get("stopped") or begin
    return judged(name, begin, min(end, max(begin, last)), told["interruptions"])


def judged(name: str, begin: float, end: float, told: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether one of the interruptions is the fault, and how far its begin and length are off."""
    if FAULTS[name].named is None:
        return {"fault": name, "begin": begin, "length": 0.0, "right": not told, "others": told}
    same = [each for each in told if each["kind"] == FAULTS[name].named]
    nearest = min(same, key=lambda each: abs(each["begin"] - begin), default=None)
    others = [each["kind"] for each in told if each is not nearest]
    found: dict[str, Any] = {"fault": name, "begin": begin, "length": end - begin, "others": others}
    if nearest is None:
        return found | {"right": False, "begin_off": None, "length_off": None}
    begin_off, length_off = nearest["begin"] - begin, nearest["seconds"] - (end - begin)
    right = abs(begin_off) <= BEGIN_WITHIN and abs(length_off) <= LENGTH_WITHIN
    return found | {"right": right, "begin_off": begin_off, "length_off": length_off, "text": nearest["text"]}


CLEAN: Final = {
    "constant": ("scenarios/mnist_open.py", ["--schedule", "constant:500"]),
    "poisson": ("scenarios/mnist_open.py", ["--schedule", "poisson:200"]),
    "closed": ("scenarios/mnist.py", ["-u", "8", "-r", "8"]),
    "sparse": ("scenarios/mnist_open.py", ["--schedule", "poisson:20"]),
}


def clean(load: str, target: Target, results: Path, seconds: int = 4) -> dict[str, Any]:
    """A run in which nothing happens, and the interruptions that its report invents."""
    scenario, options = CLEAN[load]
    done = finish(
        start(results, "--host", target.address, "-t", f"{seconds}s", *options, scenario=scenario),
        results,
    )
    told = reported(done)["interruptions"]
    return {"fault": "none", "load": load, "right": not told, "others": told}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=[*FAULTS], help="default: all faults")
    parser.add_argument("--server", choices=["embedded", "binary"], help="default: both")
    parser.add_argument("--clean", type=int, default=0, metavar="N", help="runs without a fault, instead")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    path = asked.folder / "results.jsonl"
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    names = [asked.only] if asked.only else ["none"] if asked.clean else [*FAULTS]
    for kind in [asked.server] if asked.server else ["embedded", "binary"]:
        for number in range(asked.clean or asked.rounds):
            for name in names:
                if sum(each["fault"] == name and each["server"] == kind for each in known) > number:
                    continue
                with scenery(kind) as (target, proxy), tempfile.TemporaryDirectory() as results:
                    if name == "none":
                        row = clean([*CLEAN][number % len(CLEAN)], target, Path(results))
                    else:
                        row = inject(name, target, proxy, Path(results))
                row["server"] = kind
                known.append(row)
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    for row in known:
        print(shown(row))


def shown(row: dict[str, Any]) -> str:
    """A line for a run."""
    off = [
        f"{1e3 * row[key]:+.0f} ms" if row.get(key) is not None else "-"
        for key in ("begin_off", "length_off")
    ]
    return (
        f"{row['server']:<9} {row['fault']:<17} {'right' if row['right'] else 'WRONG':<6} begin {off[0]:>9}, "
        f"length {off[1]:>9}; others {row['others']}"
    )


if __name__ == "__main__":
    main()
