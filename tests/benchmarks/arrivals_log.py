"""The null backend with a log of arrivals, which shows how punctual a client is that does not say so itself.

    python -m tests.benchmarks.arrivals_log serve --backend null --port 0     # as `bench serve`

SIGUSR1 writes the log since the last time to the file that ARRIVALS_LOG names: for each group of requests that were read
together the instant, by CLOCK_MONOTONIC, and their number.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.null_servers import Target

Floats = NDArray[np.float64]


class LoggedTarget:
    """A running server with a log."""

    def __init__(self, process: subprocess.Popen[str], address: str, log: Path) -> None:
        self.target = Target(address, process.pid)
        self._process, self._log = process, log

    def arrivals(self) -> Floats:
        """The instants at which requests were read since the last call, in order."""
        self._log.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + 30
        while not self._log.exists():
            if time.monotonic() > until:
                raise SystemExit("the server wrote no log of arrivals")
            time.sleep(0.01)
        groups = np.load(self._log)
        return np.repeat(groups[:, 0], groups[:, 1].astype(np.int64))


@contextlib.contextmanager
def logged(arguments: Sequence[str], folder: Path, cpu: int) -> Iterator[LoggedTarget]:
    """Run the server on one processor for the length of the block."""
    log = folder / f"arrivals-{len(list(folder.iterdir()))}.npy"
    command = ["taskset", "-c", str(cpu), sys.executable, "-m", "tests.benchmarks.arrivals_log", "serve"]
    command += ["--backend", "null", "--port", "0", "--exit-with-parent", *arguments]
    environment = {**os.environ, "ARRIVALS_LOG": str(log)}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout
            ready = json.loads(process.stdout.readline())
            yield LoggedTarget(process, ready["grpc"], log)
        finally:
            process.terminate()


def lags(arrivals: Floats, dues: Floats, leave_out: float) -> Floats:
    """Seconds by which each arrival was later than the most punctual one, given when requests were due.

    `dues`: on any clock, in order. The first `leave_out` seconds are left out: caches and connections are cold.
    """
    count = min(len(arrivals), len(dues))
    late = arrivals[:count] - dues[:count]
    late = late[dues[:count] >= dues[0] + leave_out]
    return late - late.min() if len(late) else late


def _serve() -> None:
    from bench.cli import main
    from bench.server.api.null import NullCalls

    groups: list[tuple[float, int]] = []
    take, take_burst, clock = NullCalls.take, NullCalls.take_burst, time.perf_counter

    def note_take(self: NullCalls, caller: Any, requests: Any) -> None:
        groups.append((clock(), len(requests)))
        take(self, caller, requests)

    def note_burst(self: NullCalls, caller: Any, burst: Any) -> None:
        groups.append((clock(), len(burst.streams)))
        take_burst(self, caller, burst)

    def write(*_: Any) -> None:
        path = Path(os.environ["ARRIVALS_LOG"])
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, np.array(groups, np.float64).reshape(-1, 2))
        groups.clear()
        path.with_suffix(".part").rename(path)

    NullCalls.take, NullCalls.take_burst = note_take, note_burst  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, write)
    main(sys.argv[1:])


if __name__ == "__main__":
    _serve()
