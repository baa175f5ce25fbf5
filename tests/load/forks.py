"""Locust processes that are forks of one which has imported Locust: the import is a third of what a short load takes.

From there on each is what `python -m locust` would be: a session, arguments, environment, folder and output of its own; its
report is made by a fork as well (`tests/report_forks.py`). Experiments, programs and the installed package start theirs as
users do.
"""

import contextlib
import ctypes
import functools
import gc
import importlib
import inspect
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NamedTuple

from tests import report_forks

ROOT = Path(__file__).parents[2]
IMPORTED = (
    *("bench.scenario", "bench.protocol.tfserving_grpc", "bench.protocol.tfserving_counters"),
    *("asyncio", "gevent.resolver.thread", "gevent.fileobject", "numpy.ma", "pynvml", "zmq.utils.monitor"),
)
"""What loads import, and what does nothing by itself."""
CLONE_NEWTIME, CLONE_NEWNET = 0x80, 0x40000000
"""Of <linux/sched.h>."""
LARGEST = 1 << 20
"""Bytes of a message: an environment is the most of it."""


class Order(NamedTuple):
    """What is to be started."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    network: str | None = None
    ahead: int = 0


class Fork:
    """A Locust process; what tests need of `subprocess.Popen`, with standard output and error in one."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        output: IO[Any] | None = None,
        network: str | None = None,
        ahead: int = 0,
    ) -> None:
        """arguments: of Locust. environment: all of its variables; None: those of this process. output: None: `stdout`.

        network: a network namespace for it. ahead: seconds by which its monotonic clock is ahead of ours.
        """
        self.args = list(arguments)
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None
        reading, writing = os.pipe() if output is None else (-1, os.dup(output.fileno()))
        try:
            order = Order(self.args, dict(environment or os.environ), str(cwd), network, ahead)
            self.pid, self._ended = _parent().start(order, writing)
        finally:
            os.close(writing)
        if output is None:
            self.stdout = open(reading, encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115 - a descriptor
        self._output: list[str] = []
        self._reading: threading.Thread | None = None

    def poll(self) -> int | None:
        """The exit code; None: it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code when it has ended. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            try:
                self.returncode = self._ended.get(block=timeout != 0, timeout=timeout)
            except queue.Empty:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """What it has written and nobody has read, when it has ended. Raises subprocess.TimeoutExpired."""
        if self._reading is None:
            self._reading = threading.Thread(target=self._read, daemon=True)
            self._reading.start()
        self._reading.join(timeout)
        if self._reading.is_alive():
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.wait(timeout)
        return "".join(self._output), None

    def _read(self) -> None:
        if self.stdout is not None:
            with self.stdout:
                self._output.append(self.stdout.read())

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Parent:
    """The process that all are forks of."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.load.forks", str(theirs.fileno()), report_forks.address()]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=ROOT)
        self._lock = threading.Lock()
        self._started: queue.Queue[int] = queue.Queue()
        self._codes: dict[int, queue.Queue[int]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, order: Order, output: int) -> "tuple[int, queue.Queue[int]]":
        """Its process id, and where its exit code comes."""
        with self._lock:
            socket.send_fds(self._line, [json.dumps(order).encode()], [output])
            pid = self._started.get(timeout=120)
            return pid, self._codes[pid]

    def _listen(self) -> None:
        while content := self._line.recv(LARGEST):
            pid, code = json.loads(content)
            if code is None:
                self._codes[pid] = queue.Queue()
                self._started.put(pid)
            else:
                self._codes[pid].put(code)


_parent = functools.cache(_Parent)


def _serve(descriptor: int, reports: str) -> Order:
    """Fork what is ordered; gives the order in each fork, and leaves the program when the tests have ended."""
    # these as they are before gevent replaces them
    fork, wait, close, poll, receive = os.fork, os.waitpid, os.close, select.poll(), socket.recv_fds
    line = socket.socket(fileno=descriptor)
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    usual = signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    set_signal, set_wakeup = signal.signal, signal.set_wakeup_fd

    import locust.main  # noqa: F401

    for name in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from bench.load import verdict

    subprocess_of_verdict: Any = verdict.subprocess
    verdict.subprocess = SimpleNamespace(  # type: ignore[assignment]
        run=functools.partial(report_forks.run, reports), TimeoutExpired=subprocess_of_verdict.TimeoutExpired
    )
    # what a load does at its start, so that each finds the first and slow part of it done
    inspect.stack()
    gc.collect()
    gc.freeze()

    poll.register(line, select.POLLIN)
    poll.register(waking, select.POLLIN)
    running: set[int] = set()
    while True:
        ready = {found for found, _ in poll.poll()}
        if waking in ready:
            os.read(waking, 4096)
            for pid in list(running):
                ended, status = wait(pid, os.WNOHANG)
                if ended:
                    running.remove(pid)
                    line.send(json.dumps([pid, os.waitstatus_to_exitcode(status)]).encode())
        if descriptor not in ready:
            continue
        content, outputs, *_ = receive(line, LARGEST, 1)
        if not content:
            os._exit(0)
        pid = fork()
        if not pid:
            set_wakeup(-1)
            set_signal(signal.SIGCHLD, usual)
            line.close()
            os.setsid()
            for number in (1, 2):
                os.dup2(outputs[0], number)
            for number in (*outputs, waking, woken):
                close(number)
            return Order(*json.loads(content))
        close(outputs[0])
        running.add(pid)
        line.send(json.dumps([pid, None]).encode())


def _move(order: Order) -> None:
    """Into the network and the time of another host; only root may, and only a process of one thread into a time."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(namespace: str, kind: int) -> None:
        with open(namespace) as file:  # noqa: PTH123 - a descriptor
            if libc.setns(file.fileno(), kind):
                raise OSError(ctypes.get_errno(), f"setns {namespace}")

    if order.ahead:
        if libc.unshare(CLONE_NEWTIME):
            raise OSError(ctypes.get_errno(), "unshare")
        Path("/proc/self/timens_offsets").write_text(f"monotonic {order.ahead} 0")
        enter("/proc/self/ns/time_for_children", CLONE_NEWTIME)
    if order.network is not None:
        enter(f"/run/netns/{order.network}", CLONE_NEWNET)


def _run(order: Order) -> Any:
    _move(order)
    os.chdir(order.folder)
    # what Python does with them at its start
    sys.path[:1] = [order.folder, *filter(None, order.environment.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ.clear()
    os.environ.update(order.environment)
    import gevent
    import locust.main

    gevent.reinit()  # where an import has made a loop
    sys.argv = [locust.main.__file__.replace("main.py", "__main__.py"), *order.arguments]
    return locust.main.main()


if __name__ == "__main__":
    sys.exit(_run(_serve(int(sys.argv[1]), sys.argv[2])))
