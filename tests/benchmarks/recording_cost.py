"""What does recording cost the load process? Run: python -m tests.benchmarks.recording_cost [ROUNDS [SECONDS]]

The load process on one core, the null backend on the other; in turn with everything, without the check of answers and
without any recording (no check, histogram, sample, statistics). Prints CPU microseconds of the whole process for each
request, their differences, and p99 of latency with and without the check.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.run import find_runs
from bench.serve import launch
from tests.load.locust_runs import ROOT

KINDS = ("nothing", "checking", "recording")
LOADS = {
    "closed, 64 users": ["Mnist", "-u", "64", "-r", "64"],
    "open, 10,000/s": ["MnistOpen", "--schedule", "poisson:10000"],
}


class Measured(NamedTuple):
    cpu: float
    """Seconds for each request."""
    p99: float | None
    """None where nothing was recorded."""


def measure(address: str, load: list[str], without: str, seconds: int, folder: Path) -> Measured:
    meter = folder / "meter.json"
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "tests/benchmarks/locust_without.py"), *load]
    command += ["--headless", "--only-summary", "--host", address, "-t", f"{seconds + 2}s"]
    done = subprocess.run(
        [*command, "--results", str(folder / "results")],
        env={**os.environ, "WITHOUT": without, "METER": str(meter), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert meter.exists(), done.stdout + done.stderr
    said = json.loads(meter.read_text())
    if without == "recording":
        return Measured(said["cpu"] / said["requests"], None)
    (run,) = find_runs([folder / "results"])
    return Measured(said["cpu"] / said["requests"], run.steady.histogram("latency").percentile(99))


def main(rounds: int, seconds: int) -> None:
    processors = sorted(os.sched_getaffinity(0))
    print(
        "| load | CPU us/request | without check | without recording | recording costs | check costs | p99 ms | p99 without check | ratio |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with launch.embedded(["--backend", "null"]) as server, tempfile.TemporaryDirectory() as name:
        os.sched_setaffinity(server.pid, processors[:1])
        os.sched_setaffinity(0, processors[1:])  # what is started from here on inherits it
        for title, load in LOADS.items():
            found: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
            for number in range(rounds):
                for kind in KINDS if number % 2 == 0 else reversed(KINDS):
                    folder = Path(name) / f"{load[0]}-{number}-{kind}"
                    folder.mkdir()
                    found[kind].append(measure(server.address, load, kind, seconds, folder))
            show(title, found)


def show(title: str, found: dict[str, list[Measured]]) -> None:
    whole, unchecked, none = (median(m.cpu for m in found[kind]) * 1e6 for kind in KINDS)
    recording = median(a.cpu - b.cpu for a, b in zip(found["nothing"], found["recording"], strict=True)) * 1e6
    checking = median(a.cpu - b.cpu for a, b in zip(found["nothing"], found["checking"], strict=True)) * 1e6
    p99, p99_unchecked = (median(m.p99 or 0.0 for m in found[kind]) * 1e3 for kind in KINDS[:2])
    ratio = median(
        (a.p99 or 0.0) / (b.p99 or 1.0) for a, b in zip(found["nothing"], found["checking"], strict=True)
    )
    cells = (f"{whole:.2f}", f"{unchecked:.2f}", f"{none:.2f}", f"{recording:.2f}", f"{checking:.2f}")
    print(f"| {title} | {' | '.join(cells)} | {p99:.3f} | {p99_unchecked:.3f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["3"])[0]), int((sys.argv[2:] or ["4"])[0]))
