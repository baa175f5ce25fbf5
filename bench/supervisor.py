"""The supervisor: ends a program when its parent is gone, even if that was killed.

`python -m bench.supervisor '{"command": [...], "cpus": [0], "grace": 5}'` runs the command in a session of its own
and waits for its end or for the end of its own standard input, which the system closes when the parent dies. Then the
command's whole process group gets SIGTERM and, after the grace time, SIGKILL; with grace 0 only that. The first line on standard output
is the command's process id; the exit code is the command's (128 + n after signal n), or 127 where it cannot be started.

Standard library only: it is up in some 30 ms and takes 8 MB.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

NOT_STARTED = 127
_PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def main(order: dict[str, Any]) -> int:
    """Run the command that the order names until one of its ends, see above."""
    reading, writing = os.pipe()  # a signal of a child's end becomes something to wait for
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # the end of standard input decides
    log = order.get("log")
    try:
        output = sys.stderr.fileno() if log is None else os.open(log, os.O_WRONLY | os.O_APPEND)
        child = subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_preparation(order.get("cpus")),  # noqa: PLW1509 - this process has one thread
        )
    except OSError as error:
        print(json.dumps({"error": f"{order['command'][0]}: {error.strerror}"}), flush=True)
        return NOT_STARTED
    print(json.dumps({"pid": child.pid}), flush=True)
    try:
        _wait(child, reading)
    finally:
        _end(child, float(order.get("grace", 10.0)))
    code = child.returncode
    return code if code >= 0 else 128 - code


def _preparation(cpus: list[int] | None) -> Callable[[], None]:
    """What the child does before it becomes the command. Should this process be killed itself, the child follows."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def prepare() -> None:
        signal.set_wakeup_fd(-1)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if cpus:
            os.sched_setaffinity(0, cpus)

    return prepare


def _wait(child: "subprocess.Popen[bytes]", signals: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(signals, selectors.EVENT_READ)
        while child.poll() is None:
            for key, _ in selector.select():
                if not os.read(key.fd, 4096) and key.fd == 0:
                    return


def _end(child: "subprocess.Popen[bytes]", grace: float) -> None:
    """End the whole group: what the command has started must not outlive it either.

    Without a grace time there is no SIGTERM: on a busy machine the command could end in order before the SIGKILL.
    """
    if grace > 0:
        _send(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace)
        while _send(child.pid, 0) and time.monotonic() < deadline:
            time.sleep(0.01)  # members that are not our children: their end is no event here
    _send(child.pid, signal.SIGKILL)
    child.wait()


def _send(group: int, number: int) -> bool:
    """Whether the group still has members."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS, of a group whose members have all ended
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
