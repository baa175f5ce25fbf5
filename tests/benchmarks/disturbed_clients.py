"""Is every run of a disturbed client doubted, and no other? Run: python -m tests.benchmarks.disturbed_clients [ROUNDS]

Each round runs an open loop against the null backend four times: paused with SIGSTOP, throttled to a fifth of a core,
offered twice its ceiling, and left alone at half the ceiling. Prints the doubts of each. The ceiling is measured first.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.analysis.checks import doubts
from bench.run import Run
from bench.serve import launch
from tests.load.locust_runs import ROOT, locust

SECONDS = 8
CLIENT = {
    "client saturated", "client starved", "client delayed", "client paused",
    "near the ceiling", "behind", "not achieved", "host steals time",
}  # fmt: skip
"""Doubts that speak of the load process and not of the server."""

Disturb = Callable[[int, threading.Event], None]


def alone(pid: int, ended: threading.Event) -> None:
    """Leave it alone."""


def paused(pid: int, ended: threading.Event) -> None:
    """Stop it for half a second in the middle."""
    if not ended.wait(5.0):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)


def throttled(pid: int, ended: threading.Event) -> None:
    """Let it run 20 ms of every 100, as a control group's limit of a fifth of a core does."""
    ended.wait(2.5)
    while not ended.is_set():
        os.kill(pid, signal.SIGSTOP)
        ended.wait(0.08)
        os.kill(pid, signal.SIGCONT)
        ended.wait(0.02)


def measure(server: launch.Server, folder: Path, rate: float, disturb: Disturb) -> Run:
    """One run of the open-loop scenario."""
    scenario = ["-f", str(ROOT / "scenarios/mnist_open.py"), "--headless", "--only-summary"]
    options = ["--host", server.address, "-t", f"{SECONDS}s", "--results", str(folder)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "locust",
            *scenario,
            *options,
            "--schedule",
            f"poisson:{rate:g}",
            "--no-samples",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ended = threading.Event()
    disturber = threading.Thread(target=disturb, args=(process.pid, ended))
    disturber.start()
    # the disturbance ends with the load, so that the process can write its results
    threading.Timer(SECONDS + 1.5, ended.set).start()
    process.wait()
    ended.set()
    disturber.join()
    (found,) = folder.iterdir()
    return Run.open(found)


def ceiling(server: launch.Server, folder: Path) -> float:
    """Requests/s of a closed loop of 64 users."""
    done = locust(folder, "--host", server.address, "-u", "64", "-r", "64", "-t", "5s", "--no-samples")
    run = done.run()
    return sum(tally.requests for tally in run.tallies.values()) / run.duration


def main(rounds: int) -> int:
    wrong = 0
    with launch.embedded(["--backend", "null"]) as server, tempfile.TemporaryDirectory() as folder:
        most = ceiling(server, Path(folder) / "ceiling")
        print(f"ceiling {most:,.0f}/s")
        cases: list[tuple[str, float, Disturb, bool]] = [
            ("paused 0.5 s", 1000, paused, True),
            ("a fifth of a core", 1000, throttled, True),
            ("twice the ceiling", 2 * most, alone, True),
            ("half the ceiling", most / 2, alone, False),
        ]
        for number in range(rounds):
            for name, rate, disturb, expected in cases:
                run = measure(server, Path(folder) / f"{number}-{name.replace(' ', '-')}", rate, disturb)
                found = sorted({doubt.check for doubt in doubts(run)})
                right = bool(CLIENT & set(found)) == expected
                wrong += not right
                print(
                    f"{number:>2} {name:<18} {', '.join(found) or 'no doubt'}{'' if right else '   WRONG'}",
                    flush=True,
                )
    print(f"{wrong} of {4 * rounds} runs judged wrongly")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
