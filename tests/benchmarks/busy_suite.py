"""Run the whole test suite again and again on a machine that is busy, or slow, and count what fails.

Run: python -m tests.benchmarks.busy_suite FOLDER --runs 5                      # two endless loops beside it
     python -m tests.benchmarks.busy_suite FOLDER --runs 5 --loops 0 --cpus 0 --quota 0.33   # a third of one core
     python -m tests.benchmarks.busy_suite FOLDER --runs 0                      # print what was measured so far

The loops run at normal priority. A quota is a cgroup's share of processor time, in cores, handed out every 10 ms: that
needs the right to make a cgroup (root). Each run adds a line to FOLDER/runs.jsonl and leaves its output beside it, so a
campaign that was interrupted continues where it was. Options and paths after `--` go to pytest: `-- tests/runs` for a part. The exit code is 1 where a run failed.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from scipy.stats import binomtest

ROOT = Path(__file__).parents[2]
PERIOD = 10_000
"""Microseconds between two shares of a quota: short, so that a small quota is a slow machine and not one that pauses."""
CGROUPS = Path("/sys/fs/cgroup")


def suite() -> list[str]:
    """The command with which `make tests` runs them."""
    planned = subprocess.run(
        ["make", "--dry-run", "tests"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (line,) = (each for each in planned.splitlines() if each.partition(" ")[0].endswith("/pytest"))
    return [sys.executable, "-m", "pytest", *line.split()[1:]]


@contextlib.contextmanager
def loops(count: int) -> Iterator[None]:
    """So many endless loops, for the length of the block."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


@contextlib.contextmanager
def quota(cores: float | None) -> Iterator[Callable[[], None]]:
    """What a new process has to call to have no more than so many cores, with all its children."""
    if cores is None:
        yield lambda: None
        return
    second = (CGROUPS / "cgroup.controllers").exists()
    group = (CGROUPS if second else CGROUPS / "cpu") / f"busy-suite-{os.getpid()}"
    share = int(cores * PERIOD)
    try:
        group.mkdir()
        if second:
            (group / "cpu.max").write_text(f"{share} {PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(share))
    except OSError as error:
        raise SystemExit(
            f"{group}: no cgroup with a quota can be made here ({error}); are you root?"
        ) from None
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None
    finally:
        with contextlib.suppress(OSError):  # what a failed test left running is still in it
            group.rmdir()


def run(number: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run of the suite: how long it took and what did not pass."""
    report = (arguments.folder / f"run-{number}.xml").resolve()
    cpus = {int(cpu) for cpu in arguments.cpus.split(",")} if arguments.cpus else os.sched_getaffinity(0)

    def confine() -> None:
        enter()
        os.sched_setaffinity(0, cpus)

    began = time.monotonic()
    with (
        loops(arguments.loops),
        quota(arguments.quota) as enter,
        (arguments.folder / f"run-{number}.log").open("wb") as log,
    ):
        ended = subprocess.run(
            [*suite(), f"--junitxml={report}", *arguments.pytest],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            check=False,
            preexec_fn=confine,
        )
    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []  # noqa: S314 - pytest wrote it
    failed = sorted(
        {f"{case.get('classname')}::{case.get('name')}" for case in cases if case.find("failure") is not None}
        | {
            f"{case.get('classname')}::{case.get('name')} (error)"
            for case in cases
            if case.find("error") is not None
        }
    )
    return {
        "code": ended.returncode,
        "tests": len(cases),
        "seconds": round(time.monotonic() - began),
        "failed": failed,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """A table for each condition: runs that passed, and how often each test failed."""
    for condition, group in groupby(
        sorted(rows, key=lambda row: str(row["condition"])), lambda row: str(row["condition"])
    ):
        same = list(group)
        passed = sum(row["code"] == 0 for row in same)
        low, high = binomtest(passed, len(same)).proportion_ci(method="exact")
        seconds = sorted(row["seconds"] for row in same)
        print(f"\n{condition}")
        print(
            f"  {passed} of {len(same)} runs pass (95 % interval of the share {low:.2f} to {high:.2f})",
            end="; ",
        )
        print(f"{seconds[0]} to {seconds[-1]} s each, {max(row['tests'] for row in same)} tests")
        for test, times in Counter(test for row in same for test in row["failed"]).most_common():
            print(f"  {times:3} of {len(same)}  {test}")
        for row in same:
            if row["code"] and not row["failed"]:
                print(f"  a run ended with code {row['code']} and no failed test; see its log")


def main() -> int:
    """Run, record, and print all that is in the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=5, help="further runs of the suite")
    parser.add_argument("--loops", type=int, default=2, help="endless loops beside it")
    parser.add_argument("--cpus", default="", help="cores that the suite may use, such as 0 or 0,1")
    parser.add_argument("--quota", type=float, default=None, help="processor time that it may use, in cores")
    own, _, further = " ".join(sys.argv[1:]).partition(" -- ")
    arguments = parser.parse_args(own.split(), argparse.Namespace(pytest=further.split()))
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # the loops end with this program, whoever ends it
    arguments.folder.mkdir(parents=True, exist_ok=True)
    record = arguments.folder / "runs.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    condition = (
        f"{arguments.loops} endless loops beside it, cores {arguments.cpus or 'all'} of {os.cpu_count()}, "
        f"quota {arguments.quota or 'none'}"
        + (f", pytest {' '.join(arguments.pytest)}" if arguments.pytest else "")
    )
    for _ in range(arguments.runs):
        row = {"condition": condition, **run(len(rows) + 1, arguments)}
        rows.append(row)
        with record.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"run {len(rows)}: code {row['code']} after {row['seconds']} s, {len(row['failed'])} failed",
            flush=True,
        )
    show(rows)
    return int(any(row["code"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
