"""The faults, how each is brought about in a load, and whether the report has named it."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.benchmarks.faults.scenery import Between, Scene, Target, fill, small_disk, steppable
from tests.load.locust_runs import Finished, finish, start

AT: Final = 3.0
"""Second of the run at which a fault begins."""
CONFIRMED: Final = 6.5
"""By then the right answer to each of the 1,000 digits has come twice, and is known for good."""
LASTS: Final = 0.7
SECONDS: Final = 4
BEGIN_WITHIN, LENGTH_WITHIN = 0.1, 0.05
STARVED: Final = 0.1
"""Share of its time in which a load process waited for a core, or seconds that its loop was late: the machine was busy."""
Span = tuple[float, float]
"""Begin and end of a fault, by CLOCK_MONOTONIC."""


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


def drained(scene: Scene) -> Span:
    begin = now()
    scene.proxy.drain()
    return begin, begin


def lost_worker(scene: Scene) -> Span:
    scene.workers()[0].kill()
    return now(), math.inf


def full_disk(scene: Scene) -> Span:
    fill(scene.run.parent)
    return now(), math.inf


def clock_step(scene: Scene) -> Span:
    begin = now()
    (scene.server.folder / "stepped").write_text(str(scene.workers()[0].pid))
    return begin, begin


class Fault(NamedTuple):
    """A fault, and the kind of interruption that has to name it."""

    inject: Callable[[Scene], Span]
    named: str
    proxy: bool = False
    """Whether the load goes through the proxy."""
    at: float = AT
    processes: int = 1


FAULTS: Final = {
    "kill": Fault(kill, "no answers"),
    "hang": Fault(lambda scene: stopped(scene.server.pid), "no answers"),
    "slow start": Fault(slow_start, "no answers", proxy=True, at=0.0),
    "reset": Fault(lambda scene: ended(scene, "reset"), "failed requests", proxy=True),
    "goaway": Fault(drained, "connection ended", proxy=True),
    "goaway and end": Fault(lambda scene: ended(scene, "goaway"), "failed requests", proxy=True),
    "truncated answer": Fault(lambda scene: ended(scene, "cut"), "failed requests", proxy=True),
    "wrong answer": Fault(lambda scene: falsified(scene, "flip"), "wrong answers", proxy=True, at=CONFIRMED),
    "stale version": Fault(lambda scene: falsified(scene, "stale"), "outdated answers", proxy=True),
    "lost worker": Fault(lost_worker, "load process lost", processes=2),
    "stopped worker": Fault(lambda s: stopped(s.workers()[0].pid), "load process paused", processes=2),
    "full disk": Fault(full_disk, "recording ended"),
    "clock step": Fault(clock_step, "wall clock stepped", processes=2),
}


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


def reported(folder: Path) -> dict[str, Any]:
    """A run as `bench report --json` tells of it."""
    command = [sys.executable, "-m", "bench", "report", str(folder), "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    run: dict[str, Any] = json.loads(shown.stdout)["runs"][0]
    return run


def inject(name: str, target: Target, proxy: Between, results: Path) -> dict[str, Any]:
    """A load with one fault: what was done, and what the report says of it."""
    fault = FAULTS[name]
    options = [
        "--host",
        (proxy if fault.proxy else target).address,
        "-t",
        f"{SECONDS + math.ceil(fault.at)}s",
    ]
    options += ["--schedule", f"constant:{500 // fault.processes}", "--deadline", "5"]  # each user's
    options += ["-u", str(fault.processes), "-r", str(fault.processes)]
    options += ["--server-pid", str(target.pid), "--exit-code-on-error", "0"]
    options += ["--processes", "2"] if fault.processes > 1 else []
    around = steppable(target.folder) if name == "clock step" else None
    with small_disk() if name == "full disk" else nullcontext(results) as place:
        load = start(place, *options, scenario="scenarios/mnist_open.py", environment=around)
        run, begun = origin(place, load)
        time.sleep(max(0.0, begun + fault.at - now()))
        begin, end = (each - begun for each in fault.inject(Scene(target, proxy, load, run)))
        finish(load, place)
        told = reported(run)
        last = json.loads((run / "manifest.json").read_text()).get("stopped") or begin
        starved = starvation(run)
    return judged(name, begin, min(end, max(begin, last)), told["interruptions"]) | {"starved": starved}


def starvation(run: Path) -> dict[str, float]:
    """By how much the load processes were kept from their work: largest wait for a core and delay of a loop."""
    rows = [json.loads(line) for line in (run / "telemetry.jsonl").read_text().splitlines()]
    worst = {
        name: max((float(row.get(name) or 0.0) for row in rows), default=0.0)
        for name in ("run_delay", "loop_delay_max")
    }
    return {name: round(value, 3) for name, value in worst.items() if value > STARVED}


def judged(name: str, begin: float, end: float, told: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether one of the interruptions is the fault, and how far its begin and length are off."""
    same = [each for each in told if each["kind"] == FAULTS[name].named]
    nearest = min(same, key=lambda each: abs(each["begin"] - begin), default=None)
    others = [each for each in told if each is not nearest]
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


def clean(load: str, target: Target, results: Path, seconds: int) -> dict[str, Any]:
    """A run in which nothing happens, and the interruptions that its report invents."""
    scenario, options = CLEAN[load]
    done: Finished = finish(
        start(results, "--host", target.address, "-t", f"{seconds}s", *options, scenario=scenario), results
    )
    (run,) = done.folders
    told, starved = reported(run)["interruptions"], starvation(run)
    return {"fault": "none", "load": load, "right": not told, "others": told, "starved": starved}
