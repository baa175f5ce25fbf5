"""How do Locust users ask a model server, and what does a scenario have to say of its own?"""

from typing import Any, ClassVar

from gevent import GreenletExit, getcurrent, sleep
from gevent.hub import get_hub
from locust import User
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from bench.load import lifecycle, session
from bench.load.options import Options
from bench.payload import Pool
from bench.wire.client import Reply
from bench.wire.messages import PREDICT

UNAVAILABLE = 14
DOWN_SECONDS = 0.01
"""A user whose server is down asks again after this long; an immediate refusal would spin the loop."""

lifecycle.register()


class PredictUser(User):  # type: ignore[misc]  # locust ships no types
    """Closed loop: each user sends its next request as soon as it has the answer to the last one.

    A scenario subclasses it and says in `payload` what is sent. With a `wait_time` the user thinks between two
    requests. A subclass with tasks of its own calls `predict` in them.
    """

    abstract = True
    request_name: ClassVar[str] = "Predict"
    """The name in Locust's statistics and in the results."""

    @classmethod
    def payload(cls, options: Options) -> Pool:
        """The requests to send with the answers to expect; called once in each load process."""
        raise NotImplementedError(f"{cls.__name__}.payload: return a bench.payload.Pool")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.tasks:
            cls.tasks = [PredictUser._ask]

    def on_start(self) -> None:
        """Join the session of this process. Called by Locust in the user's own greenlet."""
        load = session.peek(self.environment)
        self._session = load
        if load is None:  # the test was refused and its reason told; raising here would be logged as an error
            return
        load.wait_ready()
        self._recorder = load.recorder(type(self))
        self._order = self._recorder.pool.sequence(load.next_stream())

    def predict(self) -> int:
        """Send the next request of the pool, wait for its answer and record it; gives the gRPC status code."""
        load = self._session
        if load is None:
            raise StopUser
        recorder, index = self._recorder, next(self._order)
        call = load.channel.start(PREDICT, recorder.pool.messages[index], getcurrent().switch, load.deadline)
        try:
            reply: Reply = get_hub().switch()
        except GreenletExit:  # Locust takes this user out of the load
            call.cancel()
            recorder.add_cancelled(None, index, call.sent)
            raise
        recorder.add(None, index, reply)
        return reply.status

    def _ask(self) -> None:
        """The task of a user that has none of its own."""
        if type(self).wait_time is User.wait_time:
            self._ask_on_and_on()
        elif self.predict() == UNAVAILABLE:
            sleep(DOWN_SECONDS)
        if self._session is None or self._session.draining:
            raise StopUser

    def _ask_on_and_on(self) -> None:
        """All requests of a user that never thinks; Locust's task loop would cost 6 us between two of them."""
        load = self._session
        while load is not None and not load.draining and self._state != LOCUST_STATE_STOPPING:
            if self.predict() == UNAVAILABLE:
                sleep(DOWN_SECONDS)
