"""Measure what recording costs the load process. Run: python -m tests.benchmarks.recording_cost [ROUNDS [SECONDS [FILE [LOAD]]]]

The load process on one core, the null backend on the other. From run to run a load process differs by more than what
recording costs, so the kinds take turns within each run, second by second, in random order: with everything, without the check of
answers, and without any recording (no check, histogram, sample, statistics; see `locust_without`). Prints medians over
these seconds: CPU microseconds of the whole process for each request, their differences within three seconds that
follow each other, and p99 of the latency with and without the check; in brackets the standard errors of the
differences and of the ratio, the latter by resampling. FILE: seconds measured before, to which these are added. LOAD: closed or open; both where it is not given.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.launch import server_process
from bench.runs.run import Run, find_runs
from tests.benchmarks.arguments import parser
from tests.load.locust_runs import ROOT

LOADS = {
    "closed, 64 users": ["Mnist", "-u", "64", "-r", "64"],
    "open, 10,000/s": ["MnistOpen", "--schedule", "poisson:10000"],
}
WARM_SECONDS = 3
KINDS = ("nothing", "checking", "recording")
"""What is left out."""


class Cycle(NamedTuple):
    """Three seconds that follow each other: with everything, without check, without recording."""

    cpu: list[float]
    """Seconds for each request."""
    p99: list[float]
    """Seconds; of the first two."""


def measure(address: str, load: list[str], seconds: int, folder: Path) -> list[Cycle]:
    """One run."""
    folder.mkdir()
    meter = folder / "meter.json"
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "tests/benchmarks/locust_without.py"), *load]
    command += ["--headless", "--only-summary", "--host", address, "-t", f"{seconds + WARM_SECONDS + 1}s"]
    done = subprocess.run(
        [*command, "--results", str(folder / "results")],
        env={**os.environ, "METER": str(meter), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert meter.exists(), done.stdout + done.stderr
    (run,) = find_runs([folder / "results"])
    assert isinstance(run, Run)
    p99 = {second: histogram.percentile(99) for second, histogram in run.series("latency")}
    turns = {
        (second // len(KINDS), kind): (second, cpu / requests)
        for kind, second, requests, cpu in json.loads(meter.read_text())
        if second >= WARM_SECONDS
    }
    cycles = [[turns.get((number, kind)) for kind in KINDS] for number in sorted({at for at, _ in turns})]
    whole = [[turn for turn in cycle if turn is not None] for cycle in cycles]
    return [
        Cycle([cpu for _, cpu in cycle], [p99[second] for second, _ in cycle[:2]])
        for cycle in whole
        if len(cycle) == len(KINDS)
    ]


def main(rounds: int, seconds: int, known: Path | None, only: str) -> None:
    processors = sorted(os.sched_getaffinity(0))
    found: dict[str, list[Cycle]] = {title: [] for title in LOADS}
    if known is not None and known.exists():
        for line in known.read_text().splitlines():
            title, cycles = json.loads(line)
            found[title] += [Cycle(*cycle) for cycle in cycles]
    with server_process.embedded(["--backend", "null"]) as server, tempfile.TemporaryDirectory() as name:
        os.sched_setaffinity(server.pid, processors[:1])
        os.sched_setaffinity(0, processors[1:])  # what is started from here on inherits it
        for number in range(rounds):
            for title, load in ((title, load) for title, load in LOADS.items() if title.startswith(only)):
                cycles = measure(server.address, load, seconds, Path(name) / f"{load[0]}-{number}")
                found[title] += cycles
                if known is not None:
                    with known.open("a") as file:
                        file.write(json.dumps([title, cycles]) + "\n")
    print(
        "| load | seconds of each kind | us a request | without check | without recording | recording costs "
        "| check costs | p99 ms | p99 without check | ratio |"
    )
    print("|---|" + "---:|" * 9)
    for title, cycles in found.items():
        if cycles:
            show(title, cycles)


def show(title: str, cycles: list[Cycle]) -> None:
    cpu = np.array([cycle.cpu for cycle in cycles]) * 1e6
    p99 = np.array([cycle.p99 for cycle in cycles]) * 1e3

    def ratio(of: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> float:
        seen, unseen = np.median(of, axis=0)
        return float(seen / unseen)

    def difference(of: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> float:
        return float(np.median(of[:, 0] - of[:, 1]))

    cells = [f"{len(cycles)}", *(f"{value:.2f}" for value in np.median(cpu, axis=0))]
    cells += [with_error(difference, cpu[:, [0, 2]], 2), with_error(difference, cpu[:, :2], 2)]
    cells += [*(f"{value:.3f}" for value in np.median(p99, axis=0)), with_error(ratio, p99, 3)]
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


def with_error(
    of: "Callable[[np.ndarray[tuple[int, int], np.dtype[np.float64]]], float]",
    values: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    digits: int,
) -> str:
    """A figure of some rows, and the standard deviation that it has when rows are drawn again."""
    rng = np.random.default_rng(1)
    again = [of(values[rng.integers(len(values), size=len(values))]) for _ in range(1000)]
    return f"{of(values):.{digits}f} ({np.std(again):.{digits}f})"


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("rounds", type=int, nargs="?", default=3)
    command.add_argument("seconds", type=int, nargs="?", default=30)
    command.add_argument("file", type=Path, nargs="?", help="keeps what was measured; it is gone on with")
    command.add_argument("load", nargs="?", default="", help=f"one of {', '.join(LOADS)} (default: all)")
    given = command.parse_args()
    main(given.rounds, given.seconds, given.file, given.load)
