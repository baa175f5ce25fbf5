"""The state of one load process during one test, and how its records leave it."""

import gc
import inspect
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gevent
import numpy as np
from gevent.event import Event

from bench.load.checking.checker import Checker
from bench.load.checking.references import References
from bench.load.engine.arrivals import WHOLE, Part
from bench.load.engine.causes import Causes, causes_of
from bench.load.engine.recorder import HeardRecorder, Recorder, Rows
from bench.load.engine.user_plan import Plan
from bench.load.engines import engines
from bench.load.locust_glue.orders import Orders
from bench.load.locust_glue.parent import orphaned
from bench.load.locust_glue.statistics import called, listened, show_in_locust
from bench.load.options import ScenarioOptions
from bench.load.reference_answers import Answered
from bench.load.senders import Senders
from bench.load.sources import Source
from bench.payload import Pool
from bench.runs.choices import Choices
from bench.runs.chunk import Chunk, Pause
from bench.wording import counted

FLUSH_SECONDS = 0.25
FLUSH_ROWS, FLUSH_LATEST = 1000, 0.9
"""A flush costs 0.4 ms, however few records leave: few wait for more, up to so many seconds after the flush before."""
PAUSE_SECONDS = 0.001
ARRIVE_SECONDS = 5.0
"""Users wait this long for their session."""
READY_SECONDS = 60.0
"""And this long for the master's answer."""
DEADLINE_MARGIN = 1.0
"""At the end of a test answers are waited for so much longer than the request timeout, which ends calls before."""
ORPHAN_SECONDS = 1.0
"""And this long altogether by a worker whose master is gone."""
TELL_SECONDS = 0.5
"""Whoever waits for longer at the end of a test says so."""
CANCEL_SECONDS = 2.0
"""A transport may take so long to end the calls of a closed channel."""

Sink = Callable[[Chunk, Pause], None]


