"""A server that answers each call with the frames that it is told, in a thread of its own."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from bench.wire import frames, unary
from bench.wire.header_blocks import literal

Fields = list[tuple[bytes, bytes]]
OPENING: Fields = [(b":status", b"200"), (b"content-type", b"application/grpc")]


class RawServer:
    """What `opening`, `body` and `trailers` are, every call is answered with; without trailers the body ends it."""

    def __init__(self) -> None:
        self.opening, self.body, self.trailers = OPENING, b"", OPENING
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def answer(self, *, opening: Fields = OPENING, body: bytes | None = None, trailers: Fields) -> None:
        """`body`: of one DATA frame or several; None: a message of one byte."""
        self.opening, self.trailers = opening, trailers
        self.body = unary.PREFIX.pack(0, 1) + b"a" if body is None else body

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.sendall(frames.settings({}))
            file = sock.makefile("rb")
            file.read(len(frames.PREFACE))
            while head := file.read(9):
                size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                stream = int.from_bytes(head[5:], "big")
                file.read(size)
                if kind == frames.SETTINGS and not flags & frames.ACK:
                    sock.sendall(frames.frame(frames.SETTINGS, frames.ACK, 0))
                elif kind == frames.PING and not flags & frames.ACK:
                    sock.sendall(frames.frame(frames.PING, frames.ACK, 0, bytes(8)))
                elif kind == frames.DATA and flags & frames.END_STREAM:
                    sock.sendall(self._answer(stream))

    def _answer(self, stream: int) -> bytes:
        parts = [frames.headers(stream, _block(self.opening), end_stream=False, largest=16_384)]
        for at in range(0, len(self.body), 16_384):
            parts.append(frames.frame(frames.DATA, 0, stream, self.body[at : at + 16_384]))
        parts.append(frames.headers(stream, _block(self.trailers), end_stream=True, largest=16_384))
        return b"".join(parts)


def _block(fields: Fields) -> bytes:
    return b"".join(literal(name, value) for name, value in fields)


@contextlib.contextmanager
def raw_server() -> Iterator[RawServer]:
    server = RawServer()
    try:
        yield server
    finally:
        server.close()
