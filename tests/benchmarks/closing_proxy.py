"""A proxy that ends its clients' connections at random: python -m tests.benchmarks.closing_proxy SERVER_PORT SEED MANNER...

It passes HTTP/2 frames on to a server and draws for each connection after how many requests it ends, and in which
manner: `goaway` (what comes behind its last stream is dropped; it waits until the client leaves), `goaway-end` (the
same, and it hangs up at once), `end` (without a word), `reset` (TCP RST), `cut` (in the middle of a frame). It prints
its port, and on SIGTERM what it has seen, as JSON: whole requests, those passed on, numbers passed on more than once,
and ends by manner. A request's message starts with its number, as in `tests.benchmarks.soak`.
"""

import contextlib
import json
import random
import signal
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
from gevent import socket as cooperative
from gevent.lock import RLock
from gevent.server import StreamServer

from bench.wire import frames
from tests.benchmarks.arguments import parser

MEAN_LIFE = 150
"""Requests after which a connection ends, on average."""
MANNERS = ("goaway", "goaway-end", "end", "reset", "cut")
Frame = tuple[int, int, int, bytes]


class Seen:
    """What the proxy has seen on all connections."""

    def __init__(self) -> None:
        self.whole = 0
        self.passed: Counter[int] = Counter()
        self.ends: Counter[str] = Counter()

    def as_json(self) -> str:
        repeated = [number for number, count in self.passed.items() if count > 1]
        passed = self.passed.total()
        return json.dumps({"whole": self.whole, "passed": passed, "repeated": repeated, "ends": self.ends})


def whole_frames(sock: Any, skip: int) -> Iterator[list[Frame]]:
    """The frames that each read completes, with their heads; the first `skip` bytes are a frame of their own."""
    held = b""
    while data := sock.recv(65_536):
        held += data
        found: list[Frame] = []
        if skip and len(held) >= skip:
            found.append((-1, 0, 0, held[:skip]))
            held, skip = held[skip:], 0
        at = 0
        while not skip and len(held) - at >= frames.HEAD_SIZE:
            word, flags, stream = frames.HEAD.unpack_from(held, at)
            end = at + frames.HEAD_SIZE + (word >> 8)
            if end > len(held):
                break
            found.append((word & 0xFF, flags, stream, held[at:end]))
            at = end
        held = held[at:]
        yield found


class Passage:
    """One client's connection and the one to the server."""

    def __init__(self, client: Any, port: int, rng: random.Random, manners: list[str], seen: Seen) -> None:
        self._client, self._seen = client, seen
        self._server = cooperative.create_connection(("127.0.0.1", port))
        self._life = max(1, round(rng.expovariate(1 / MEAN_LIFE)))
        self._manner = rng.choice(manners)
        self._last: int | None = None  # the stream behind which nothing is passed on
        self._highest = 0
        self._requests = 0
        self._sending = RLock()
        for sock in (client, self._server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        back = gevent.spawn(self._bring_back)
        with contextlib.suppress(OSError):
            for found in whole_frames(self._client, len(frames.PREFACE)):
                self._server.sendall(b"".join(raw for frame in found if (raw := self._passing(frame))))
                if self._requests >= self._life and self._last is None:
                    self._end()
        self._server.close()
        back.kill()

    def _passing(self, frame: Frame) -> bytes:
        kind, flags, stream, raw = frame
        passes = self._last is None or stream <= self._last
        if kind == frames.DATA and flags & frames.END_STREAM:
            self._seen.whole += 1
            self._requests += 1
            if passes:
                at = frames.HEAD_SIZE + 5
                self._seen.passed[int.from_bytes(raw[at : at + 8], "big")] += 1
                self._highest = max(self._highest, stream)
                if self._requests >= self._life and self._last is None:
                    self._last = self._highest  # those behind it in the same read are not passed on
                    self._end()
        return raw if passes else b""

    def _end(self) -> None:
        self._seen.ends[self._manner] += 1
        self._last = self._highest
        with self._sending:
            if self._manner.startswith("goaway"):
                self._client.sendall(frames.goaway(self._last, frames.NO_ERROR))
            if self._manner == "cut":
                self._client.sendall(b"\0\0\x40\0\0\0\0\0\1half")
            if self._manner == "reset":
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._client.close()
            elif self._manner != "goaway":
                self._client.shutdown(socket.SHUT_RDWR)

    def _bring_back(self) -> None:
        with contextlib.suppress(OSError):
            for found in whole_frames(self._server, 0):
                with self._sending:
                    self._client.sendall(b"".join(raw for *_, raw in found))


def main() -> None:
    command = parser(__doc__)
    command.add_argument("port", type=int, help="of the server")
    command.add_argument("seed", type=int)
    command.add_argument(
        "manners", nargs="*", metavar="MANNER", help=f"of {', '.join(MANNERS)} (default: all)"
    )
    given = command.parse_args()
    port, rng, manners = given.port, random.Random(given.seed), given.manners or list(MANNERS)
    seen, leave = Seen(), gevent.event.Event()

    def serve(client: Any, _: Any) -> None:
        with contextlib.suppress(OSError):
            Passage(client, port, rng, manners, seen).run()

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    gevent.signal_handler(signal.SIGTERM, leave.set)
    print(server.server_port, flush=True)
    leave.wait()
    print(seen.as_json(), flush=True)


if __name__ == "__main__":
    main()
