"""Measure the processor time that a server's HTTP/2 connection takes for each request, without sockets.

    python -m tests.benchmarks.connection_cost

Requests of one MNIST image are read and answered with 50 bytes, 64 or one in a read; the lower quartile of 300 reads.
With and without content-length, which gRPC clients do not send and h2load does. The last line is the null backend from a
read of the socket to the send of the answers, on a socket without a kernel. Another checkout is measured from its folder.
"""

import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.server.api.null import NullCalls
from bench.server.net.connection import GrpcConnection
from bench.server.net.listener import Front, Limits
from bench.server.net.loop import READ
from bench.server.net.unfinished import Unfinished
from bench.wire import frames
from bench.wire.http2_server import ServerConnection
from tests.benchmarks.arguments import parser

_MESSAGE = bytes([0, 0, 0, 12, 128]) + bytes(3200)
_FIELDS = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": b"/tensorflow.serving.PredictionService/Predict",
    b":authority": b"x",
    b"te": b"trailers",
    b"content-type": b"application/grpc",
}


def _block(fields: dict[bytes, bytes]) -> bytes:
    return b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields.items()
    )


def seconds_each(fields: dict[bytes, bytes], count: int) -> float:
    """Of a request, with so many in a read."""
    server = ServerConnection(take_bursts=True, most_streams=16_384)
    server.receive(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 30}))
    server.receive(frames.window_update(0, 1 << 30))
    server.take()
    taken = []
    for read in _reads(fields, count):
        began = time.thread_time()
        streams = [request.stream for request in server.receive(read)]
        streams += [each for burst in server.bursts for each in burst.streams]
        server.bursts.clear()
        for each in streams:
            server.respond(each, message=bytes(50))
        server.take()
        taken.append((time.thread_time() - began) / count)
        if len(streams) != count:
            raise RuntimeError(f"{len(streams)} of {count} requests were read")
    return float(np.percentile(taken, 25))


def _reads(fields: dict[bytes, bytes], count: int) -> Iterator[bytes]:
    block, stream = _block(fields), 1
    for _ in range(300):
        data = bytearray()
        for _ in range(count):
            data += frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
            data += frames.frame(frames.DATA, frames.END_STREAM, stream, _MESSAGE)
            stream += 2
        yield bytes(data)


class _Nothing:
    """A socket, its loop and its timers in one: what is to be read is put in, and what is sent is forgotten."""

    family = socket.AF_UNIX

    def __init__(self) -> None:
        self.arrived: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self

    def fileno(self) -> int:
        return 3

    def recv(self, _: int) -> bytes:
        return self.arrived.pop()

    def send(self, data: bytes) -> int:
        return len(data)


def seconds_of_a_turn(fields: dict[bytes, bytes], count: int) -> float:
    """Of a request, with so many in a read, from the read to the send."""
    nothing: Any = _Nothing()
    front = Front(nothing, NullCalls(echo=False), Limits(9, 1 << 28), None)
    http = ServerConnection(take_bursts=True, most_streams=16_384)
    connection = GrpcConnection(
        nothing, nothing, front, http, None, most_arriving=1 << 28, unfinished=Unfinished()
    )
    opening = frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 30})
    taken = []
    for read in (opening + frames.window_update(0, 1 << 30), *_reads(fields, count)):
        nothing.arrived.append(read)
        began = time.thread_time()
        connection._on_event(READ)
        front.flush()
        taken.append((time.thread_time() - began) / count)
    return float(np.percentile(taken, 25))


def main() -> None:
    """Print a table."""
    for name, fields in (("plain", {}), ("content-length", {b"content-length": b"3205"})):
        each = [seconds_each(_FIELDS | fields, count) * 1e6 for count in (64, 1)]
        print(f"{name:17} {each[0]:6.2f} us of 64 in a read {each[1]:6.2f} us alone")
    each = [seconds_of_a_turn(_FIELDS, count) * 1e6 for count in (64, 1)]
    print(f"{'from read to send':17} {each[0]:6.2f} us of 64 in a read {each[1]:6.2f} us alone")


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
