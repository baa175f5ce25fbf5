"""Bytes that a client's socket would not take yet."""

import socket
import time
from collections import deque


class Outbox:
    """Sends at once what the kernel takes and keeps the rest, in order."""

    __slots__ = ("_chunks", "_sock", "progress", "size")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._chunks: deque[memoryview] = deque()
        self.size = 0
        """Bytes that are kept."""
        self.progress = 0.0
        """Instant of `time.monotonic` at which the kernel last took something, while something is kept."""

    def send(self, data: bytes) -> None:
        """Send, or keep behind what is kept already. Raises OSError where the connection is broken."""
        if self._chunks:
            self._keep(memoryview(data))
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.progress = time.monotonic()
            self._keep(memoryview(data)[sent:])

    def resume(self) -> None:
        """The socket is writable: send what is kept, as far as it is taken. Raises OSError."""
        while self._chunks:
            chunk = self._chunks[0]
            try:
                sent = self._sock.send(chunk)
            except BlockingIOError:
                return
            self.size -= sent
            self.progress = time.monotonic()
            if sent < len(chunk):
                self._chunks[0] = chunk[sent:]
                return
            self._chunks.popleft()

    def clear(self) -> None:
        """Forget what is kept."""
        self._chunks.clear()
        self.size = 0

    def _keep(self, rest: memoryview) -> None:
        self._chunks.append(rest)
        self.size += len(rest)
