"""Ask a Predict server as fast as one connection allows and check every answer.

Run by tests/benchmarks/server.py in a process of its own: python -m tests.benchmarks.asking '{"address": ...}'
prints one JSON object. It is not Locust: it exists to show what the server can do, with the least client around it.
"""

import gc
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import mnist
from bench.load.checking.checker import Checker
from bench.load.checking.references import equal
from bench.load.engine.encoding import encoded
from bench.payload import Pool, array_of
from bench.protocol.registry import api_named
from bench.wire import messages
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.http2_client import ClientConnection
from tests.benchmarks.arguments import parser

OUTPUT = "scores"
CHECK_AT_ONCE = 512
TOLERANCE = 1e-5
"""Absolute, and relative: batches of other sizes add up in another order."""


@dataclass(frozen=True)
class Ask:
    """What is asked, how, and for how long."""

    address: str
    references: str | None = None
    """An .npz with the right scores of version v as array `v % 2`; None: any answer is taken for right."""
    model: str = "mnist"
    version: int | None = None
    protocol: str = "tfs"
    batch: int = 1
    in_flight: int | None = None
    """Closed loop: so many calls at any time."""
    rate: float | None = None
    """Open loop: Poisson arrivals, so many a second, whatever the server does."""
    seconds: float = 3.0
    requests: int | None = None
    """End after so many instead."""


