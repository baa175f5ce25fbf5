"""An engine of an open loop with all that it needs: a server without a network, and notes of what is recorded."""

import time
from collections.abc import Callable
from typing import Any

import gevent
import numpy as np

from bench.load.engine.arrivals import WHOLE, Arrivals, Division, Lane, Part
from bench.schedule import Open
from bench.wire.reply import Reply

SEED = 5


class Server:
    """Answers at once what has been flushed, or keeps the calls until it is told to answer them."""

    def __init__(self) -> None:
        self.started: list[tuple[bytes, Callable[[Reply], Any]]] = []
        self.messages: list[bytes] = []
        self.waiting: list[Callable[[Reply], Any]] = []
        self.answering = True

    def start(
        self, method: str, message: bytes, on_reply: Callable[[Reply], Any], timeout: float | None
    ) -> None:
        self.started.append((message, on_reply))

    def flush(self) -> None:
        for message, on_reply in self.started:
            self.messages.append(message)
            self.waiting.append(on_reply)
        self.started.clear()
        if self.answering:
            self.answer()

    def answer(self) -> None:
        waiting, self.waiting = self.waiting, []
        now = time.perf_counter()
        for on_reply in waiting:
            on_reply(Reply(0, "", b"", now, now))


class Notes:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.added: list[tuple[float, int]] = []
        self.unsent: list[tuple[float, int]] = []
        self.reasons: set[str] = set()

    def lane(self, messages: list[bytes]) -> Lane:
        return Lane(
            messages,
            lambda due, index, _reply: self.added.append((due, index)),
            self.add_unsent,
        )

    def add_unsent(self, due: float, index: int, reason: str) -> None:
        self.unsent.append((due, index))
        self.reasons.add(reason)


MESSAGES = [str(number).encode() for number in range(7)]


class Load:
    """An engine with all that it needs."""

    def __init__(self, schedule: Open, *, cap: int = 10_000, lanes: int = 1, part: Part = WHOLE) -> None:
        self.server, self.notes = Server(), [Notes() for _ in range(lanes)]
        self.engine = Arrivals(
            self.server,
            "/method",
            [notes.lane(MESSAGES) for notes in self.notes],
            schedule,
            seed=SEED,
            deadline=None,
            cap=cap,
            part=part,
        )

    def begin(self, *divisions: Division, ago: float = 0.0) -> float:
        for division in divisions or (Division(0.0, 1, 0, 1),):
            self.engine.divide(division)
        self.origin = time.perf_counter() - ago
        self.engine.begin(self.origin)
        return self.origin

    def wait(self, recorded: int) -> None:
        with gevent.Timeout(60):
            while sum(len(notes.added) + len(notes.unsent) for notes in self.notes) < recorded:
                gevent.sleep(0.001)

    @property
    def due(self) -> Any:
        """All recorded due instants, in seconds since the start of the schedule."""
        return np.sort([due for notes in self.notes for due, _ in notes.added + notes.unsent]) - self.origin
