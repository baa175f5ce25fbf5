"""Starts real Locust processes for the tests of the load tower, and finds what they left.

How long a machine takes for some requests is no matter of these tests: a load that is to be looked at ends when enough of
it is recorded (`until_recorded`), not after some seconds.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.runs.run import Run
from tests.recorded import KEPT

ROOT = Path(__file__).parents[2]
UNASKED = """
from scenarios import mnist

class Unasked(mnist.Mnist):
    preflight = False
"""
"""Of a server that hangs, a preflight would wait for the first answer before the load begins."""
SECONDS = 120
"""After this long a test gives up: none waits for it unless something is broken."""

Found = TypeVar("Found")
Process = subprocess.Popen[str]
"""A Locust process."""


@dataclass
class Finished:
    """A Locust process that has ended."""

    code: int
    output: str
    results: Path

    @property
    def folders(self) -> list[Path]:
        return sorted(p for p in self.results.iterdir()) if self.results.exists() else []

    def run(self) -> Run:
        """The one run folder that the process left."""
        (folder,) = self.folders
        return Run.open(folder)


def command(results: Path, *arguments: str, scenario: str = "scenarios/mnist.py") -> list[str]:
    base = [sys.executable, "-m", "locust", "-f", str(ROOT / scenario), "--headless", "--only-summary"]
    return [*base, "--results", str(results), *arguments]


def start(
    results: Path,
    *arguments: str,
    scenario: str = "scenarios/mnist.py",
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Process:
    """A Locust process in a process group of its own. before: a command that starts the command after it."""
    return subprocess.Popen(
        [*before, *command(results, *arguments, scenario=scenario)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )


def finish(process: Process, results: Path) -> Finished:
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"locust did not end within {SECONDS} s:\n{output}") from None
    return Finished(process.returncode, output, results)


def interrupt(process: Process, results: Path) -> Finished:
    """Ctrl-C for the whole group, as in a terminal."""
    os.killpg(process.pid, signal.SIGINT)
    return finish(process, results)


def locust(results: Path, *arguments: str, scenario: str = "scenarios/mnist.py") -> Finished:
    return finish(start(results, *arguments, scenario=scenario), results)


def until_recorded(process: Process, results: Path, requests: int, *, workers: int = 1) -> Finished:
    """A load that is ended as soon as so many of its requests are recorded, some of each worker."""
    interrupt_when_recorded(process, results, requests, workers=workers)
    return finish(process, results)


def interrupt_when_recorded(process: Process, results: Path, requests: int, *, workers: int = 1) -> None:
    """Ctrl-C for the first process of a load, as soon as so many of its requests are recorded, some of each worker."""

    def enough(run: Run) -> bool:
        parts = list(
            run.requests_in_parts()
        )  # looked at again and again: a table of all of them takes its time
        senders = {worker for part in parts for worker in part.worker.tolist()}
        return sum(len(part.due) for part in parts) >= requests and len(senders) >= workers

    interrupt_when(process, results, enough)


def interrupt_when(process: Process, results: Path, enough: Callable[[Run], object]) -> None:
    """Ctrl-C for the first process of a load, as soon as enough of its run is recorded."""
    wait_for(lambda: bool(enough(Run.open(folder))) if (folder := run_folder(results)) else False, process)
    os.kill(process.pid, signal.SIGINT)


def wait_for(what: Callable[[], Found], process: Process | None = None) -> Found:
    """What is true at last. Raises AssertionError when it does not become so, or when the process has ended before."""
    give_up = time.monotonic() + SECONDS
    while (began := time.monotonic()) < give_up:
        found = what()
        if found:
            return found
        assert process is None or process.poll() is None, process.communicate()[0]
        # looking at a run again and again takes processor time from those who make it
        time.sleep(max(0.05, 3 * (time.monotonic() - began)))
    raise AssertionError(f"waited {SECONDS} s in vain")


def run_folder(results: Path) -> Path | None:
    """The folder of the first run, once its manifest is there."""
    return next((path.parent for path in results.glob("*/manifest.json")), None)


def at_rate(folder: Path, rate: float) -> bool:
    """Whether 40 requests of the latest seconds of a run follow each other as a constant rate wants it.

    Not the last ones: the records of several workers come some time apart.
    """
    due = np.sort(Run.open(folder).samples["due"].to_numpy())
    fits = np.abs(np.diff(due[due > due[-1:].sum() - 3]) - 1 / rate) < 2 * KEPT
    return len(fits) >= 40 and bool(np.convolve(fits, np.ones(40), "valid").max() == 40)


def check_plan(run: Run, user_class: str, rate: float, until: float = np.inf) -> None:
    """Every request before a second of the run was due when the plan of users says, of whom each has the rate.

    None is missing and none is there twice.
    """
    plan = run.manifest.raw["arrivals"][user_class]
    due = np.sort(run.samples["due"].to_numpy())
    due = due[due < until] - plan["begin"]
    at = [begin for begin, _ in plan["users"]] + [np.inf]
    for (begin, users), end in zip(plan["users"], at[1:], strict=True):
        inside = due[(due >= begin - KEPT) & (due < end - KEPT)]
        if not users:
            assert len(inside) == 0
        elif len(inside) > 1:
            assert np.abs(np.diff(inside) - 1 / (rate * users)).max() < 2 * KEPT


def wait_for_folder(results: Path, process: Process, *, workers: int = 1) -> Path:
    """The folder of the run that a Locust process is making, once requests of that many workers are recorded."""

    def found() -> Path | None:
        for folder in results.glob("*/samples"):
            if sum(shard.stat().st_size > 0 for shard in folder.iterdir()) >= workers:
                return folder.parent
        return None

    folder = wait_for(found, process)
    assert folder is not None
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return loaded
