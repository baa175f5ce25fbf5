"""Locust user classes for model servers."""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from itertools import cycle
from typing import Any, ClassVar, NamedTuple, Self

from gevent import getcurrent, sleep
from gevent.event import Event
from gevent.hub import get_hub
from locust import User
from locust.exception import StopUser

from bench import BenchError
from bench.load.engine.arrivals import RowSender
from bench.load.engine.recorder import Recorder
from bench.load.engine.turns import DOWN_SECONDS
from bench.load.locust_glue import attach, duet, session
from bench.load.locust_glue.internals import UserState, stopping
from bench.load.options import ScenarioOptions
from bench.load.site import Served, Site
from bench.load.target import address_of
from bench.payload import Pool
from bench.schedule import Closed, Open
from bench.wire.http_connection import HttpConnection
from bench.wire.reply import Reply
from bench.wire.unary import UNAVAILABLE

log = logging.getLogger("bench")

attach.register()


class Lane(NamedTuple):
    """The destination of a user's requests of one name, their recorder, and the order of their messages."""

    load: session.Session
    recorder: Recorder
    order: Iterator[int]


def _elsewhere(user: Any, load: session.Session) -> bool:
    """Whether a user names a target of its own, as an attribute of the object; what Locust was given goes before it."""
    host = vars(user).get("host")
    if not host or user.environment.host:
        return False
    with suppress(BenchError):
        if address_of(host, load.options.api.port) == load.address:
            return False
    _tell_elsewhere(type(user).__name__, host, load.address)
    return True


@cache
def _tell_elsewhere(name: str, host: str, address: str) -> None:
    log.error(
        "a user of %s sets its own host to %s, the run measures %s: it sends nothing; set host on the class, or give --host",
        name,
        host,
        address,
    )


