"""What does recording cost the load process? Run: python -m tests.benchmarks.recording_cost [ROUNDS [SECONDS [FILE]]]

The load process on one core, the null backend on the other; in turn with everything, without the check of answers and
without any recording (no check, histogram, sample, statistics). Prints CPU microseconds of the whole process for each
request, their differences, and p99 of latency with and without the check: medians over the rounds, of differences and
ratios within a round. FILE: rounds measured before, to which these are added.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
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


def main(rounds: int, seconds: int, known: Path | None) -> None:
    processors = sorted(os.sched_getaffinity(0))
    found: dict[str, list[dict[str, Measured]]] = {title: [] for title in LOADS}
    if known is not None and known.exists():
        for line in known.read_text().splitlines():
            title, of_kind = json.loads(line)
            found[title].append({kind: Measured(*measured) for kind, measured in of_kind.items()})
    with launch.embedded(["--backend", "null"]) as server, tempfile.TemporaryDirectory() as name:
        os.sched_setaffinity(server.pid, processors[:1])
        os.sched_setaffinity(0, processors[1:])  # what is started from here on inherits it
        for number in range(rounds):
            for title, load in LOADS.items():
                measured = {}
                for kind in KINDS if number % 2 == 0 else reversed(KINDS):
                    folder = Path(name) / f"{load[0]}-{number}-{kind}"
                    folder.mkdir()
                    measured[kind] = measure(server.address, load, kind, seconds, folder)
                found[title].append(measured)
                if known is not None:
                    with known.open("a") as file:
                        file.write(json.dumps([title, measured]) + "\n")
    print(
        "| load | rounds | CPU us/request | without check | without recording | recording costs | check costs "
        "| p99 ms | p99 without check | ratio | of the means |"
    )
    print("|---|" + "---:|" * 10)
    for title, of_load in found.items():
        show(title, of_load)


def show(title: str, rounds: list[dict[str, Measured]]) -> None:
    def cpu(kind: str) -> list[float]:
        return [measured[kind].cpu * 1e6 for measured in rounds]

    def p99(kind: str) -> list[float]:
        return [(measured[kind].p99 or 0.0) * 1e3 for measured in rounds]

    def less(kind: str) -> float:
        return median(a - b for a, b in zip(cpu("nothing"), cpu(kind), strict=True))

    ratio = median(a / b for a, b in zip(p99("nothing"), p99("checking"), strict=True))
    cells = [f"{len(rounds)}", *(f"{median(cpu(kind)):.2f}" for kind in KINDS)]
    cells += [f"{less('recording'):.2f}", f"{less('checking'):.2f}"]
    cells += [f"{median(p99(kind)):.3f}" for kind in ("nothing", "checking")]
    cells += [f"{ratio:.3f}", f"{mean(p99('nothing')) / mean(p99('checking')):.3f}"]
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    asked = sys.argv[1:]
    main(
        int((asked or ["3"])[0]),
        int((asked[1:] or ["4"])[0]),
        Path(asked[2]) if len(asked) > 2 else None,
    )
