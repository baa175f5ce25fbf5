"""A real server on our server role, in the test's own event loop, that can be told to misbehave."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
from gevent.lock import RLock
from gevent.server import StreamServer

from bench.wire.http2_server import ServerConnection
from bench.wire.unary import Request

Answer = Callable[["Peer", Request], None]


def echo(peer: "Peer", request: Request) -> None:
    peer.connection.respond(request.stream, message=request.message)


def silence(peer: "Peer", request: Request) -> None:
    """Never answers."""


class Peer:
    """One accepted connection."""

    def __init__(self, server: "Server", sock: Any) -> None:
        self.server = server
        self.sock = sock
        self.connection = ServerConnection(**server.options)
        self.requests: list[Request] = []
        self._sending = RLock()

    def flush(self) -> None:
        # answers may come from greenlets of their own, and a large one waits half sent: bytes leave in turn
        with self._sending:
            while data := self.connection.take():
                self.sock.sendall(data)

    def send(self, data: bytes) -> None:
        """Send raw bytes after what the connection has to say."""
        with self._sending:
            self.flush()
            self.sock.sendall(data)

    def run(self) -> None:
        self.flush()
        while data := self.sock.recv(65_536):
            for request in self.connection.receive(data):
                self.requests.append(request)
                self.server.requests.append(request)
                self.server.answer(self, request)
            self.flush()
            if self.connection.closed is not None:
                return


class Server:
    """Listens on a free port of the loopback, or on a unix socket; `peers` are its live connections."""

    def __init__(
        self,
        answer: Answer = echo,
        *,
        port: int = 0,
        path: Path | None = None,
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        self.answer = answer
        self.options = options
        self.peers: list[Peer] = []
        self.requests: list[Request] = []
        self.accepted = 0
        listener: Any = (host, port)
        if path is not None:
            listener = gevent.socket.socket(gevent.socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen()
        secure = {} if context is None else {"ssl_context": context}
        self._server = StreamServer(listener, self._serve, **secure)
        self._server.start()
        self.port = 0 if path is not None else self._server.server_port
        self.address = (
            f"unix:{path}" if path is not None else f"{'[::1]' if ':' in host else host}:{self.port}"
        )

    def _serve(self, sock: Any, _: Any) -> None:
        self.accepted += 1
        peer = Peer(self, sock)
        self.peers.append(peer)
        try:
            peer.run()
        except OSError:
            pass  # the client has gone, as tests let it
        finally:
            self.peers.remove(peer)

    def stop_listening(self) -> None:
        self._server.close()

    def drop(self) -> None:
        """Break all connections without a word."""
        for peer in list(self.peers):
            peer.sock.shutdown(gevent.socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.stop(timeout=0)


@contextmanager
def serving(answer: Answer = echo, **options: Any) -> Iterator[Server]:
    server = Server(answer, **options)
    try:
        yield server
    finally:
        server.close()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds; fails after `seconds`."""
    with gevent.Timeout(seconds, AssertionError(f"not within {seconds} s")):
        while not condition():
            gevent.sleep(0.002)
