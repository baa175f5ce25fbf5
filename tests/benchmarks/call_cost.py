"""What does a recorded call cost the client without the kernel? Run: python -m tests.benchmarks.call_cost [OTHER]

CALLS calls at once are started, leave for a socket that takes everything, are answered by one read, and recorded.
`calls` are single ones, as of users with tasks of their own; `rows` are those of users without. Prints microseconds of
a call in the quickest of many such turns, which is what other programs on the machine disturb least. OTHER is another
checkout of the project, measured in turn with this one: the ratios this / other of all pairs are shown.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from gevent.event import Event

from bench.load.checking.checker import Checker
from bench.load.checking.references import References
from bench.load.engine.recorder import Recorder
from bench.load.engine.turns import Turns
from bench.payload import Pool, tensor_of
from bench.wire import frames
from bench.wire.client import Channel
from bench.wire.header_blocks import literal
from bench.wire.http2_client import ClientConnection
from bench.wire.link import Link
from bench.wire.messages import PredictResponse

ROOT = Path(__file__).parents[2]
CALLS = 64
DEADLINE = 10.0
MODES = ("calls", "rows")
OPENING = b"\x88" + literal(b"content-type", b"application/grpc")
OK = literal(b"grpc-status", b"0")


class Sink:
    """A socket that takes whatever is sent, and gives what it was told to."""

    def __init__(self) -> None:
        self._pair = socket.socketpair()
        self.incoming = b""

    def fileno(self) -> int:
        return self._pair[0].fileno()

    def send(self, data: bytes) -> int:
        return len(data)

    def sendmsg(self, pieces: list[bytes]) -> int:
        return sum(map(len, pieces))

    def recv(self, _: int) -> bytes:
        data, self.incoming = self.incoming, b""
        return data

    def close(self) -> None:
        """Nothing is left open that the end of the process does not close."""


class Client:
    """A channel with one connection to nowhere, and what records its calls."""

    def __init__(self) -> None:
        pool = Pool.of({"x": np.zeros((8, 1), np.float32)}, None, output="y", model="m", size=8)
        response = PredictResponse()
        response.model_spec.name = "m"
        response.model_spec.version.value = 1
        response.outputs["y"].CopyFrom(tensor_of(np.zeros((1, 10), np.float32)))
        content = response.SerializeToString()
        self._answer = bytes(1) + len(content).to_bytes(4, "big") + content
        self.recorder = Recorder("Predict", pool, Checker(pool, "y", None, references=References(len(pool))))
        self.channel = Channel("127.0.0.1:1")
        self._sink = Sink()
        self.connection = ClientConnection("nowhere:1")
        self.link = Link(self._sink, None, self.connection, self.channel._deliver, self.channel._changed)
        self.link.open()
        self.channel._links.add(self.link)
        windows = {frames.INITIAL_WINDOW_SIZE: 2**31 - 1, frames.MAX_FRAME_SIZE: 2**24 - 1}
        self._read(frames.settings(windows) + frames.window_update(0, 2**30))

    def _read(self, data: bytes) -> None:
        self._sink.incoming = data
        self.link._on_readable()

    def answers(self, streams: Any) -> bytes:
        return b"".join(
            frames.frame(frames.HEADERS, 4, stream, OPENING)
            + frames.frame(frames.DATA, 0, stream, self._answer)
            + frames.frame(frames.HEADERS, 5, stream, OK)
            for stream in streams
        )

    def turn_of_calls(self) -> float:
        """Seconds of a turn."""
        first, recorder = self.connection._next, self.recorder
        data = self.answers(range(first, first + 2 * CALLS, 2))
        numbers = [number % len(recorder.messages) for number in range(CALLS)]
        begin = time.perf_counter()
        for number in numbers:
            self.channel.start(
                recorder.method, recorder.messages[number], partial(recorder.add, None, number), DEADLINE
            )
        self.link._flush()
        self._read(data)
        return time.perf_counter() - begin

    def turn_of_rows(self) -> float:
        """The same: whoever reads the answers sends on."""
        data = self.answers(list(self.connection.rows))
        begin = time.perf_counter()
        self._read(data)
        return time.perf_counter() - begin

    def send_on(self) -> None:
        """Let users send in rows from now on."""
        turns, stopped = Turns(self.channel, self.recorder, DEADLINE, lambda: False), Event()
        for user in range(CALLS):
            gevent.spawn(turns.run, self.recorder.pool.sequence(user), stopped)
        with gevent.Timeout(10):
            while len(self.connection.rows) < CALLS:
                gevent.sleep(0.01)
        self.link._flush()


def least(mode: str, turns: int) -> float:
    """Microseconds of a call in the quickest turn."""
    client = Client()
    for _ in range(30):
        client.turn_of_calls()
    if mode == "rows":
        gevent.spawn(client.send_on).join()
    found = []
    for number in range(turns):
        client.connection._outflow.window = 2**30
        found.append(client.turn_of_rows() if mode == "rows" else client.turn_of_calls())
        if number % 50 == 0:
            client.recorder.take()
    return min(found) / CALLS * 1e6


def measured(root: Path, mode: str, turns: int) -> float:
    """The same by a checkout's code, in a process of its own on one core."""
    command = [sys.executable, "-P", __file__, "--mode", mode, "--turns", str(turns)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", nargs="?", type=Path, metavar="OTHER", help="the root of another checkout")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--turns", type=int, default=1500)
    parser.add_argument("--mode", choices=MODES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.mode is not None:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(least(given.mode, given.turns), flush=True)
        os._exit(0)  # users and the keeper of the connection go on for ever
    for mode in MODES:
        found: dict[Path, list[float]] = {ROOT: [], **({given.other: []} if given.other else {})}
        for number in range(given.pairs):
            for root in list(found)[:: 1 if number % 2 else -1]:
                found[root].append(measured(root, mode, given.turns))
        told = ", ".join(f"{root} {statistics.median(each):.2f} us" for root, each in found.items())
        if given.other:
            ratios = sorted(one / two for one, two in zip(*found.values(), strict=True))
            told += f"; ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        print(f"{mode}: {told}", flush=True)


if __name__ == "__main__":
    main()
