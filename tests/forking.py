"""The processes of which those of tests are forks: see `tests/forks.py`.

`python -m tests.forking SPACE ALIVE LISTENING...`: a text of which only the space is needed, for command lines of forks; and
descriptors of a pipe that ends with the tests, and of a socket for each of `forks.KINDS`. At the first order of a kind there is a process for it, which imports what its forks need.
"""

import atexit
import contextlib
import ctypes
import fcntl
import functools
import gc
import importlib
import inspect
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.cli import INTERNAL, VERBS
from tests import forks
from tests.forks import Order

_SERVER: Final = (
    "bench.cli.verbs",
    "bench.cli.output",
    "bench.cli.serve",
    "bench.server.logs",
    "bench.server.process",
    "bench.server.processes",
)
IMPORTED: Final[Mapping[str, Sequence[str]]] = {
    "locust": (
        *(
            "locust.main",
            "bench.scenario",
            "bench.protocol.tfserving_grpc",
            "bench.protocol.tfserving_counters",
        ),
        *(
            "asyncio",
            "gevent.resolver.thread",
            "gevent.fileobject",
            "numpy.ma",
            "pynvml",
            "zmq.utils.monitor",
        ),
    ),
    "bench": (
        *(
            *_SERVER,
            *(module for module, _ in VERBS.values()),
            *INTERNAL.values(),
            "bench.cli.capacity_run",
            "bench.cli.gate_run",
            "bench.cli.tables",
            "bench.cli.terminal",
            "bench.cli.tune_run",
            "bench.analysis.showing.verdict",
            "bench.picture",
            "bench.protocol.prometheus",
            "bench.protocol.tfserving_counters",
            "bench.protocol.tfserving_grpc",
            "bench.wire.grpcio_client",
        ),
        *(
            "bench.runs.parquet",
            "pandas",
            "pyarrow.parquet",
            "scipy.special",
            "rich.table",
            "rich._unicode_data.unicode17-0-0",
            "encodings.cp437",
            "encodings.idna",
            "click._textwrap",
        ),
    ),
    "tensorflow": (*_SERVER, "bench.server.execution.backend"),
    "training": ("bench.cli.verbs", "bench.cli.output", "bench.cli.export"),
}
"""What does nothing by itself."""
CLONE_NEWTIME, CLONE_NEWNET = 0x80, 0x40000000
"""Of <linux/sched.h>."""


