"""Measure the processor time that a server's HTTP/2 connection takes for each request, without sockets.

    python -m tests.benchmarks.connection_cost

Requests of one MNIST image are read and answered with 50 bytes, 64 or one in a read; the lower quartile of 300 reads.
With and without content-length, which gRPC clients do not send and h2load does. Another checkout is measured from its folder.
"""

import time

import numpy as np

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
    block, stream, taken = _block(fields), 1, []
    for _ in range(300):
        data = bytearray()
        for _ in range(count):
            data += frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
            data += frames.frame(frames.DATA, frames.END_STREAM, stream, _MESSAGE)
            stream += 2
        read = bytes(data)
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


def main() -> None:
    """Print a table."""
    for name, fields in (("plain", {}), ("content-length", {b"content-length": b"3205"})):
        each = [seconds_each(_FIELDS | fields, count) * 1e6 for count in (64, 1)]
        print(f"{name:15} {each[0]:6.2f} us of 64 in a read {each[1]:6.2f} us alone")


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
