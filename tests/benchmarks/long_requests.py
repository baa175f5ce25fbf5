"""Measure what a server's connection takes to read requests with long messages, without sockets.

    python -m tests.benchmarks.long_requests

Requests of 32, 256 and 512 MNIST images come in reads as a socket gives them; each read is one copy more, which stands for
the kernel's. Microseconds of a request, the best of several passes. Another checkout is measured from its folder.
"""

import time
from typing import Any

from bench.server.net.allocation import keep_freed_memory
from bench.wire import frames
from bench.wire.http2_server import ServerConnection
from tests.benchmarks.arguments import parser
from tests.benchmarks.connection_cost import _FIELDS, _block

READ_BYTES, PASS_BYTES, PASSES = 258_048, 64_000_000, 5
SIZES = {32: 100_400, 256: 802_900, 512: 1_605_700}
"""Bytes of a message of so many images."""


def sent(first: int, size: int) -> tuple[bytes, int]:
    """What a client sends in one pass, beginning with this stream, and how many requests it has."""
    parts, count = [], PASS_BYTES // size
    for number in range(count):
        stream, body = first + 2 * number, b"\0" + size.to_bytes(4, "big") + bytes([number % 256]) * size
        parts.append(frames.frame(frames.HEADERS, 4, stream, _block(_FIELDS)))
        for at in range(0, len(body), 1 << 20):
            last = frames.END_STREAM * (at + (1 << 20) >= len(body))
            parts.append(frames.frame(frames.DATA, last, stream, body[at : at + (1 << 20)]))
    return b"".join(parts), count


def seconds_each(server: Any, data: bytes, count: int) -> float:
    """Of a request, reading as the server's connection does."""
    at, answered, taken = 0, 0, 0.0
    while at < len(data):
        begin = time.thread_time()
        read = data[at : at + READ_BYTES]
        for request in server.receive(read):
            server.respond(request.stream, message=bytes(50))
            answered += 1
        server.take()
        taken += time.thread_time() - begin
        at += len(read)
    if answered != count:
        raise SystemExit(f"{answered} of {count} requests were read")
    return taken / count


def main() -> None:
    keep_freed_memory()  # as the server does
    for images, size in SIZES.items():
        server = ServerConnection(take_bursts=True, most_streams=16_384)
        server.receive(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 30}))
        best, first = float("inf"), 1
        for _ in range(PASSES):
            data, count = sent(first, size)
            first += 2 * count
            best = min(best, seconds_each(server, data, count))
        print(f"{images} images, {size:,} bytes: {best * 1e6:.1f} us")


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
