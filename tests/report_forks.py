"""`bench conclude` at the end of a load, as a fork of one process that has imported it: the import is nine tenths of it.

A load has the report made by a process of its own, and pays for its imports again and again: two thirds of the processor
time of a short load. Loads that are forks themselves (`tests/load/forks.py`) have theirs made here; those that experiments,
programs and the installed package start do as users' do.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LARGEST = 1 << 20
"""Bytes of an order: an environment is the most of it."""
ENDED_WITHOUT_A_CODE = -1


@functools.cache
def address() -> str:
    """Where reports are ordered: a socket of a process that ends with this one.

    It has a path: an abstract one would belong to a network namespace, and there are tests with several.
    """
    folder = tempfile.mkdtemp(prefix="bench-reports-")
    place = f"{folder}/socket"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(place)
    listening.listen(64)
    alive, ours = os.pipe()  # its end of file tells that this process is gone
    command = [sys.executable, "-m", "tests.report_forks", str(listening.fileno()), str(alive)]
    with listening:
        process = subprocess.Popen(command, pass_fds=[listening.fileno(), alive], cwd=ROOT)
    os.close(alive)

    def end() -> None:
        os.close(ours)
        process.wait()
        shutil.rmtree(folder)

    atexit.register(end)
    return place


def run(
    place: str, command: Sequence[str], *, timeout: float, **_: Any
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run` with captured text and a session of its own, of a command `python -m bench ...`."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        line.settimeout(timeout)
        line.connect(place)
        order = [list(command[3:]), dict(os.environ), str(Path.cwd())]
        socket.send_fds(line, [json.dumps(order).encode()], [output.fileno(), errors.fileno()])
        try:
            code = line.recv(64)
        except TimeoutError:
            raise subprocess.TimeoutExpired(command, timeout) from None
        texts = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0) for file in (output, errors)]
        return subprocess.CompletedProcess(
            command, int(code or ENDED_WITHOUT_A_CODE), *(text.decode() for text in texts)
        )


def _serve(listening: socket.socket, alive: int) -> None:
    """Fork for each order; ends when the tests have ended."""
    import select

    import pyarrow.parquet  # noqa: F401 - as below

    import bench.cli.conclude
    import bench.cli.report
    import bench.cli.verbs  # noqa: F401 - what a report takes

    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # each says itself how it ended
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    poll.register(alive, select.POLLIN)
    while alive not in {ready for ready, _ in poll.poll()}:
        line, _ = listening.accept()
        if not os.fork():
            os.close(alive)
            listening.close()
            _report(line)
        line.close()


def _report(line: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    content, outputs, *_ = socket.recv_fds(line, LARGEST, 2)
    arguments, environment, folder = json.loads(content)
    os.dup2(outputs[0], 1)
    os.dup2(outputs[1], 2)
    for number in outputs:
        os.close(number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    from bench.cli import main

    code: Any = ENDED_WITHOUT_A_CODE
    try:
        sys.argv = ["bench", *arguments]
        main()
    except SystemExit as ended:
        code = ended.code
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        with contextlib.suppress(OSError):  # the load has given it up
            line.send(str(code or 0).encode())
        os._exit(code or 0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
