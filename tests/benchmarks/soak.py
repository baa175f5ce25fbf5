"""Check that each of millions of calls ends once, with its own answer, while the server restarts under it.

Run: python -m tests.benchmarks.soak --calls 10000000

Each request carries its number, which the server echoes: answered late, in any order, with errors, refused, or not at
all, as the number decides. Most leave in rows. Deadlines are random. The server is killed, or asked to leave, every few seconds. At the
end no call may be lost, duplicated or have another's answer, and memory must not have grown: exit code 1 otherwise.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import gevent
import gevent.event

from bench.wire import frames
from bench.wire.client import Channel
from bench.wire.reply import Reply
from bench.wire.rows import Answer, Row
from bench.wire.unary import DEADLINE_EXCEEDED, Request
from tests.wire.servers import Peer, Server

ROOT = Path(__file__).parents[2]
METHOD = "/t.Test/Echo"
LIMITS = (0.005, 0.02, 0.1, 0.5, 2.0, None)  # seconds; each is varied by a random factor
GROWTH = 5.0  # MB that memory may grow after the first tenth of the calls
LARGE = 92_400  # bytes of a large answer, at least


def fate(number: int) -> str:
    """What becomes of a request is decided by its number, so that both sides know it."""
    for divisor, rest, name in (
        (997, 1, "ignored"),
        (499, 2, "late"),
        (503, 3, "error"),
        (4999, 4, "refused"),
        (257, 5, "large"),
    ):
        if number % divisor == rest:
            return name
    return "echoed"


def enlarged(message: bytes) -> bytes:
    return message * max(2, LARGE // len(message))


def answer(peer: Peer, request: Request) -> None:
    number, connection = int.from_bytes(request.message[:8], "big"), peer.connection
    match fate(number):
        case "ignored":
            pass  # its deadline, or the end of the connection, ends it
        case "late":
            gevent.spawn_later((number % 23) / 1000, late, peer, request)
        case "error":
            connection.respond(request.stream, number % 16 + 1, f"number {number}")
        case "refused":
            connection._streams.pop(request.stream, None)
            connection.out.append(frames.rst_stream(request.stream, frames.REFUSED_STREAM))
        case "large":
            connection.respond(request.stream, message=enlarged(request.message))
        case _:
            connection.respond(request.stream, message=request.message)


def late(peer: Peer, request: Request) -> None:
    peer.connection.respond(request.stream, message=request.message)
    with contextlib.suppress(OSError):  # the client's connection may be gone
        peer.flush()


def serve(port: int) -> None:
    """Until SIGTERM, which lets the connections finish what they have."""
    server = Server(answer, port=port)
    leave = gevent.event.Event()
    gevent.signal_handler(signal.SIGTERM, leave.set)
    print(server.port, flush=True)
    leave.wait()
    server.stop_listening()
    for peer in list(server.peers):
        peer.connection.shut_down()
        peer.flush()
    gevent.sleep(0.1)


class Restarts:
    """The server, which does not stay."""

    def __init__(self, rng: random.Random) -> None:
        self.count = 0
        self._rng = rng
        self._process, self.port = self._start(0)

    def _start(self, port: int) -> tuple["subprocess.Popen[str]", int]:
        command = [sys.executable, "-m", "tests.benchmarks.soak", "--serve", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        gevent.get_hub().threadpool.apply(process.stdout.readline) if port else None
        return process, port or int(process.stdout.readline())

    def run(self) -> None:
        while True:
            gevent.sleep(self._rng.uniform(2, 5))
            self.stop(signal.SIGKILL if self._rng.random() < 0.7 else signal.SIGTERM)
            gevent.sleep(self._rng.uniform(0, 0.3))
            self._process, _ = self._start(self.port)
            self.count += 1

    def stop(self, by: signal.Signals = signal.SIGKILL) -> None:
        self._process.send_signal(by)
        gevent.get_hub().threadpool.apply(self._process.wait)


class Soak:
    """Counts what becomes of each call."""

    def __init__(self, channel: Channel, calls: int, in_flight: int, rng: random.Random, *, pad: int) -> None:
        self.channel = channel
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.started = 0
        self.unsent = 0
        """Calls that ended before their last byte had left, as while there was no connection; they do not count."""
        self.unsent_late = 0
        """Those of them whose deadline passed: their bytes may have left behind it."""
        self.in_rows = 0
        """Calls of rows that were answered together with others."""
        self._paused = 0
        self._calls = calls
        self._pad = bytes(pad)
        self._rng = rng
        self._open: set[int] = set()
        self._in_flight = in_flight
        self._room = gevent.event.Event()

    def _ended(self, number: int, reply: Reply) -> None:
        if number in self._open:
            self._open.remove(number)
        else:
            self.wrong.append(f"call {number} ended twice")
        self.statuses[reply.status] += 1
        if reply.sent is None:
            self.unsent += 1
            self.unsent_late += reply.status == DEADLINE_EXCEEDED
        message = number.to_bytes(8, "big") + self._pad
        if fate(number) == "large":
            message = enlarged(message)
        if reply.status == 0 and reply.message != message:
            self.wrong.append(f"call {number} got another's answer: {reply.message[:8]!r}")
        if reply.details.startswith("number ") and reply.details != f"number {number}":
            self.wrong.append(f"call {number} got another's error: {reply.details}")
        self._room.set()

    def run(self) -> None:
        rng = self._rng
        while self.started - self.unsent < self._calls:
            if self.unsent > self._paused:  # the server is down
                self._paused = self.unsent
                gevent.sleep(0.01)
            while len(self._open) < self._in_flight and self.started - self.unsent < self._calls:
                limit = LIMITS[int(rng.random() * len(LIMITS))]
                if rng.random() < 0.9:
                    self._start(limit)
                else:
                    left = self._calls - (self.started - self.unsent)
                    self._start_row(limit, min(rng.randint(1, 40), left))
            self._room.clear()
            self._room.wait()

    def _next(self, limit: float | None) -> tuple[int, float | None]:
        """The number of the next call, and its limit, which one that is ignored has to have."""
        self.started = number = self.started + 1
        self._open.add(number)
        return number, 1.0 if limit is None and fate(number) == "ignored" else limit

    def _start(self, limit: float | None) -> None:
        if limit is not None:
            limit *= 0.5 + self._rng.random()
        number, limit = self._next(limit)
        content = number.to_bytes(8, "big") + self._pad
        self.channel.start(METHOD, content, partial(self._ended, number), limit)

    def _start_row(self, limit: float | None, count: int) -> None:
        """As many calls at once."""
        numbers = []
        for _ in range(count):
            number, limit = self._next(limit)
            numbers.append(number)
        contents = [number.to_bytes(8, "big") + self._pad for number in numbers]
        self.channel.start_row(Row(self.channel.head(METHOD, limit), contents, self))

    def answered(self, answers: Sequence[Answer], done: float) -> None:
        """Of rows, whose messages tell which calls they are of."""
        for row, stream, message in answers:
            content = row.messages[row.position(stream)]
            self.in_rows += 1
            self._ended(int.from_bytes(content[:8], "big"), Reply(0, "", message, row.sent, done))

    def ended(self, row: Row, position: int, reply: Reply) -> None:
        """A call of a row, by itself."""
        self._ended(int.from_bytes(row.messages[position][:8], "big"), reply)

    def lost(self) -> int:
        """Calls that have not ended although the longest deadline is over."""
        with gevent.Timeout(20, False):
            while self._open:
                gevent.sleep(0.01)
        return len(self._open)


def memory() -> float:
    """Resident megabytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--in-flight", type=int, default=300)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pad", type=int, default=300, help="bytes of each request beside its number")
    parser.add_argument(
        "--steady", action="store_true", help="no restarts: a plain run for the memory figure"
    )
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(asked.serve)
        return
    rng = random.Random(asked.seed)
    restarts = Restarts(rng)
    channel = Channel(f"127.0.0.1:{restarts.port}", connections=asked.connections)
    channel.connect(10)
    soak = Soak(channel, asked.calls, asked.in_flight, random.Random(asked.seed), pad=asked.pad)
    chaos = None if asked.steady else gevent.spawn(restarts.run)
    begin, cpu = time.perf_counter(), time.process_time()
    load = gevent.spawn(soak.run)
    first: float | None = None
    while not load.ready():
        load.join(timeout=10)
        if first is None and soak.started >= asked.calls / 10:
            first = memory()
        print(
            f"{soak.started:>12,} calls, {restarts.count} restarts, {memory():.1f} MB, {time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    load.get()
    if chaos is not None:
        chaos.kill()
    lost, grown = soak.lost(), memory() - (first or memory())
    cpu = time.process_time() - cpu
    channel.close()
    restarts.stop()
    print("statuses:", ", ".join(f"{status}: {count:,}" for status, count in sorted(soak.statuses.items())))
    print(
        f"{soak.started - soak.unsent:,} calls and {soak.unsent:,} refused while the server was down: {lost} lost, {len(soak.wrong)} duplicated or misattributed, {restarts.count} restarts, {soak.in_rows:,} answered in rows, memory {grown:+.1f} MB, {cpu / soak.started * 1e6:.1f} us CPU each"
    )
    for text in soak.wrong[:10]:
        print(text)
    if lost or soak.wrong or sum(soak.statuses.values()) != soak.started or grown > GROWTH:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