class Session:
    """Channel, recorders and clock of one process for one test.

    Times leave it relative to the start of the run.
    """

    def __init__(
        self,
        environment: Any,
        address: str,
        options: ScenarioOptions,
        pools: Mapping[Source, Pool],
        sink: Sink,
        *,
        part: Part = WHOLE,
    ) -> None:
        """part: of the open-loop arrivals, where another session of this process sends the rest (`partner`)."""
        self.partner: Session | None = None
        """Of the second arm of a duet: users send to this session and to that one in turn."""
        self.environment, self.options, self.address = environment, options, address
        self.deadline = options.asked.deadline
        self.senders = Senders(address, options, getattr(environment.runner, "worker_index", 0))
        self.channel, self.http = self.senders.channel, self.senders.http
        self.abandoned = False  # True where nobody takes the records any more
        self.draining = False  # True from the moment the test stops: users send nothing more
        self.ended: float | None = None
        """When the load stopped, on perf_counter's clock; None: it goes on."""
        self.index, self.count = 0, 1
        """Which of how many load processes this is."""
        self.clock_offset = self.clock_bound = 0.0
        """Seconds by which this process's clock is ahead of the master's, and by which that may be wrong."""
        self._entered: float | None = None  # when the first user began, on perf_counter's clock
        self.recorded, self._awaiting, self._hurried = 0, False, False
        self._sink = sink
        make = HeardRecorder if listened(environment) else Recorder
        self._recorders = {
            source: make(
                source.name,
                pool,
                Checker(
                    pool,
                    pool.output,
                    pool.version,
                    protocol=source.protocol,
                    references=References(len(pool)) if source.user.repeatable else None,
                    keep_choices=source.user.keep_choices,
                ),
            )
            for source, pool in pools.items()
        }
        self.arriving: Counter[str] = Counter()
        """Open-loop users that live in this process, by user class."""
        self.on_users: Callable[[], Any] = lambda: None
        """Called when their number changes."""
        self.orders = Orders()
        self._engines = engines(
            environment.user_classes,
            options,
            self.channel,
            self._recorders,
            part=part,
            used_up=self.orders.end,
        )
        self._heeded: Counter[str] = Counter()
        self._streams: Iterator[int] = itertools.count()
        self._origin: float | None = None
        self._ready, self._closing = Event(), Event()
        # Locust looks at its own stack when it stops a load, for its log: 30 ms the first time, in which answers wait
        inspect.stack()
        # all that Locust and its packages have made stays until the end: looking through it takes 190 ms, in which
        # the loop would stand still
        gc.collect()
        gc.freeze()
        self._flusher = gevent.spawn(self._flush_regularly)

    @property
    def sent(self) -> int:
        """Requests whose last byte was handed to the kernel; one that had to be sent again counts once."""
        return self.senders.sent

    @property
    def unsent(self) -> int:
        """Calls that were recorded although no byte of them left."""
        return sum(recorder.unsent for recorder in self._recorders.values())

    def counts(self) -> dict[str, Any]:
        """What this process did; recorded = sent + unsent unless something was lost.

        retries: further attempts of requests that a server gave back or that met the end of a connection; None where
        the transport does not say. addresses: the requests sent, by the server's addresses where they are known.
        waited: requests that could not leave at once, by what kept them; most_streams: the server's limit, if that did.
        late_plans: changes of users that it learned of too late to send the same arrivals as planned.
        """
        late = sum(engine.late_divisions for engine in self._engines.values())
        return {
            "sent": self.sent,
            "retries": self.senders.retries,
            "unsent": self.unsent,
            "recorded": self.recorded,
            "addresses": self.senders.addresses,
            "waited": self.senders.waited,
            "most_streams": self.senders.most_streams,
            "late_plans": late,
        }

    def refer(self, answered: Sequence[Answered]) -> None:
        """Compare answers with those of the idle server, by the order of the pools."""
        for recorder, each in zip(self._recorders.values(), answered, strict=True):
            each.prime(recorder.checker)

    def start_clock(self, origin: float) -> None:
        """Say when the run started, on this process's clock; users wait for it."""
        self._origin = origin
        self._ready.set()

    def enter(self) -> bool:
        """Have a user wait until the clock is known: a worker learns it from the master. False where it does not."""
        ready = self._ready.wait(READY_SECONDS)
        self._entered = self._entered or time.perf_counter()
        return bool(ready)

    @property
    def begun(self) -> float | None:
        """When the first user began, in seconds of the run; 0 where some are not ours or none will come, None where none has."""
        runner, ours = self.environment.runner, {source.user.__name__ for source in self._recorders}
        others = [users for name, users in runner.user_classes_count.items() if name not in ours]
        if any(others) or not runner.target_user_count:
            return 0.0
        return None if self._entered is None else self._entered - self.run_time(0.0)

    def recorders(self, user_class: type) -> dict[str, Recorder]:
        """The recorders of a user class in this process, by the names of its requests."""
        return {
            source.name: recorder
            for source, recorder in self._recorders.items()
            if source.user is user_class and not source.kind
        }

    def choices(self) -> Choices | None:
        """Which classes the answers gave, by request name; None where no user class keeps them."""
        parts = [recorder.checker.chosen(recorder.name) for recorder in self._recorders.values()]
        known = [part for part in parts if part is not None]
        return Choices.merged(known) if known else None

    def wrong_answers(self) -> Causes:
        """Wrong answers by request name and cause."""
        return causes_of(self._recorders.values())

    def turn(self, seconds: int, count: int) -> int:
        """Whose turn of `count` it is now, where each lasts so many seconds and the first begins with the run."""
        return int((time.perf_counter() - self.run_time(0.0)) // seconds) % count

    def users(self) -> dict[str, dict[int, int]]:
        """As `Workers.users`, where this is the only process."""
        return {name: {0: users} for name, users in self.arriving.items()}

    def tell(self, _: int, plan: Plan) -> None:
        """As `Workers.tell`, where this is the only process."""
        self.follow(plan)

    def opens(self, user_class: type) -> bool:
        """Whether users of a class are open-loop ones in this test."""
        return user_class.__name__ in self._engines

    def join(self, user_class: type) -> None:
        """Count an open-loop user in."""
        self.arriving[user_class.__name__] += 1
        self.on_users()

    def leave(self, user_class: type) -> None:
        """Count an open-loop user out."""
        self.arriving[user_class.__name__] -= 1
        self.on_users()

    def follow(self, plan: Plan) -> None:
        """Send the part of a schedule that a plan gives to this process."""
        engine = self._engines[plan.user_class]
        if not self._heeded[plan.user_class]:
            engine.begin(self.run_time(plan.begin))
        for division in plan.divisions[self._heeded[plan.user_class] :]:
            engine.divide(division)
        engine.end(plan.end)
        self._heeded[plan.user_class] = len(plan.divisions)
        if self.partner is not None:
            self.partner.follow(plan)

    def run_time(self, seconds: float) -> float:
        """The instant, on this process's clock, so many seconds after the start of the run; its clock is known."""
        if self._origin is None:
            raise RuntimeError("the start of the run is not known yet")
        return self._origin + seconds

    def next_stream(self) -> int:
        """A number that no other user of this test has, in any process."""
        return next(self._streams) * self.count + self.index

    @property
    def in_flight(self) -> int:
        """Calls that have not ended, in a duet those of both arms."""
        return self.senders.in_flight + (0 if self.partner is None else self.partner.in_flight)

    def drain(self, tell: Callable[[str], object] = lambda _: None) -> None:
        """Let no user send any more and wait for the answers that are still to come, up to the request timeout.

        tell: called once with their number in words, where that takes longer than a moment.
        """
        self._halt()
        now = time.perf_counter()
        alone = self.abandoned or orphaned()
        give_up = now + (ORPHAN_SECONDS if alone else self.deadline + DEADLINE_MARGIN)
        patient = now + TELL_SECONDS
        self._awaiting = True
        while self.in_flight and now < give_up and not self._hurried:
            if now > patient:
                patient = give_up
                tell(counted(self.in_flight, "answer"))
            gevent.sleep(0.002)
            now = time.perf_counter()
        self._awaiting = False

    def hurry(self) -> bool:
        """Wait no longer for the last answers; False where nobody waits."""
        self._hurried = self._hurried or self._awaiting
        return self._awaiting

    def _halt(self) -> None:
        self.draining = True
        self.ended = min([engine.stop() for engine in self._engines.values()], default=time.perf_counter())
        if self.partner is not None:
            self.partner._halt()

    def close(self) -> None:
        """Cancel what is in flight, flush, and leave nothing behind."""
        self._closing.set()
        self._flusher.join()  # a kill in the middle of a flush would lose what it holds
        for recorder in self._recorders.values():
            recorder.close()
        self.senders.close()
        gc.unfreeze()
        gevent.sleep(0)  # calls that were cancelled are recorded
        give_up = time.perf_counter() + CANCEL_SECONDS
        while self.senders.in_flight and time.perf_counter() < give_up:
            gevent.sleep(0.002)
        self.flush()

    def flush(self) -> None:
        """Send all that has ended to the run folder, and to Locust's statistics."""
        if self._origin is None:
            return
        for recorder in self._recorders.values():
            parts = recorder.take()
            failed = recorder.failures.take()
            for rows in parts:
                self._give_way()
                url, method = called(recorder, self.address, self.http.address)
                show_in_locust(self.environment, recorder, rows, failed, url, method=method)
                self._give_way()
                chunk = self._chunk(recorder, rows, self._origin)
                chunk.failures = {(recorder.name, *kind): times for kind, times in failed.items()}
                failed = Counter()  # told with the first part
                self._give_way()
                chunk.packed()
                self._give_way()
                self._sink(chunk, self._give_way)
                self.recorded += len(rows.status)

    def _give_way(self) -> None:
        """Let the loop send and read between two pieces of work, each of which takes 0.1 to 0.3 ms."""
        if not self._closing.is_set():
            gevent.sleep(PAUSE_SECONDS)

    def _flush_regularly(self) -> None:
        latest = 0.0  # whoever looks at a run that has just begun sees its first requests at once
        while not self._closing.wait(FLUSH_SECONDS):
            waiting = sum(recorder.waiting for recorder in self._recorders.values())
            if self._origin and waiting and (waiting >= FLUSH_ROWS or time.perf_counter() >= latest):
                self.flush()
                latest = time.perf_counter() + FLUSH_LATEST

    def _chunk(self, recorder: Recorder, rows: Rows, origin: float) -> Chunk:
        return Chunk.of(
            names=[recorder.name],
            name_codes=np.zeros(len(rows.status), dtype=np.int32),
            batch=np.full(len(rows.status), recorder.pool.batch, dtype=np.int32),
            due=rows.due - origin,
            sent=rows.sent - origin,
            done=rows.done - origin,
            status=rows.status,
            version=rows.version,
            correct=rows.correct,
            mismatched=rows.mismatched,
            message=rows.message,
            keep_samples=self.options.keep_samples,
            pause=self._give_way,
        )


_sessions: dict[int, Session] = {}
_refused: set[int] = set()
"""Environments whose test has been refused: no session will come."""


def current(environment: Any) -> Session:
    """The session of the test that runs in this process."""
    return _sessions[id(environment)]


def peek(environment: Any) -> Session | None:
    """The session of the test that runs in this process; None where none runs."""
    return _sessions.get(id(environment))


def arrive(environment: Any) -> Session | None:
    """The session of the test that runs in this process, waited for; None where none comes: it was refused.

    Where a test runs already when a worker connects, Locust starts users there before it is ready itself.
    """
    with gevent.Timeout(ARRIVE_SECONDS, False):
        while peek(environment) is None and id(environment) not in _refused:
            gevent.sleep(0.02)
    return peek(environment)


def hurry(environment: Any) -> bool:
    """Wait no longer for the last answers of the test that runs in this process; False where nobody waits."""
    load = peek(environment)
    return load is not None and load.hurry()


def expect(environment: Any) -> None:
    """A test has started: its session comes, or it will be refused."""
    _refused.discard(id(environment))


def refuse(environment: Any) -> None:
    """No session will come for the test that has just started: its users need not wait."""
    _refused.add(id(environment))


def begin(environment: Any, session: Session) -> None:
    """Make a session the current one."""
    _sessions[id(environment)] = session


def end(environment: Any) -> Session | None:
    """Take the current session away; None where no test runs."""
    return _sessions.pop(id(environment), None)
