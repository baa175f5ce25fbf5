"""The scenarios of MNIST, recorded in some seconds only or in part; a locustfile for `recording_cost`.

In each three seconds of a run, in random order: with everything; `checking` left out, where answers are recorded without a look at them;
`recording` left out, where they are thrown away as they come. All that a second has recorded is flushed at its end. Each
second's kind, number in the run, requests, and CPU seconds of the load process are written as JSON to the file that
METER names.
"""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

from gevent import sleep, spawn
from locust import events

from bench.load.engine.recorder import Recorder
from bench.load.locust_glue import session
from bench.wire.reply import Reply
from scenarios.mnist import Mnist
from scenarios.mnist_open import MnistOpen

__all__ = ["Mnist", "MnistOpen"]

KINDS = ("nothing", "checking", "recording")
_turns: list[tuple[str, int, int, float]] = []


def _add_unseen(self: Recorder, due: float | None, index: int, reply: Reply) -> None:
    """`Recorder.add` without a look at the answer."""
    _, _, _, sent, done, _ = reply
    if sent is None:
        sent = done
        self.unsent += 1
    note = self._note
    note(sent if due is None else due)
    note(sent)
    note(done)
    note(index)


def _throw_away(self: Recorder, due: float | None, index: int, reply: Reply) -> None:
    pass


ADDS = {"nothing": Recorder.add, "checking": _add_unseen, "recording": _throw_away}
_add = Recorder.add


def _add_in_turns(self: Recorder, due: float | None, index: int, reply: Reply) -> None:
    _add(self, due, index, reply)


Recorder.add = _add_in_turns  # type: ignore[method-assign]  # what is measured is the difference between the turns


def _take_turns(load: session.Session) -> None:
    global _add  # a function that is called for every answer reads it
    load.enter()
    sleep(1 - (time.perf_counter() - load.run_time(0.0)) % 1)
    while not load.draining:
        second = round(time.perf_counter() - load.run_time(0.0))
        cycle, turn = divmod(second, len(KINDS))
        # by chance, since some of a second's work is done in the next
        kind = random.Random(cycle).sample(KINDS, len(KINDS))[turn]
        _add = ADDS[kind]
        sent, cpu = load.sent, time.process_time()
        sleep(max(0.0, load.run_time(second + 0.99) - time.perf_counter()))
        load.flush()
        if not load.draining:
            _turns.append((kind, second, load.sent - sent, time.process_time() - cpu))
        sleep(max(0.0, load.run_time(second + 1) - time.perf_counter()))


@events.init.add_listener
def _on_init(environment: Any, **_: Any) -> None:
    # before the project's own listener of this event, which ends the session
    environment.events.test_start.add_listener(
        lambda **_: spawn(lambda: _take_turns(session.current(environment)))
    )
    environment.events.test_stopping._handlers.insert(
        0, lambda **_: Path(os.environ["METER"]).write_text(json.dumps(_turns))
    )