class PredictUser(User, UserState):
    """Closed loop: each user sends its next request as soon as it has the answer to the last one.

    A scenario subclasses it and says in `payload` what is sent. With a `wait_time` the user thinks between two
    requests (or tasks); `--schedule closed:SECONDS` goes before it. A subclass with tasks of its own calls `predict` in them.
    """

    abstract = True
    request_name: ClassVar[str] = "Predict"
    """The name in Locust's statistics and in the results."""

    turn_seconds: ClassVar[int | None] = None
    """Pools by name: all users send those of one name for so many seconds, then the next name's, and start over;
    the first second of each turn is warm-up. None: each user takes them in turn, request by request."""
    over_rest: ClassVar[Collection[str]] = ()
    """Names of the requests that go to the server's REST API."""
    question: ClassVar[str] = ""
    """Which question the report answers beside its table: a name in `bench.analysis.answers.questions.ANSWERS`, or none."""
    repeatable: ClassVar[bool] = True
    """A version answers a message the same way each time, which is checked; False for a model that draws lots."""
    preflight: ClassVar[bool] = True
    """Before the load one request of each pool is sent, and what no load would find right is refused; False where just
    that is to be measured."""
    keep_choices: ClassVar[bool] = False
    """Keep which class each example was given, so that the report can compare models example by example."""
    script: ClassVar[Any] = None
    """What the scenario does beside the load, such as changing the server: a classmethod that takes a
    `bench.load.stage.Stage`, called in the first process when the test begins."""

    wait_time: Any
    _session: session.Session | None = None

    def __new__(cls, environment: Any = None, *_: Any, **__: Any) -> Self:
        """What Locust's own `__init__` sets, for classes whose `__init__` does not call it."""
        user: Self = super().__new__(cls)
        user.environment = environment
        return user

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool | Mapping[str, Pool]:
        """The requests to send with the answers to expect; called once in each load process.

        Several pools by name are recorded apart from each other. Those with equal seed and size hold the same
        examples, which each user sends in the same order to all of them.
        """
        raise BenchError(
            f"{cls.__name__}: no payload; define what to send, such as: @classmethod / def payload(cls, "
            "options): / return Pool.of({'images': images}, labels, output='scores', **options.asked.request()) "
            "(scenarios/mnist.py is a whole one)"
        )

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """Arguments of `bench serve` for the embedded server: where no host is given, the first class's count."""
        return site.serving(Served("mnist", site.mnist()))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Locust adds the tasks of a class to those of its bases
        own = [task for task in cls.tasks if task is not PredictUser._send_requests]
        cls.tasks = own or [PredictUser._send_requests]

    def run(self) -> None:  # type: ignore[misc]  # final, and the one place for what has to happen in each user
        """Take part in the session of this process for as long as Locust runs this user, in the user's own greenlet.

        Here, since most classes have an `on_start` and `on_stop` of their own that do not call ours, as Locust's
        are empty.
        """
        attach.take_part(self.environment)
        load = session.arrive(self.environment)
        # where the test was refused, its reason was told; raising here would be logged as an error
        if load is None or not load.enter():
            return
        if _elsewhere(self, load):
            return
        self._session = load
        schedule = load.options.schedule
        if isinstance(schedule, Closed):  # the command line goes before the class, as with --host
            self.wait_time = lambda: schedule.think
        self._stopped = Event()
        self._join(load)
        try:
            super().run()  # type: ignore[no-untyped-call]  # Locust gives it no types
        except StopUser:  # of a call in `on_stop`: nothing more is sent
            pass
        finally:
            self._leave(load)

    def _join(self, load: session.Session) -> None:
        """Get ready to send."""
        stream = load.next_stream()
        lanes: dict[str, list[Lane]] = {}
        for arm in filter(None, (load, load.partner)):
            for name, each in arm.recorders(type(self)).items():
                lanes.setdefault(name, []).append(Lane(arm, each, arm.orders.order(name, each.pool, stream)))
        self._named = {name: duet.alternating(arms, stream, load) for name, arms in lanes.items()}
        self._connections: dict[str, HttpConnection] = {}
        self._next_lane = self._in_turn(load).__next__

    def _leave(self, load: session.Session) -> None:
        """Leave the session."""

    def _in_turn(self, load: session.Session) -> Iterator[Lane]:
        """The lane of each request that is sent without a name."""
        named = list(self._named.values())
        if self.turn_seconds is not None:
            while True:
                yield next(named[load.turn(self.turn_seconds, len(named))])
        elif load.partner is None:
            yield from cycle([next(lane) for lane in named])
        for lane in cycle(named):
            yield next(lane)
            yield next(lane)

    def predict(self, name: str | None = None) -> int:
        """Send the next request of the pool, wait for its answer and record it; gives the gRPC status code.

        name: of the pool, where `payload` gives several; None: whose turn it is.
        """
        load = self._session
        if load is None or load.draining or stopping(self):
            raise StopUser
        load, recorder, order = self._next_lane() if name is None else next(self._named[name])
        index = next(order)
        if recorder.over_http:
            return self._predict_http(load, recorder, index)
        call = load.channel.start(
            recorder.method, recorder.messages[index], getcurrent().switch, load.deadline
        )
        try:
            reply: Reply = get_hub().switch()
        except BaseException:
            # Locust takes this user out of the load, or its task gives up: the answer is waited for without it
            call.hand_over(partial(recorder.add, None, index))
            raise
        recorder.add(None, index, reply)
        return reply.status

    def _predict_http(self, load: session.Session, recorder: Recorder, index: int) -> int:
        """The same over HTTP, on a connection of this user's own."""
        connection = self._connections.get(recorder.name)
        if connection is None:
            connection = self._connections[recorder.name] = load.http.connection(recorder)
        return load.http.ask(connection, recorder.messages[index], recorder, index)

    def _send_requests(self) -> None:
        """The task of a user that has none of its own."""
        if self._session is None:
            raise StopUser
        schedule = self._session.options.schedule
        if isinstance(schedule, Closed):
            self._send_repeatedly(schedule.think)
        elif type(self).wait_time is User.wait_time:
            self._send_repeatedly(0.0)
        elif self.predict() == UNAVAILABLE:
            sleep(DOWN_SECONDS)

    def _send_repeatedly(self, think: float) -> None:
        """All requests of a user without a wait time; Locust's task loop would cost 6 us between two of them."""
        if not think and (lane := self._only_lane()) is not None:
            load = lane.load
            load.senders.turns(lane.recorder, lambda: load.draining).run(lane.order, self._stopped)
            raise StopUser
        while True:
            if self.predict() == UNAVAILABLE:
                sleep(DOWN_SECONDS)
            if think:
                sleep(think)

    def _only_lane(self) -> Lane | None:
        """Where all requests of this user go, if it is one place that takes those of many users at once."""
        if len(self._named) > 1 or type(self).predict is not PredictUser.predict:
            return None
        if self._session is None or self._session.partner is not None:  # of a duet
            return None
        lane = next(*self._named.values())
        load = lane.load
        if lane.recorder.pool.sending:  # its order ends, and each user with it
            return None
        if lane.recorder.over_http or not isinstance(load.channel, RowSender):
            return None
        return lane

    def stop(self, force: bool = False) -> bool:
        """End this user; Locust's own `stop`, which a user that waits for nothing else would not notice."""
        ended: bool = super().stop(force)
        if not ended:
            self._stopped.set()
        return ended


class ArrivalUser(PredictUser):
    """Open loop: requests leave when the schedule says, whether or not earlier ones have been answered.

    A scenario subclasses it, says in `payload` what is sent and in `schedule` when. Each user is a stream of its
    own: U users send U times the schedule's rate (a trace is divided among them instead). So Locust's users, spawn
    rate and load shapes set the rate; see `bench.load.engine.user_plan`.
    """

    abstract = True
    schedule: ClassVar[str | Open] = "poisson:100"
    """As `--schedule` takes it, which goes before it; with `closed` these users wait for answers, too."""

    def _join(self, load: session.Session) -> None:
        """Be counted by the engine, or get ready to send."""
        self._arrives = load.opens(type(self))
        if self._arrives:
            load.join(type(self))
        else:
            super()._join(load)

    def _leave(self, load: session.Session) -> None:
        """Be counted no more where users are counted."""
        if self._arrives:
            load.leave(type(self))

    def _stay(self) -> None:
        """Be there while the process's engine sends, or send: the task."""
        if self._arrives:
            self._stopped.wait()
            raise StopUser
        self._send_requests()

    tasks: ClassVar[list[Any]] = [_stay]  # type: ignore[misc]  # as Locust means it


class ScheduledUser(ArrivalUser):
    """Closed loop, or open loop where `--schedule` gives a rate."""

    abstract = True
    schedule: ClassVar[str | Open] = "closed"
