"""A TCP proxy that holds everything a client sends for the same time, and measures how long it really did."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue


class DelayLine:
    """Holds what goes to the server; what comes back passes at once."""

    def __init__(self, target: str, seconds: float) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._seconds = seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.held: list[float] = []
        """Seconds for which each piece was held."""
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
            for work, arguments in (
                (self._take, (client, line)),
                (self._send_late, (server, line)),
                (self._pass_back, (server, client)),
            ):
                threading.Thread(target=work, args=arguments, daemon=True).start()

    def _take(self, client: socket.socket, line: "SimpleQueue[tuple[float, bytes]]") -> None:
        while True:
            try:
                data = client.recv(1 << 20)
            except OSError:
                data = b""
            line.put((time.perf_counter(), data))
            if not data:
                return

    def _send_late(self, server: socket.socket, line: "SimpleQueue[tuple[float, bytes]]") -> None:
        while True:
            came, data = line.get()
            if not data:
                return
            time.sleep(max(0.0, came + self._seconds - time.perf_counter()))
            try:
                server.sendall(data)
            except OSError:
                return
            self.held.append(time.perf_counter() - came)

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        while True:
            try:
                data = server.recv(1 << 20)
                if not data:
                    return
                client.sendall(data)
            except OSError:
                return


@contextmanager
def delay_line(target: str, seconds: float) -> Iterator[DelayLine]:
    """A delay line before a server for the length of the block."""
    line = DelayLine(target, seconds)
    try:
        yield line
    finally:
        line.close()
