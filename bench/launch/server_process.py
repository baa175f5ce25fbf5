"""Start a server under test in a process of its own, wait until it is ready and always stop it.

Cheap to import (standard library only) and usable under gevent's monkey patching: load processes call it.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from bench import BenchError
from bench.supervision import last_lines

READY_SECONDS = 120.0
"""TensorFlow takes 2.5 s to import on an idle machine; a loaded one may take ten times that."""
DRAIN_SECONDS = 15.0


@dataclass(frozen=True)
class Server:
    """A running server process."""

    address: str
    """host:port of its gRPC port."""
    rest: str | None
    """host:port of its REST port, if it has one."""
    pid: int
    ready: dict[str, Any]
    """The readiness line as it was printed."""
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def log_text(self) -> str:
        """What the server has logged until now (its stderr)."""
        return _read(self.log)


@contextlib.contextmanager
def embedded(
    arguments: Sequence[str],
    *,
    ready_seconds: float = READY_SECONDS,
    environment: dict[str, str] | None = None,
    cpus: Collection[int] = (),
) -> Iterator[Server]:
    """Run `bench serve` with these arguments in a process of its own for the length of the block.

    A free port is taken unless the arguments name one. The block starts when the server has printed that it
    listens and its models are available, and the process is gone when the block has been left, however that
    happens: it also ends by itself when this process dies. `cpus`: those that it may use; none: all.

    Raises BenchError with the end of the server's log where it does not become ready in time.
    """
    command = [sys.executable, "-m", "bench", "serve"]
    if not any(argument.partition("=")[0] == "--port" for argument in arguments):
        command += ["--port", "0"]
    command += ["--exit-with-parent", *arguments]
    with tempfile.TemporaryFile() as log:
        with _only(cpus):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # its end of file tells the server that this process is gone
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # a Ctrl-C for the load test must reach the server after the last answer
            )
        try:
            ready = _await_ready(process, log, ready_seconds)
            yield Server(ready["grpc"], ready.get("rest"), process.pid, ready, process, log)
        finally:
            _stop(process)


@contextlib.contextmanager
def _only(cpus: Collection[int]) -> Iterator[None]:
    """Let this thread, and so the processes that it starts, use these CPUs for the length of the block."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _await_ready(process: subprocess.Popen[bytes], log: IO[bytes], seconds: float) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101 - it is a pipe: for the type checker
    deadline = time.monotonic() + seconds
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            piece = os.read(process.stdout.fileno(), 65536)
            received += piece
            for line in received.split(b"\n")[:-1]:
                ready = _readiness(line)
                if ready is not None:
                    return ready
            if not piece:
                process.wait()
                raise BenchError(
                    f"the embedded server ended with exit code {process.returncode}: {last_lines(_read(log))}"
                )
    raise BenchError(f"the embedded server was not ready after {seconds:g} s: {last_lines(_read(log))}")


def _readiness(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and event.get("event") == "ready" else None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process: first asked to answer what is in flight, then killed."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _read(log: IO[bytes]) -> str:
    # pread: the server shares the file's offset and goes on writing
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), size, 0).decode(errors="replace")