def listen(alive: int, listening: dict[str, int]) -> str:
    """Fork for each kind that is ordered, and give it there. Leaves the program when the tests have ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    poll = select.poll()
    for number in (alive, *listening.values()):
        poll.register(number, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready == alive:
                os._exit(0)
            (kind,) = (each for each, number in listening.items() if number == ready)
            if not os.fork():
                for other in set(listening) - {kind}:
                    os.close(listening.pop(other))
                return kind
            poll.unregister(ready)
            os.close(listening.pop(kind))


def _prepare(kind: str) -> None:
    """Import what forks need."""
    for name in IMPORTED[kind]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if kind == "locust":
        forks.connect()
        subprocess.run = functools.partial(forks.run, subprocess.run)
        forks.Cooperative.usual = subprocess.Popen
        subprocess.Popen = forks.Cooperative  # type: ignore[assignment, misc]
        # what a load does at its start, so that each finds the first and slow part of it done
        inspect.stack()
    else:
        forks.install()
        forks.Popen.tells_of_ends = True
    if kind == "tensorflow":
        from bench.server.execution import runtime

        runtime.tensorflow()
    if kind == "training":
        from bench.export.quiet import tensorflow

        # after `bench.cli.export` and with it our messages: `tests.wire.beside_tensorflow` hangs on this order
        importlib.import_module(tensorflow().keras.__name__)  # which is imported when it is first used
    gc.collect()
    gc.freeze()


def serve(kind: str, listening: int, alive: int) -> Order:
    """Fork what is ordered; gives the order in each fork, and leaves the program when the tests have ended."""
    # these as they are before gevent replaces them
    fork, wait, close, kill, poll, receive = (
        os.fork,
        os.waitpid,
        os.close,
        os.kill,
        select.poll(),
        socket.recv_fds,
    )
    set_signal, set_wakeup, look = signal.signal, signal.set_wakeup_fd, os.waitid
    server = socket.socket(fileno=listening)
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    set_signal(signal.SIGCHLD, lambda *_: None)
    set_wakeup(woken)
    _prepare(kind)
    lines: dict[int, tuple[int, socket.socket, bool]] = {}
    """At the descriptor of each line: the process, and whether it ends with who ordered it."""
    ended: set[int] = set()
    """Those whose exit codes were sent. They are waited for when that was read: until then their ids are theirs."""
    left: set[int] = set()
    """Those that nobody waits for."""
    for number in (listening, alive, waking):
        poll.register(number, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        if alive in ready:
            os._exit(0)
        if waking in ready:
            os.read(waking, 4096)
            for pid, line, _ in list(lines.values()):
                state = None if pid in ended else look(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if state is not None:
                    ended.add(pid)
                    code = state.si_status if state.si_code == os.CLD_EXITED else -state.si_status
                    with contextlib.suppress(OSError):
                        line.send(str(code).encode())
            left -= {pid for pid in left if wait(pid, os.WNOHANG)[0]}
        for number in ready & set(lines):
            pid, line, bound = lines.pop(number)
            poll.unregister(number)
            line.close()
            if bound and pid not in ended:
                kill(pid, signal.SIGKILL)
            ended.discard(pid)
            if not wait(pid, os.WNOHANG)[0]:
                left.add(pid)
        if listening not in ready:
            continue
        line, _ = server.accept()
        content, files, *_ = receive(line, forks.LARGEST, 64)
        if not content:  # who was to order was killed before
            line.close()
            continue
        order = Order(*json.loads(content))
        with warnings.catch_warnings(action="ignore"):  # of threads that numpy's libraries have
            pid = fork()
        if not pid:
            set_wakeup(-1)
            set_signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (server, *(line for _, line, _ in lines.values())):
                each.close()
            for number in (waking, woken, alive):
                close(number)
            for standard, number in enumerate(files[:3]):
                os.dup2(number, standard)
            for number in files[:3]:  # further ones stay open
                close(number)
            _settle(order)
            line.send(str(os.getpid()).encode())
            line.close()
            return order
        for number in files:
            close(number)
        lines[line.fileno()] = pid, line, order.ends_with_orderer
        poll.register(line.fileno(), select.POLLIN)


def _settle(order: Order) -> None:
    """Take the place among processes, and on the host, that was ordered."""
    _move(order)
    if order.group < 0:
        os.setsid()
        if order.terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    else:
        os.setpgid(0, order.group)
    os.sched_setaffinity(0, order.cpus)
    for number, limit in zip(forks.LIMITS, order.limits, strict=True):
        if tuple(limit) != resource.getrlimit(number):
            resource.setrlimit(number, (limit[0], limit[1]))
    os.chdir(order.folder)
    _show([sys.executable, "-m", order.module, *order.arguments])


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
    if order.network:
        enter(f"/run/netns/{order.network}", CLONE_NEWNET)


def run(order: Order) -> None:
    """Be what was ordered."""
    # what Python does at its start
    sys.path[:1] = [order.folder] if order.imports_folder else []
    os.environ.clear()
    os.environ.update(order.environment)
    if "gevent" in sys.modules:
        import gevent

        gevent.reinit()  # where an import has made a loop
    sys.argv[1:] = order.arguments
    if order.fails_on_warnings:
        warnings.simplefilter("error")
    tempfile.tempdir = None  # as the environment has it
    if not hasattr(sys.modules.get(order.module), "__path__"):
        sys.modules.pop(order.module, None)  # it is executed: runpy warns of one that was imported
    code: object = 0
    try:
        runpy.run_module(order.module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    if code is not None and not isinstance(code, int):
        sys.exit(code)  # type: ignore[arg-type]
    # the end as Python has it, without taking everything apart that was imported: a twentieth of a second
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


def _show(command: Sequence[str]) -> None:
    """Have the command line be shown as that of this process, as far as there is space for it."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    text = b"".join(part.encode(errors="surrogateescape") + b"\0" for part in command)
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, text[: end - start - 1], min(len(text), end - start - 1))


def main(alive: int, *listening: int) -> None:
    """See above."""
    sockets = dict(zip(forks.KINDS, listening, strict=True))
    kind = listen(alive, sockets)
    run(serve(kind, sockets[kind], alive))


if __name__ == "__main__":
    main(*map(int, sys.argv[2:]))
