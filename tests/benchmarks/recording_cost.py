"""What does recording cost the load process? Run: python -m tests.benchmarks.recording_cost [ROUNDS [SECONDS [FILE]]]

The load process on one core, the null backend on the other; in turn with everything, without the check of answers and
without any recording (no check, histogram, sample, statistics). Prints CPU microseconds of the whole process for each
request and their differences: medians over the rounds, of differences within a round. p99 with and without the check
comes from a fourth run of each round, in which answers are looked at in every other second, since it differs by more
from run to run than by the check: medians of the single seconds' p99. FILE: rounds measured before, to which these are
added.
"""

import json
import os
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.run import Run, find_runs
from bench.serve import launch
from tests.load.locust_runs import ROOT

KINDS = ("nothing", "checking", "recording")
TURNS = "checking in turns"
WARM_SECONDS = 2
TURN_SECONDS = 30
"""Of the run in which answers are looked at in every other second: single seconds' p99 differ by a third."""
LOADS = {
    "closed, 64 users": ["Mnist", "-u", "64", "-r", "64"],
    "open, 10,000/s": ["MnistOpen", "--schedule", "poisson:10000"],
}


class Measured(NamedTuple):
    """One round of one load."""

    cpu: list[float]
    """Seconds for each request, by kind."""
    seen: list[float]
    """p99 in seconds of each second in which answers were looked at."""
    unseen: list[float]
    """And of each of the others."""


def ask(address: str, load: list[str], without: str, seconds: int, folder: Path) -> float:
    """Run a load; gives its CPU seconds for each request."""
    folder.mkdir()
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
    return float(said["cpu"] / said["requests"])


def measure(address: str, load: list[str], number: int, seconds: int, folder: Path) -> Measured:
    """One round."""
    cpu = {}
    for kind in KINDS if number % 2 == 0 else reversed(KINDS):
        cpu[kind] = ask(address, load, kind, seconds, folder / kind)
    ask(address, load, TURNS, TURN_SECONDS + WARM_SECONDS, folder / TURNS)
    (run,) = find_runs([folder / TURNS / "results"])
    assert isinstance(run, Run)
    last = run.seconds[1] - 1
    series = [each for each in run.series("latency") if WARM_SECONDS <= each[0] < last]
    seen, unseen = ([h.percentile(99) for second, h in series if second % 2 == turn] for turn in (0, 1))
    return Measured([cpu[kind] for kind in KINDS], seen, unseen)


def main(rounds: int, seconds: int, known: Path | None) -> None:
    processors = sorted(os.sched_getaffinity(0))
    found: dict[str, list[Measured]] = {title: [] for title in LOADS}
    if known is not None and known.exists():
        for line in known.read_text().splitlines():
            title, measured = json.loads(line)
            found[title].append(Measured(*measured))
    with launch.embedded(["--backend", "null"]) as server, tempfile.TemporaryDirectory() as name:
        os.sched_setaffinity(server.pid, processors[:1])
        os.sched_setaffinity(0, processors[1:])  # what is started from here on inherits it
        for number in range(rounds):
            for title, load in LOADS.items():
                folder = Path(name) / f"{load[0]}-{number}"
                folder.mkdir()
                # rounds that were measured before decide on the order, too
                found[title].append(measure(server.address, load, len(found[title]), seconds, folder))
                if known is not None:
                    with known.open("a") as file:
                        file.write(json.dumps([title, found[title][-1]]) + "\n")
    print(
        "| load | rounds | CPU us/request | without check | without recording | recording costs | check costs "
        "| p99 ms | p99 without check | ratio |"
    )
    print("|---|" + "---:|" * 9)
    for title, of_load in found.items():
        show(title, of_load)


def show(title: str, rounds: list[Measured]) -> None:
    whole, unchecked, none = zip(*(measured.cpu for measured in rounds), strict=True)
    seen, unseen = (
        median(chain.from_iterable(p99)) * 1e3
        for p99 in ([m.seen for m in rounds], [m.unseen for m in rounds])
    )
    costs = (median(a - b for a, b in zip(whole, less, strict=True)) for less in (none, unchecked))
    cells = [f"{len(rounds)}", *(f"{median(cpu) * 1e6:.2f}" for cpu in (whole, unchecked, none))]
    cells += [
        *(f"{cost * 1e6:.2f}" for cost in costs),
        f"{seen:.3f}",
        f"{unseen:.3f}",
        f"{seen / unseen:.3f}",
    ]
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    asked = sys.argv[1:]
    main(
        int((asked or ["3"])[0]),
        int((asked[1:] or ["4"])[0]),
        Path(asked[2]) if len(asked) > 2 else None,
    )
