"""Several server processes on one port.

Each has a socket of its own on the port (SO_REUSEPORT): the kernel deals out connections, not calls. A client with
one connection is served by one process. What concerns them all they settle among themselves: see
`bench.server.cluster`.
"""

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from queue import SimpleQueue
from typing import Any, Final

from bench import BenchError
from bench.server.net import ports
from bench.server.options import ServerFlags
from bench.server.process import end_with_parent

log = logging.getLogger(__name__)

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


def serve(options: ServerFlags) -> int:
    """Run `options.processes` servers until SIGTERM or SIGINT (then 0), or until one of them ends by itself (then 1).

    Raises BenchError where they cannot start.
    """
    if options.grpc_socket_path or options.call_log:
        raise BenchError(
            "--processes cannot be combined with --grpc_socket_path or --call-log: use one process"
        )
    # taken but never listened on: the port is known, and stays ours, before the first child has loaded its model
    bound = ports.bind(dataclasses.replace(options, shared_port=True))
    try:
        with tempfile.TemporaryDirectory(prefix="serving-bench-", ignore_cleanup_errors=True) as folder:
            return _run(dataclasses.replace(options, siblings_folder=folder), bound)
    finally:
        bound.close()


def _run(options: ServerFlags, bound: ports.Ports) -> int:
    command = [sys.executable, "-m", "bench", "serve", *_arguments(options, bound)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(options.processes)
    ]
    try:
        facts = [_ready(child) for child in children]
        signals: SimpleQueue[int] = SimpleQueue()  # whose `put` may be called from a signal handler
        for number in (*_ENDING, signal.SIGCHLD):
            signal.signal(number, lambda number, _frame: signals.put(number))
        if options.exit_with_parent:
            threading.Thread(target=end_with_parent, args=(options.remove_with_parent,), daemon=True).start()
        ready = facts[0] | {"pid": os.getpid(), "processes": [child.pid for child in children]}
        print(json.dumps(ready), flush=True)
        return _wait(children, signals)
    finally:
        _stop(children, options.drain_seconds)


def _arguments(options: ServerFlags, bound: ports.Ports) -> list[str]:
    flags = options.changed() | {
        "port": bound.grpc.getsockname()[1],
        "shared_port": True,
        "exit_with_parent": True,
    }
    if bound.rest is not None:
        flags["rest_api_port"] = bound.rest.getsockname()[1]
    for name in ("processes", "remove_with_parent"):  # what the process above them sees to
        flags.pop(name, None)
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in flags.items()
    ]


def _ready(child: "subprocess.Popen[bytes]") -> dict[str, Any]:
    assert child.stdout is not None  # noqa: S101 - it is a pipe: for the type checker
    line = child.stdout.readline()
    if not line:
        raise BenchError(
            f"a server process ended with exit code {child.wait()} before it was ready; see its log"
        )
    facts: dict[str, Any] = json.loads(line)
    return facts


def _wait(children: "list[subprocess.Popen[bytes]]", signals: "SimpleQueue[int]") -> int:
    while True:
        for child in children:
            if child.poll() is not None:
                log.error(
                    "server process %d ended with exit code %d: ending all", child.pid, child.returncode
                )
                return 1
        if signals.get() in _ENDING:
            return 0


def _stop(children: "list[subprocess.Popen[bytes]]", seconds: float) -> None:
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(seconds + 5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
