"""Starts real Locust processes for the tests of the load tower, and finds what they left."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.run import Run

ROOT = Path(__file__).parents[2]
SECONDS = 90


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
    if "--processes" in arguments:  # Locust's own port would be taken by another test, or by a user's Locust
        port = str(free_port())
        base += ["--master-port", port, "--master-bind-port", port]
    return [*base, "--results", str(results), *arguments]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number: int = probe.getsockname()[1]
    return number


def start(
    results: Path,
    *arguments: str,
    scenario: str = "scenarios/mnist.py",
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> "subprocess.Popen[str]":
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


def finish(process: "subprocess.Popen[str]", results: Path) -> Finished:
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"locust did not end within {SECONDS} s:\n{output}") from None
    return Finished(process.returncode, output, results)


def interrupt(process: "subprocess.Popen[str]", results: Path) -> Finished:
    """Ctrl-C for the whole group, as in a terminal."""
    os.killpg(process.pid, signal.SIGINT)
    return finish(process, results)


def locust(results: Path, *arguments: str, scenario: str = "scenarios/mnist.py") -> Finished:
    return finish(start(results, *arguments, scenario=scenario), results)


def wait_for_folder(results: Path, process: "subprocess.Popen[str]", *, workers: int = 1) -> Path:
    """The folder of the run that a Locust process is making, once that many workers have samples in it."""
    give_up = time.monotonic() + SECONDS
    while time.monotonic() < give_up:
        assert process.poll() is None, process.communicate()[0]
        for folder in results.glob("*/samples"):
            if sum(shard.stat().st_size > 10_000 for shard in folder.iterdir()) >= workers:
                return folder.parent
        time.sleep(0.02)
    raise AssertionError("no samples were written")


def manifest(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return loaded