@dataclass
class Seen:
    """What has come back."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    versions: list[int] = field(default_factory=list)
    """In the order in which they were first seen."""
    answered: list[tuple[int, float, int]] = field(default_factory=list)
    """(number, instant, version) of every right-looking answer."""
    latencies: list[float] = field(default_factory=list)


class Right:
    """Takes the place of `bench.load.checking.references.References` where the right answers are known beforehand."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        """values: [messages, batch, ...]"""
        self._values = values

    def same(
        self, _version: int | None, messages: np.ndarray[Any, Any], values: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """[answers, batch]: whether all values of the example are the right ones."""
        expected = self._values[messages]
        if expected.shape != values.shape:
            return np.zeros(values.shape[:2], np.bool_)
        return equal(values, expected, TOLERANCE)

    def settled(
        self, _version: int | None, messages: np.ndarray[Any, Any], _values: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """[answers]: what `same` says holds for good, so that an equal reply need not be read again."""
        return np.ones(len(messages), np.bool_)


def pool_of(ask: Ask) -> Pool:
    digits = mnist.load("test")
    pool = Pool.mnist(digits.images, digits.labels, batch=ask.batch, model=ask.model, version=ask.version)
    return encoded(pool, api_named(ask.protocol))


class Driver:
    """One connection, and the checks of its answers."""

    def __init__(self, ask: Ask) -> None:
        host, port = ask.address.rsplit(":", 1)
        self.ask = ask
        self.pool = pool_of(ask)
        self.messages = self.pool.encoded or ()
        """As they are sent."""
        self.sock = socket.create_connection((host, int(port)), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.http = ClientConnection(ask.address)
        self.head = RequestHead(self.pool.method)
        self.started: list[float] = []
        """By number of the call: when it was sent or, in an open loop, due. The n-th call is on stream 2n + 1."""
        self.seen = Seen()
        self._unchecked: list[tuple[int, bytes, float]] = []
        self._checkers: dict[int, Checker] = {}
        self._references = None if ask.references is None else np.load(ask.references)

    def start(self, due: float) -> None:
        number = len(self.started)
        self.started.append(due)
        self.http.request(Exchange(self.head, self.messages[number % len(self.messages)]))

    def send(self) -> None:
        self.http.take_ends()
        self.sock.sendall(self.http.take())

    def receive(self, data: bytes) -> int:
        """How many calls have ended with this."""
        if not data:
            raise SystemExit("the server closed the connection")
        done = self.http.receive(data)
        now, started, seen = time.perf_counter(), self.started, self.seen
        for exchange in done:
            number = exchange.stream >> 1
            seen.latencies.append(now - started[number])
            seen.statuses[exchange.status] += 1
            if exchange.status == 0:
                self._unchecked.append((number, exchange.message, now))
        # in an open loop a pause of this process would be a latency of the server's: checked at the end
        if len(self._unchecked) >= CHECK_AT_ONCE and self.ask.rate is None:
            self.check()
        return len(done)

    def check(self) -> None:
        """Check that each answer belongs to its own request, by the version that it names."""
        if not self._unchecked:
            return
        numbers = [number % len(self.pool.messages) for number, _, _ in self._unchecked]
        replies = [reply for _, reply, _ in self._unchecked]
        checked = self._checker(0).check(replies, numbers)
        for version in np.unique(checked.version).tolist():
            if version not in self.seen.versions:
                self.seen.versions.append(version)
            rows = np.flatnonzero(checked.version == version)
            if self._references is not None:
                part = self._checker(version).check([replies[r] for r in rows], [numbers[r] for r in rows])
                self.seen.wrong += int(part.mismatched.sum())
            else:
                self.seen.wrong += int(checked.mismatched[rows].sum())
        self.seen.answered += [
            (number, now, version)
            for (number, _, now), version in zip(self._unchecked, checked.version.tolist(), strict=True)
        ]
        self._unchecked.clear()

    def outdated(self) -> int:
        """Answers by a version although a newer one had answered before the request was sent."""
        numbers, instants, versions = (np.array(part) for part in zip(*self.seen.answered, strict=True))
        order = np.argsort(instants, kind="stable")
        newest = np.maximum.accumulate(versions[order])
        sent = np.array(self.started)[numbers]
        before = np.searchsorted(instants[order], sent)  # answers that had come when it was sent
        known = np.concatenate([[0], newest])[before]
        return int((versions < known).sum())

    def _checker(self, version: int) -> Checker:
        key = version and 1 + version % 2
        if key not in self._checkers:
            right = None
            if version and self._references is not None:
                right = Right(self._references[str(version % 2)])
            # what a Checker needs of References is `same`
            self._checkers[key] = Checker(
                self.pool, OUTPUT, None, references=right, protocol=self.ask.protocol
            )
        return self._checkers[key]


def closed_loop(driver: Driver) -> None:
    """Each answer is followed by the next question."""
    ask, until = driver.ask, time.perf_counter() + driver.ask.seconds
    now = time.perf_counter()
    assert ask.in_flight is not None
    for _ in range(ask.in_flight):
        driver.start(now)
    driver.send()
    open_calls = ask.in_flight
    while open_calls:
        ended = driver.receive(driver.sock.recv(1 << 18))
        now = time.perf_counter()
        more = len(driver.started) < ask.requests if ask.requests else now < until
        if more:
            for _ in range(ended):
                driver.start(now)
        else:
            open_calls -= ended
        driver.send()


def open_loop(driver: Driver) -> None:
    """Questions leave when they are due; this process never sleeps, it has a processor of its own."""
    ask, rng = driver.ask, random.Random(1)
    assert ask.rate is not None
    driver.sock.setblocking(False)
    due = time.perf_counter()
    until, ended = due + ask.seconds, 0
    while due < until or ended < len(driver.started):
        now = time.perf_counter()
        while due <= now and due < until:
            driver.start(due)
            due += rng.expovariate(ask.rate)
        if driver.http.out:
            driver.sock.setblocking(True)
            driver.send()
            driver.sock.setblocking(False)
        try:
            ended += driver.receive(driver.sock.recv(1 << 18))
        except BlockingIOError:
            continue


def gather(address: str, path: Path, batch: int) -> None:
    """Write the scores of versions 1 and 2 to every message of the pool, asked one by one, as `references`."""
    found = {}
    for version in (1, 2):
        ask = Ask(address, version=version, batch=batch)
        driver = Driver(ask)
        replies = []
        for message in driver.pool.messages:
            exchange = Exchange(driver.head, message)
            driver.http.request(exchange)
            driver.send()
            while exchange.status is None:
                driver.http.receive(driver.sock.recv(1 << 18))
                driver.send()  # what the windows now permit
            assert exchange.status == 0, exchange.details
            replies.append(exchange.message or b"")
        driver.sock.close()
        found[str(version % 2)] = np.stack(
            [array_of(messages.PredictResponse.FromString(reply).outputs[OUTPUT]) for reply in replies]
        )
    np.savez(path, **found)


def main(ask: Ask) -> dict[str, Any]:
    driver = Driver(ask)
    gc.collect()
    gc.freeze()
    gc.disable()
    loop: Callable[[Driver], None] = closed_loop if ask.rate is None else open_loop
    cpu, start = time.process_time(), time.perf_counter()
    loop(driver)
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    driver.check()
    seen = driver.seen
    points = np.percentile(seen.latencies, [50, 99, 99.9, 100], method="inverted_cdf").tolist()
    return {
        "requests": len(seen.latencies),
        "seconds": seconds,
        "cpu": cpu,
        "errors": {str(status): count for status, count in seen.statuses.items() if status},
        "wrong": seen.wrong,
        "versions": seen.versions,
        "outdated": driver.outdated(),
        "latency": dict(zip(("p50", "p99", "p999", "max"), points, strict=True)),
    }


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("ask", type=json.loads, help="the fields of `Ask` as JSON")
    print(json.dumps(main(Ask(**command.parse_args().ask))))
