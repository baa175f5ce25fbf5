"""When do the bytes of a call leave: not later than the call into the kernel that takes them."""

import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import gevent
import grpc
import pytest

from bench.wire.client import Channel
from bench.wire.reply import Reply
from tests.wire.calls import ECHO, later

METHOD = "/test.Echo/Call"


@pytest.fixture
def address() -> Iterator[str]:
    """A grpcio server that sends each request back."""
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", {"Call": echo})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


class WatchedSocket:
    """A socket that notes when each `send` was entered, and takes part of the bytes at a time."""

    def __init__(self, sock: Any, most: int) -> None:
        self._sock = sock
        self._most = most
        self.entered: list[float] = []

    def send(self, data: Any) -> int:
        self.entered.append(time.perf_counter())
        return int(self._sock.send(data[: self._most]))

    def sendmsg(self, pieces: list[Any]) -> int:
        return self.send(b"".join(pieces))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@pytest.mark.parametrize("most", [2**20, 3000])
def test_a_call_is_stamped_before_the_kernel_gets_its_last_bytes(address: str, most: int) -> None:
    """Stamped afterwards, an answer may be there already: the kernel likes to run the server first."""
    channel = Channel(address)
    channel.connect(60)
    (link,) = channel._links
    link._sock = watched = WatchedSocket(link._sock, most)  # type: ignore[assignment]  # stands before the socket
    replies: list[Reply] = []
    caller = gevent.spawn(lambda: replies.append(channel.call(METHOD, b"x" * 10_000, 10)))
    caller.join(20)
    channel.close()
    (reply,) = replies
    assert (reply.status, len(reply.message)) == (0, 10_000)
    request = watched.entered[: 1 if most > 10_000 else 4]  # later ones acknowledge and close
    assert reply.sent is not None
    assert request[-1] - reply.sent >= 0
    if len(request) > 1:
        assert reply.sent > request[-2], "the instant of the last piece, not of the first"


@pytest.mark.parametrize("size", [100_000, 20_000])
def test_messages_that_the_kernel_takes_in_parts_arrive_whole_with_their_instants(
    channel: Channel, size: int
) -> None:
    """The larger ones go to the kernel piece by piece, without being joined."""
    assert channel.call(ECHO, b"first").status == 0  # what greets the server is out of the way
    (link,) = channel._links
    link._sock = watched = WatchedSocket(link._sock, size * 3 // 10)
    contents = [bytes([n]) * size for n in range(3)]
    calls = [later(channel, content) for content in (*contents, b"small", *contents)]
    replies = [call.get(timeout=60) for call in calls]
    assert [reply.message for reply in replies] == [*contents, b"small", *contents]
    for reply, part in zip(replies, (3, 6, 10, 10, 13, 16, 20), strict=True):  # that holds its last byte
        assert reply.sent is not None
        assert watched.entered[part - 1] < reply.sent <= watched.entered[part]
    assert not link._rest
    assert link._left == 0


def test_more_pieces_than_one_call_into_the_kernel_takes_arrive(channel: Channel) -> None:
    contents = [bytes([n % 256]) * (40_000 if n % 50 == 49 else n % 9) for n in range(1500)]
    calls = [later(channel, content) for content in contents]
    assert [call.get(timeout=60).message for call in calls] == contents
