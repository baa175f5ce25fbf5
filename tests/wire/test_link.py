"""When do the bytes of a call leave: not later than the call into the kernel that takes them."""

import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import gevent
import grpc
import pytest

from bench.wire.client import Channel, Reply

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

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@pytest.mark.parametrize("most", [2**20, 3000])
def test_a_call_is_stamped_before_the_kernel_gets_its_last_bytes(address: str, most: int) -> None:
    """Stamped afterwards, an answer may be there already: the kernel likes to run the server first."""
    channel = Channel(address)
    channel.connect(10)
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
