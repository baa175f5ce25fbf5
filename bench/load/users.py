"""How do Locust users ask a model server, and what does a scenario have to say of its own?"""

from typing import Any, ClassVar

from gevent import GreenletExit, sleep
from locust import User
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from bench.load import lifecycle, session
from bench.load.options import Options
from bench.payload import Pool
from bench.wire.messages import PREDICT

CANCELLED, UNAVAILABLE = 1, 14
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
        if load is None:  # the test could not start: its reason has been told
            raise StopUser
        load.wait_ready()
        self._session = load
        self._recorder = self._session.recorder(type(self))
        self._order = self._recorder.pool.sequence(self._session.next_stream())

    def predict(self) -> int:
        """Send the next request of the pool, wait for its answer and record it; gives the gRPC status code."""
        recorder, channel = self._recorder, self._session.channel
        index = next(self._order)
        call = channel.start_waiting(PREDICT, recorder.pool.messages[index], self._session.deadline)
        try:
            reply = call.wait()
        except GreenletExit:  # Locust takes this user out of the load: its request is recorded as cancelled
            recorder.add_cancelled(index, call)
            raise
        recorder.add(reply.sent, index, reply)
        return int(reply.status)

    def _ask(self) -> None:
        """The task of a user that has none of its own: all its requests, without Locust's loop between them.

        Locust's task loop costs about 6 us a turn, as much as the whole request.
        """
        load = self._session
        recorder = self._recorder
        pool = recorder.pool.messages
        call, add, order, deadline = load.channel.call, recorder.add, self._order, load.deadline
        once = self.wait_time is not None
        while not load.draining and self._state != LOCUST_STATE_STOPPING:
            index = next(order)
            reply = call(PREDICT, pool[index], deadline)
            add(reply.sent, index, reply)
            if reply.status:
                self._after_failure(reply.status)
            if once:
                return
        raise StopUser

    def _after_failure(self, status: int) -> None:
        if status == CANCELLED:
            raise GreenletExit
        if status == UNAVAILABLE:
            sleep(DOWN_SECONDS)
