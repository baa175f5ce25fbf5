"""Fuzz a connection of the REST server: whatever comes, each request is answered once, as often as it is cut.

The first byte of an input is the size of the pieces in which the rest arrives.
"""

import re
import socket
from collections.abc import Callable, Mapping
from typing import Any

from bench.server.net.http1 import HttpConnection, Limits, Plain
from bench.server.net.loop import Timer

LARGEST = 2000
_HEADS = re.compile(rb"HTTP/1\.1 (\d{3}) \r\n(?:[!-9;-~]+: [^\r\n]*\r\n)*\r\n")


class Ends:
    """The client's end, the loop and the threads, all in one: everything happens at once."""

    family = socket.AF_UNIX

    def __init__(self, pieces: list[bytes]) -> None:
        self.loop = self.pool = self
        self.limits = Limits(threads=1, seconds=60.0, connections=1, body_bytes=LARGEST)
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.sent = bytearray()
        self.ended = self.reading = False
        self._pieces = pieces
        self._posted: list[Callable[[], Any]] = []

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Plain:
        self.requests.append((method, target, headers, body))
        return Plain(404 if method == "CONNECT" else 200, b"{}")

    def submit(self, call: Callable[..., Any], *values: Any) -> None:
        call(*values)

    def post(self, call: Callable[[], Any]) -> None:
        self._posted.append(call)

    def call_at(self, instant: float, call: Callable[[], Any]) -> Timer:
        return Timer(call)

    def register(self, descriptor: int, events: int, on_event: Callable[[int], Any]) -> None:
        self._on_event, self.reading = on_event, True

    def modify(self, descriptor: int, events: int) -> None:
        self.reading = bool(events & 1)

    def unregister(self, descriptor: int) -> None:
        self.reading = False

    def gone(self, each: HttpConnection) -> None:
        self.ended = True

    def recv(self, size: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def fileno(self) -> int:
        return 0

    def setblocking(self, flag: bool) -> None: ...

    def shutdown(self, how: int) -> None: ...

    def close(self) -> None: ...

    def run(self, connection: HttpConnection) -> None:
        """Until the client has closed and everything is done."""
        while not self.ended and (self._posted or self.reading):
            while self._posted:
                self._posted.pop(0)()
            if self.reading:
                left = len(self._pieces)
                self._on_event(1)
                if not left and not self._posted:
                    return


def attack(data: bytes) -> None:
    """Raises whatever should not be."""
    if not data:
        return
    at_once, in_pieces = _served(data[1:], len(data)), _served(data[1:], data[0] or 1)
    if at_once != in_pieces:
        raise AssertionError(f"at once {at_once}, in pieces of {data[0]} {in_pieces}")


def _served(content: bytes, size: int) -> object:
    ends = Ends([content[at : at + size] for at in range(0, len(content), size)])
    ends.run(HttpConnection(ends, ends))  # type: ignore[arg-type]
    statuses, at = [], 0
    while at < len(ends.sent):
        head = _HEADS.match(ends.sent, at)
        if head is None:
            raise AssertionError(f"no head at {at}: {bytes(ends.sent)!r}")
        length = re.search(rb"\r\nContent-Length: (\d+)\r\n", head[0])
        status = int(head[1])
        bodiless = len(statuses) < len(ends.requests) and ends.requests[len(statuses)][0] == "HEAD"
        at = head.end() + (0 if bodiless or length is None else int(length[1]))
        if status != 100:
            statuses.append(status)
    for method, _, headers, body in ends.requests:
        if len(body) > LARGEST or not method or {"transfer-encoding", "content-length"} <= headers.keys():
            raise AssertionError(ends.requests)
    expected = [404 if method == "CONNECT" else 200 for method, *_ in ends.requests]
    if statuses[: len(expected)] != expected or len(statuses) > len(ends.requests) + 1:
        raise AssertionError(f"{len(ends.requests)} requests, answers {statuses}")
    return ends.requests, statuses


def seeds() -> list[bytes]:
    """Each framing of a request."""
    get = b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n"
    post = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n"
    sized = post + b"Content-Length: 5\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    texts = [
        get + b"\r\n" + sized + b"\r\nabcde" + get + b"Connection: close\r\n\r\n",
        chunked + b'5;x="y"\r\nabcde\r\n0\r\nTrailer: 1\r\n\r\n' + get + b"\r\n",
        chunked + b"1\r\na\r\n" * 100 + b"0\r\n\r\n" + get + b"\r\n",
        sized + b"Expect: 100-continue\r\n\r\nabcde",
        get.replace(b"GET", b"HEAD") + b"\r\n" + get + b"\r\n",
        get.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n\r\n",
        get + b"X: a\r\n b\r\n\r\n",
        post + b"Content-Length: 99999\r\n\r\n",
        sized + b"Content-Length: 6\r\n\r\nabcdef",
        sized + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        get + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ]
    return [bytes([size]) + text for text in texts for size in (0, 1, 7)]
