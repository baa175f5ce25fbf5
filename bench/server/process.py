"""The server process: start, readiness line and end."""

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from bench import __version__
from bench.server import settings as settings_files
from bench.server import siblings, starting_models
from bench.server.api.null import NullCalls
from bench.server.assembly import Stack
from bench.server.metrics import Metrics
from bench.server.net import allocation, http1, listener, ports, web
from bench.server.net.listener import Front
from bench.server.net.loop import Loop
from bench.server.net.ports import Ports
from bench.server.net.unfinished import Unfinished
from bench.server.options import ServerFlags
from bench.server.settings import Settings

log = logging.getLogger(__name__)

_LARGEST_AT_ONCE: Final = 4
"""Requests of the largest size that may be arriving at once, of all clients."""
_SWITCH_INTERVAL: Final = 5e-4
"""Seconds until a thread that computes hands the interpreter to the I/O thread; Python's own 5 ms are 500 answers."""


def serve(options: ServerFlags) -> int:
    """Serve with checked options until SIGTERM, SIGINT or, if asked, the end of standard input; then 0.

    Raises BenchError where the server cannot start: nothing was served then.
    """
    allocation.keep_freed_memory()
    settings = settings_files.read(options)
    bound = ports.bind(options)
    if options.exit_with_parent:
        end = threading.Thread(
            target=end_with_parent, args=(options.remove_with_parent,), name="parent", daemon=True
        )
        end.start()
    try:
        loop = Loop()
        if options.backend == "null":
            return _Server(options, bound, loop, None, settings).run()
        metrics = Metrics()
        with (
            starting_models.serving(options, metrics) as repository,
            siblings.joined(options.siblings_folder) as others,
        ):
            stack = Stack(options, settings, repository, metrics, loop, siblings=others)
            return _Server(options, bound, loop, stack, settings).run()
    finally:
        bound.close()


class _Server:
    """The I/O thread's parts, from readiness to drain."""

    def __init__(
        self, options: ServerFlags, bound: Ports, loop: Loop, stack: Stack | None, settings: Settings
    ) -> None:
        self._options = options
        self._ports = bound
        self._stack = stack
        self._loop = loop
        calls = (
            NullCalls(echo=options.echo, examples=options.reply_examples) if stack is None else stack.calls
        )
        unfinished = Unfinished(_LARGEST_AT_ONCE * options.max_message_bytes)
        limits = listener.Limits(options.max_connections, options.max_message_bytes, unfinished)
        self._front = Front(loop, calls, limits, settings.tls)
        if stack is not None:
            loop.after_turn.append(stack.executor.flush)
        loop.after_turn.append(self._front.flush)
        self._web = None
        if bound.rest is not None and stack is not None:
            self._web = web.Web(bound.rest, stack.rest.answer, _web_limits(options, unfinished))

    def run(self) -> int:
        sys.setswitchinterval(_SWITCH_INTERVAL)
        self._front.listen(self._ports.grpc)
        if self._ports.unix is not None:
            self._front.listen(self._ports.unix)
        if self._web is not None:
            self._web.start()
        with _signals(self._drain):
            self._announce()
            self._loop.run()
        _end_at_last(self._options.drain_seconds)
        if self._web is not None:
            self._web.stop(self._options.drain_seconds)
        if self._stack is not None:
            self._stack.close()
        self._loop.close()
        log.info("ended")
        return 0

    def _announce(self) -> None:
        ready: dict[str, Any] = {
            "event": "ready",
            "grpc": ports.shown(self._ports.grpc),
            "rest": None if self._web is None or self._ports.rest is None else ports.shown(self._ports.rest),
            "socket": self._options.grpc_socket_path or None,
            "pid": os.getpid(),
            "backend": self._options.backend,
            "max_message_bytes": self._options.max_message_bytes,
        }
        if self._stack is not None:
            ready |= self._stack.facts()
        log.info("serving-bench %s with %s", __version__, self._options.changed() or "all flags by default")
        log.info("Running gRPC ModelServer at %s ...", ready["grpc"])
        if ready["rest"]:
            log.info("Exporting HTTP/REST API at:%s ...", ready["rest"])
        print(json.dumps(ready), flush=True)

    def _drain(self) -> None:
        """Begin to end. Called from any thread and from signal handlers."""
        self._loop.post(self._begin_drain)

    def _begin_drain(self) -> None:
        if self._stack is not None and self._stack.health is not None:
            self._stack.health.drain()
        self._front.drain(self._options.drain_seconds, self._loop.stop)


def end_with_parent(folder: str) -> None:
    """When standard input closes, whoever started this process is gone or wants it to end, and needs no folder.

    Before the server is ready that kills it; afterwards it drains.
    """
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_at_last(seconds: float) -> None:
    """End the process after so many seconds, whatever its threads are doing: a run cannot be interrupted."""

    def end() -> None:
        log.warning("ended %g s after the drain, with requests that are still being executed", seconds)
        os._exit(0)

    last = threading.Timer(seconds, end)
    last.daemon = True
    last.start()


def _web_limits(options: ServerFlags, unfinished: Unfinished) -> http1.Limits:
    return http1.Limits(
        threads=options.rest_api_num_threads,
        seconds=options.rest_api_timeout_in_ms / 1e3,
        connections=options.max_connections,
        body_bytes=options.max_message_bytes,
        unfinished=unfinished,
    )


@contextlib.contextmanager
def _signals(drain: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, _frame: Any) -> None:
        log.info("%s: answering the calls in flight", signal.Signals(number).name)
        drain()

    handled = (signal.SIGTERM, signal.SIGINT)
    for number in handled:
        signal.signal(number, handle)
    yield
    for (
        number
    ) in handled:  # a second one, as from a launcher that also closes our input, must not cut the end short
        signal.signal(number, signal.SIG_IGN)
