"""A worker's side of a distributed test."""

import logging
import os
import time
from functools import partial
from typing import Any

import gevent
from gevent.event import Event
from locust.runners import STATE_INIT

from bench import BenchError
from bench.load import reference_answers
from bench.load.engine.user_plan import Plan
from bench.load.locust_glue import hello, internals, link, observed, session
from bench.load.locust_glue.session import Session
from bench.load.observing.telemetry import Telemetry, Values
from bench.load.options import read_options
from bench.load.reference_answers import Answered
from bench.load.sources import make_pools
from bench.load.target import address_of
from bench.runs.chunk import Chunk, Pause

log = logging.getLogger("bench")

TARGET = "bench_target"
"""Among the parsed options, which Locust sends to its workers: the address that the master has looked at."""
CLOCK_ROUNDS = 5
"""Round trips of which the shortest gives the clock offset."""


class Worker:
    """A load process that gets its orders from a master and ships its records to it."""

    def __init__(self, environment: Any) -> None:
        self.environment, self.runner = environment, environment.runner
        self._best: tuple[float, float] | None = None
        self._rounds = 0
        self._answered: list[Answered] = []
        self._telemetry: Telemetry | None = None
        self._leaving = False
        self._silent = Event()
        """Set while no last words are being said."""
        self._silent.set()

    def listen(self) -> None:
        """Take part in Locust's events and in the messages above."""
        events = self.environment.events
        events.test_start.add_listener(self._on_test_start)
        events.test_stopping.add_listener(lambda **_: self._stop(wait=False))
        # fired in reverse order: our last words leave before Locust's own "quit", upon which the master may stop
        events.quitting.add_listener(lambda **_: self._stop())
        self.runner.register_message("bench-origin", self._on_origin)
        self.runner.register_message("bench-plan", self._on_plan)
        self.runner.register_message("bench-drain", lambda **_: self._stop(), concurrent=True)
        self.runner.register_message("bench-hurry", lambda **_: session.hurry(self.environment))
        self.runner.register_message("bench-refused", lambda msg, **_: self._on_refused(msg.data["reason"]))
        link.when_lost(self._on_lost)
        gevent.spawn(self._listen_for_heartbeats)
        if (
            self.runner.worker_state != STATE_INIT
        ):  # the test started while Locust was still making this worker
            self._on_test_start()

    def _listen_for_heartbeats(self) -> None:
        """Miss the master as Locust does, but by a clock that nobody can step: by its own, an hour's step is an hour's silence."""
        internals.never_miss_master()
        heard = Event()
        self.environment.events.heartbeat_received.add_listener(lambda **_: heard.set())
        heard.wait()  # the first
        while heard.wait(internals.MASTER_SECONDS):
            heard.clear()
        self._on_lost(f"no message from the master for {internals.MASTER_SECONDS} s: this load process ends")

    def _on_lost(self, reason: str) -> None:
        """The master is gone: nobody takes what is measured from now on."""
        if not internals.alive(self.runner):  # it ends already, as the master has asked for
            return
        self._end(reason)

    def _on_refused(self, reason: str) -> None:
        """Leave a test in which this process cannot take part. Called in a greenlet of Locust's, which ends with all others."""
        if not self._leaving:
            self._leaving = True
            gevent.spawn(self._end, reason)

    def _end(self, reason: str) -> None:
        log.error("%s", reason)
        self.environment.process_exit_code = 2
        load = session.peek(self.environment)
        if load is not None:
            load.abandoned = True
        self.runner.quit()

    def _on_test_start(self, **_: Any) -> None:
        session.expect(self.environment)
        master = getattr(self.environment.parsed_options, hello.MASTER, {})
        unlike = hello.unlike(hello.introduction(self.environment), master)
        if unlike is not None:
            self.runner.send_message("bench-refused", {"reason": unlike})
            self.runner.start_worker = lambda *_, **__: None  # Locust would start users, of whatever classes
            self._on_refused(unlike)
            return
        try:
            options = read_options(self.environment.parsed_options)
            parsed = self.environment.parsed_options
            address = address_of(
                getattr(parsed, TARGET, None) or self.environment.host or "", options.api.port
            )
            pools = make_pools(self.environment.user_classes, options, address)
            load = Session(self.environment, address, options, pools, self._ship)
        except BenchError as error:
            session.refuse(self.environment)
            self.runner.send_message("bench-refused", {"reason": str(error)})
            return
        self._best, self._rounds = None, 0
        load.on_users = self._tell_users
        load.orders.used_up = partial(self.runner.send_message, "bench-used-up", {})
        session.begin(self.environment, load)
        self._say_hello()

    def _say_hello(self) -> None:
        content = {
            "clock": time.perf_counter(),
            "round": self._rounds,
            "pid": os.getpid(),
            **hello.introduction(self.environment),
        }
        self.runner.send_message("bench-hello", content)

    def _on_origin(self, msg: Any, **_: Any) -> None:
        now = time.perf_counter()
        load = session.peek(self.environment)
        if load is None:
            return
        bound = (now - msg.data["echo"]) / 2
        offset = msg.data["echo"] + bound - msg.data["clock"]  # this clock minus the master's
        if self._best is None or bound < self._best[0]:
            self._best = (bound, offset)
        if msg.data["answered"] is not None:
            self._answered = reference_answers.received(msg.data["answered"])
        self._rounds += 1
        if self._rounds < CLOCK_ROUNDS:
            self._say_hello()
            return
        load.index, load.count = msg.data["index"], msg.data["count"]
        load.orders.number, load.orders.of = msg.data["index"], msg.data["planned"]
        load.refer(self._answered)
        load.clock_bound, load.clock_offset = self._best
        load.http.address = msg.data["rest"]
        load.start_clock(msg.data["origin"] + self._best[1])
        # the master waits for it; the users who waited for the clock have joined by then
        gevent.spawn(self._tell_users)
        source = f"worker {load.index}"
        start = load.run_time(0.0)
        self._telemetry = Telemetry(
            observed.sending(source, self.runner, load, observed.noting(start, self)),
            lambda at, source, values: self._report(at - start, source, values),
        )

    def _report(self, at: float, source: str, values: Values) -> None:
        self.runner.send_message("bench-telemetry", {"time": at, "source": source, "values": values})

    def event(self, time: float, kind: str, text: str, **values: float | str) -> None:
        """Send the master what happened, in seconds of the run."""
        self.runner.send_message("bench-event", {"time": time, "kind": kind, "text": text, "values": values})

    def _tell_users(self) -> None:
        load = session.peek(self.environment)
        if load is not None:
            self.runner.send_message("bench-users", dict(load.arriving))

    def _on_plan(self, msg: Any, **_: Any) -> None:
        load = session.peek(self.environment)
        if load is not None and not load.draining:
            load.follow(Plan.of(msg.data))

    def _ship(self, chunk: Chunk, pause: Pause) -> None:
        self.runner.send_message("bench-chunk", {"chunk": chunk.to_bytes()})

    def _stop(self, *, wait: bool = True) -> None:
        """Say the last words of a test, once. wait: where they are being said already, until that is done.

        The master, Locust and Ctrl-C may all have asked for them. Locust asks in the greenlet that reads the master's
        messages, which must not wait.
        """
        load = session.peek(self.environment)
        if load is None or load.draining:
            if wait:
                self._silent.wait()
            return
        self._silent.clear()
        try:
            self._say_last_words(load)
        finally:
            self._silent.set()

    def _say_last_words(self, load: Session) -> None:
        load.drain()  # before anything that lets the loop turn: it would send what came due in the meantime
        telemetry, self._telemetry = self._telemetry, None
        if telemetry is not None:
            telemetry.stop()
        session.end(self.environment)
        load.close()
        choices, wrong = load.choices(), load.wrong_answers()
        content = {"choices": choices.to_bytes() if choices else None, "wrong_answers": wrong}
        clock = {"clock_offset": load.clock_offset, "clock_bound": load.clock_bound}
        self.runner.send_message("bench-drained", {**load.counts(), **clock, **content})
