"""A call made beside the test, in a greenlet of its own."""

import gevent

from bench.wire.client import Channel
from bench.wire.reply import Reply

ECHO = "/t.Test/Echo"


def later(
    channel: Channel, content: bytes = b"", timeout: float | None = None
) -> "gevent.Greenlet[..., Reply]":
    return gevent.spawn(channel.call, ECHO, content, timeout)
