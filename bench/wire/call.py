"""A call under way on a channel."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from bench.wire.deadlines import Queue
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.reply import Reply


class Keeper(Protocol):
    """The part of a channel that its calls need."""

    def _forget(self, call: "Call", /) -> None: ...


class Call(Exchange):
    """A call under way; made by `Channel.start`."""

    __slots__ = ("_channel", "_link", "_on_reply", "_queue")

    def __init__(
        self, channel: Keeper, head: RequestHead, message: bytes, on_reply: Callable[[Reply], Any]
    ) -> None:
        Exchange.__init__(self, head, message)  # without super(): 0.1 us of each call
        self._channel = channel
        self._on_reply: Callable[[Reply], Any] | None = on_reply
        self._link: Any = None
        self._queue: Queue[Any] | None = None

    def cancel(self) -> float | None:
        """Give the call up: the server is told, `on_reply` will not run. Nothing happens where it has ended.

        Gives when its last byte was handed to the kernel; None: it was not, and it does not count as sent.
        """
        sent = self.sent
        if self._on_reply is not None:
            self._on_reply = None
            self._channel._forget(self)
            if sent is None:
                self.sent = time.perf_counter()  # what of it leaves later is not counted
        return sent

    def hand_over(self, on_reply: Callable[[Reply], Any]) -> None:
        """Let `on_reply` learn how the call ends, in place of the one before. Nothing happens where it has ended."""
        self._on_reply = self._on_reply and on_reply
