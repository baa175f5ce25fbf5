"""The REST listener and the threads that respond.

A loop of its own in a thread of its own, so that JSON never delays a gRPC call, and further threads in which the
requests are answered.
"""

import errno
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bench.server.net.http1 import Answer, HttpConnection, Limits
from bench.server.net.loop import READ, Loop

log = logging.getLogger(__name__)

_ACCEPTS_PER_TURN: Final = 64


class Web:
    """One listening socket, its connections, and the threads that answer them."""

    def __init__(self, listener: socket.socket, answer: Answer, limits: Limits) -> None:
        self.answer = answer
        self.limits = limits
        self.loop = Loop()
        self.pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="rest")
        self.connections: set[HttpConnection] = set()
        self._listener = listener
        self._draining = False
        self._thread = threading.Thread(target=self.loop.run, name="web", daemon=True)

    def start(self) -> None:
        """Accept clients from now on."""
        self._listener.setblocking(False)
        self._listener.listen(1024)
        self.loop.register(self._listener.fileno(), READ, lambda _mask: self._accept())
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Take no more requests, answer those that have come, for at most so many seconds; then end the thread."""
        self.loop.post(lambda: self._drain(seconds))
        self._thread.join()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.loop.close()

    def gone(self, each: HttpConnection) -> None:
        """A connection has ended."""
        self.connections.discard(each)
        if self._draining and not self.connections:
            self.loop.stop()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, _address = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    log.warning("REST: cannot accept: %s", error)
                    time.sleep(0.05)  # the waiting client would wake this thread at once again
                return
            if len(self.connections) >= self.limits.connections:
                sock.close()
                continue
            self.connections.add(HttpConnection(sock, self))

    def _drain(self, seconds: float) -> None:
        self._draining = True
        self.loop.unregister(self._listener.fileno())
        self._listener.close()
        for each in list(self.connections):
            each.drain()
        self.loop.call_at(time.monotonic() + seconds, self.loop.stop)
        if not self.connections:
            self.loop.stop()
