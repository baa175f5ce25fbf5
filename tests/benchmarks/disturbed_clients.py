"""Check that runs of disturbed clients carry a warning with the right reason. Run: python -m tests.benchmarks.disturbed_clients [ROUNDS [CEILING]]

Each round runs an open loop against the null backend four times: paused with SIGSTOP, throttled to a fifth of a core,
offered twice its ceiling, and left alone at half the ceiling. Prints the warnings of each. The ceiling of an open loop is
calibrated first unless it is given. The server and the load process have a core each.
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
from typing import NamedTuple

from bench.analysis.reading.checks import warnings_of
from bench.calibration.calibrate import Subject, calibrate
from bench.launch import server_process
from bench.runs.run import Run
from tests.benchmarks.arguments import parser
from tests.load.locust_runs import ROOT

SECONDS = 8
LIMITS = Path("/sys/fs/cgroup/cpu")
"""Control groups (version 1), where a process of root may make one."""

Disturb = Callable[[int, threading.Event], None]


class Case(NamedTuple):
    """A disturbance, and the warnings that name it."""

    name: str
    rate: float
    disturb: Disturb
    right: frozenset[str]
    """One of these has to be found; none: no warning at all may be."""

    def judged_rightly(self, found: set[str]) -> bool:
        return bool(found & self.right) if self.right else not found


def alone(pid: int, ended: threading.Event) -> None:
    """Leave it alone."""


def paused(pid: int, ended: threading.Event) -> None:
    """Stop it for half a second in the middle."""
    if not ended.wait(6.0):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)


def throttled(pid: int, ended: threading.Event) -> None:
    """Let it run 20 ms of every 100: by a control group's limit, or by signals where none can be made."""
    ended.wait(3.0)
    group = LIMITS / f"serving-bench-{os.getpid()}"
    try:
        group.mkdir(exist_ok=True)
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / "cpu.cfs_quota_us").write_text("20000")
    except OSError:
        throttled_by_signals(pid, ended)
        return
    try:
        (group / "cgroup.procs").write_text(str(pid))
        ended.wait()
        (LIMITS / "cgroup.procs").write_text(str(pid))
    except ProcessLookupError:
        pass  # it has ended by itself
    finally:
        for left in map(int, (group / "cgroup.procs").read_text().split()):  # what it has started meanwhile
            (LIMITS / "cgroup.procs").write_text(str(left))
        group.rmdir()


def throttled_by_signals(pid: int, ended: threading.Event) -> None:
    while not ended.is_set():
        os.kill(pid, signal.SIGSTOP)
        ended.wait(0.08)
        os.kill(pid, signal.SIGCONT)
        ended.wait(0.02)


def cases(ceiling: float) -> list[Case]:
    return [
        Case("paused 0.5 s", 1000, paused, frozenset({"client paused"})),
        # a rate that needs more than a fifth of a core
        Case("a fifth of a core", ceiling / 4, throttled, frozenset({"client held up", "client paused"})),
        Case(
            "twice the ceiling",
            2 * ceiling,
            alone,
            frozenset({"client saturated", "near the ceiling", "not achieved"}),
        ),
        Case("half the ceiling", ceiling / 2, alone, frozenset()),
    ]


def measure(
    server: server_process.Server, folder: Path, rate: float, disturb: Disturb, seconds: int = SECONDS
) -> Run:
    """One run of the open-loop scenario."""
    scenario = ["-f", str(ROOT / "scenarios/mnist_open.py"), "--headless", "--only-summary"]
    options = ["--host", server.address, "-t", f"{seconds}s", "--results", str(folder)]
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
    threading.Timer(seconds + 1.5, ended.set).start()
    process.wait()
    ended.set()
    disturber.join()
    (found,) = folder.iterdir()
    return Run.open(found)


def main(rounds: int, known: float | None) -> int:
    wrong = 0
    with server_process.embedded(["--backend", "null"]) as server, tempfile.TemporaryDirectory() as folder:
        most = known or calibrate(Subject(), print, seconds=3).open_per_second
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(server.pid, processors[:1])
        os.sched_setaffinity(0, processors[1:])  # what is started from here on inherits it
        print(f"ceiling {most:,.0f}/s")
        for number in range(rounds):
            for case in cases(most):
                results = Path(folder) / f"{number}-{case.name.replace(' ', '-')}"
                told = warnings_of(measure(server, results, case.rate, case.disturb))
                right = case.judged_rightly({warning.check for warning in told})
                wrong += not right
                reasons = "; ".join(f"{warning.check}: {warning.reason}" for warning in told)
                print(
                    f"{number:>2} {case.name:<18} {'right' if right else 'WRONG'}  {reasons or 'no warning'}",
                    flush=True,
                )
    print(f"{wrong} of {4 * rounds} runs judged wrongly")
    return 1 if wrong else 0


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("rounds", type=int, nargs="?", default=5)
    command.add_argument(
        "ceiling", type=float, nargs="?", help="requests per second (default: it is measured)"
    )
    given = command.parse_args()
    sys.exit(main(given.rounds, given.ceiling))
