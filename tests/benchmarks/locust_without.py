"""The scenarios of MNIST without a part of the recording; a locustfile for `recording_cost`.

WITHOUT is `nothing`, `checking` (answers are recorded unseen), `checking in turns` (in every other second of the run,
beginning with the second one) or `recording` (answers are thrown away as they come). Writes {requests, cpu, seconds} of
the load process as JSON to the file that METER names.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from gevent import sleep, spawn, spawn_later
from locust import events

from bench.load import session
from bench.load.record import Recorder
from bench.wire.client import Reply
from scenarios.mnist import Mnist
from scenarios.mnist_open import MnistOpen

__all__ = ["Mnist", "MnistOpen"]

WITHOUT = os.environ["WITHOUT"]
WARM_SECONDS = 1.5
_counted: dict[str, float] = {}


def _add_unseen(self: Recorder, due: float | None, index: int, reply: Reply) -> None:
    """`Recorder.add` without a look at the answer."""
    _, _, _, sent, done = reply
    if sent is None:
        sent = done
        self.unsent += 1
    note = self._note
    note(sent if due is None else due)
    note(sent)
    note(done)
    note(index)


_add = Recorder.add
_seen = True


def _add_in_turns(self: Recorder, due: float | None, index: int, reply: Reply) -> None:
    (_add if _seen else _add_unseen)(self, due, index, reply)


def _take_turns(load: session.Session) -> None:
    """Look at answers in even seconds of the run only."""
    global _seen  # a function that is called for every answer reads it
    load.wait_ready()
    while True:
        now = time.perf_counter() - load.run_time(0.0)
        _seen = int(now) % 2 == 0
        sleep(1 - now % 1)


if WITHOUT == "checking in turns":
    Recorder.add = _add_in_turns  # type: ignore[method-assign]  # what is measured is what differs
elif WITHOUT == "checking":
    Recorder.add = _add_unseen  # type: ignore[method-assign]  # what is measured is its absence
elif WITHOUT == "recording":
    Recorder.add = lambda self, due, index, reply: None  # type: ignore[method-assign]  # as above


@events.init.add_listener
def _on_init(environment: Any, **_: Any) -> None:
    # before the project's own listener of this event, which ends the session
    environment.events.test_start.add_listener(lambda **_: _begin_later(environment))
    environment.events.test_stopping._handlers.insert(0, lambda **_: _end(environment))


def _begin_later(environment: Any) -> None:
    def begin() -> None:
        _counted.update(
            sent=session.current(environment).sent, cpu=time.process_time(), clock=time.perf_counter()
        )

    spawn_later(WARM_SECONDS, begin)
    if WITHOUT == "checking in turns":
        spawn(_take_turns, session.current(environment))


def _end(environment: Any) -> None:
    measured = {
        "requests": session.current(environment).sent - _counted["sent"],
        "cpu": time.process_time() - _counted["cpu"],
        "seconds": time.perf_counter() - _counted["clock"],
    }
    Path(os.environ["METER"]).write_text(json.dumps(measured))
