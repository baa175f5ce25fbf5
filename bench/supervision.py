"""Start of a program that never outlives its parent.

The parent's side of `bench.supervisor`. Standard library only.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import BenchError
from bench.supervisor import NOT_STARTED

_SPARE_SECONDS = 5.0
"""For the supervisor itself, beyond the grace time of its command."""


class Supervised:
    """A command that runs below a supervisor."""

    def __init__(self, supervisor: "subprocess.Popen[bytes]", pid: int, log: Path, grace: float) -> None:
        self._supervisor = supervisor
        self._grace = grace
        self.pid = pid
        self.log = log

    @property
    def code(self) -> int | None:
        """The command's exit code, 128 + n after signal n; None while it runs."""
        return self._supervisor.poll()

    def ended(self) -> str | None:
        """How it ended, with the end of its log; None while it runs."""
        return None if self.code is None else f"ended with exit code {self.code}: {self.log_tail()}"

    def wait(self, seconds: float) -> int | None:
        """The same, after waiting for its end so long at the most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._supervisor.wait(seconds)
        return self.code

    def stop(self) -> None:
        """End it, by force where it does not end within the grace time."""
        if self._supervisor.stdin is not None:
            self._supervisor.stdin.close()
        try:
            self._supervisor.wait(self._grace + _SPARE_SECONDS)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()  # the command is killed with it
            self._supervisor.wait()
        if self._supervisor.stdout is not None:
            self._supervisor.stdout.close()

    def log_text(self) -> str:
        """All that it has printed."""
        try:
            return self.log.read_text(errors="replace")
        except OSError:
            return ""

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of what it has printed, in one line."""
        return tail(self.log, lines)


@contextlib.contextmanager
def supervised(
    command: Sequence[str],
    *,
    log: Path,
    grace: float = 10.0,
    environment: Mapping[str, str] | None = None,
    cpus: Iterable[int] = (),
    keep_open: Sequence[int] = (),
) -> Iterator[Supervised]:
    """Run a command for the length of the block; it ends with the block or with this process, whatever ends that.

    Its output is appended to `log`. `cpus`: those that it may use; `keep_open`: descriptors that its supervisor holds,
    so that a lock on one lasts until the command has ended. Raises BenchError where it cannot be started.
    """
    log.touch()
    order: dict[str, Any] = {
        "command": list(command),
        "log": str(log.resolve()),
        "grace": grace,
        "cpus": sorted(cpus),
    }
    supervisor = subprocess.Popen(
        # -P: the folder in which somebody starts a command is no place to import from
        [sys.executable, "-P", "-m", "bench.supervisor", json.dumps(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        start_new_session=True,  # Ctrl-C is for the parent, which then ends this in order
        pass_fds=tuple(keep_open),
    )
    started = Supervised(supervisor, supervisor.pid, log, grace)
    try:
        assert supervisor.stdout is not None  # noqa: S101 - it is a pipe: for the type checker
        line = supervisor.stdout.readline()
        report = json.loads(line) if line else {}
        if "pid" not in report:
            supervisor.wait()
            reason = report.get("error") or f"its supervisor ended with code {supervisor.returncode}"
            raise BenchError(f"{reason}; is the path right, and is it executable?")
        started.pid = int(report["pid"])
        yield started
    finally:
        started.stop()


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log in one line."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return "it logged nothing"
    return last_lines(text, lines)


def last_lines(text: str, lines: int = 12) -> str:
    """The last lines of a text in one line."""
    stripped = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(stripped[-lines:]) or "it logged nothing"


__all__ = ["NOT_STARTED", "Supervised", "last_lines", "supervised", "tail"]
