"""Closed loop of users that send their next request as soon as the last one is answered, without waking any of them.

A greenlet for each request costs as much as everything else that the client does for it. These users only wait to be
stopped: whoever reads their answers sends on for all of them, in rows of as many calls as answers came together.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gevent.event import Event
from gevent.hub import get_hub

from bench.load.engine.arrivals import RowSender
from bench.load.engine.recorder import Recorder
from bench.wire.exchange import RequestHead
from bench.wire.reply import Reply
from bench.wire.rows import Answer, Owner, Row
from bench.wire.unary import UNAVAILABLE

DOWN_SECONDS: Final = 0.01
"""A user whose server is down asks again after this long; an immediate refusal would spin the loop."""


class Asker:
    """A user that takes part: it goes on until it is stopped."""

    __slots__ = ("going", "order", "stopped")

    def __init__(self, order: Iterator[int], stopped: Event) -> None:
        """order: the numbers of the messages that it sends. stopped: set by whoever stops the user."""
        self.order = order
        self.stopped = stopped
        self.going = True


class UserRow(Row):
    """Requests of several users that leave together."""

    __slots__ = ("numbers", "users")

    dues = None

    def __init__(
        self,
        head: RequestHead,
        messages: Sequence[bytes],
        owner: Owner,
        numbers: Sequence[int],
        users: Sequence[Asker],
    ) -> None:
        """numbers: of the messages in their pool."""
        super().__init__(head, messages, owner)
        self.numbers = numbers
        self.users = users

    def part(self, where: slice) -> "UserRow":
        """As `Row.part`."""
        return UserRow(self.head, self.messages[where], self.owner, self.numbers[where], self.users[where])


class Turns:
    """Sends for the users of one request name in one process."""

    def __init__(
        self, channel: RowSender, recorder: Recorder, deadline: float | None, over: Callable[[], bool]
    ) -> None:
        """over: whether nothing more is to be sent."""
        self._channel, self._recorder, self._over = channel, recorder, over
        self._head = channel.head(recorder.method, deadline)
        self._messages = recorder.messages
        self._loop = get_hub().loop
        self._next: list[Asker] = []
        """Who sends with the next row, at the end of this turn of the loop."""

    def run(self, order: Iterator[int], stopped: Event) -> None:
        """Let a user send until it is stopped, in its own greenlet; what is under way then is recorded nevertheless."""
        user = Asker(order, stopped)
        self._again(user)
        try:
            stopped.wait()
        finally:
            user.going = False

    def answered(self, answers: Sequence[Answer], done: float) -> None:
        """Record answers, and send on for those who got them."""
        self._recorder.add_answers(answers, done)
        self._send([row.users[(stream - row.first) >> 1] for row, stream, _ in answers])

    def ended(self, row: UserRow, position: int, reply: Reply) -> None:
        """Record the end of a single call, and send on for its user."""
        self._recorder.add(None, row.numbers[position], reply)
        user = row.users[position]
        if reply.status == UNAVAILABLE:
            timer = self._loop.timer(DOWN_SECONDS)
            timer.start(self._after, timer, user)
        else:
            self._again(user)

    def _after(self, timer: "object", user: Asker) -> None:
        timer.close()  # type: ignore[attr-defined]  # gevent's, which has no types
        self._again(user)

    def _again(self, user: Asker) -> None:
        if not self._next:
            self._loop.run_callback(self._send_next)
        self._next.append(user)

    def _send_next(self) -> None:
        users, self._next = self._next, []
        self._send(users)

    def _send(self, users: Sequence[Asker]) -> None:
        going = [user for user in users if user.going and not user.stopped.is_set()]
        if going and not self._over():
            numbers, messages = [next(user.order) for user in going], self._messages
            requests = [messages[number] for number in numbers]
            self._channel.start_row(UserRow(self._head, requests, self, numbers, going))
