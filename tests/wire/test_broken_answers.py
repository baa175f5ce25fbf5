"""Whatever a server puts into its answer, the call has an outcome, its size is bounded, and the next call goes on."""

import contextlib
import resource
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from bench.protocol.hints import hint
from bench.runs.sample import outcome
from bench.wire import frames, unary
from bench.wire.client import Channel
from bench.wire.keepalive import Keepalive
from bench.wire.transports import open_channel
from bench.wire.unary import Request
from tests.wire.native import running
from tests.wire.raw_server import OPENING, Fields, RawServer, raw_server
from tests.wire.servers import Peer, serving

OK: Fields = [(b"grpc-status", b"0")]
LIMIT = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with raw_server() as serving:
        yield serving


@pytest.fixture(scope="module", params=["native", "grpcio"])
def channel(request: pytest.FixtureRequest, server: RawServer) -> Iterator[Any]:
    server.answer(trailers=OK)
    with contextlib.closing(open_channel(request.param, server.address, largest_message=LIMIT)) as one:
        one.connect(60)
        one.name = request.param
        yield one


def status(text: bytes) -> Fields:
    return [(b"grpc-status", text)]


def details(text: bytes) -> Fields:
    return [(b"grpc-status", b"5"), (b"grpc-message", text)]


@pytest.mark.parametrize(
    ("trailers", "native", "text"),
    [
        (status(b""), 2, ""),
        (status(b"abc"), 2, ""),
        (status(b"-1"), 2, ""),
        (status(b"+5"), 2, ""),
        (status(b"1e3"), 2, ""),
        (status(b"99"), 99, ""),
        (status(b"9" * 5000), 2, ""),
        (status("٣".encode()), 2, ""),
        ([*status(b"0"), *status(b"5")], 5, ""),
        ([], 2, "without grpc-status"),
        (details(b"%"), 5, "%"),
        (details(b"%ZZ%4"), 5, "%ZZ%4"),
        (details(b"%E0%A4%A"), 5, "%A"),
        (details(b"%FF%00%0A"), 5, "\0\n"),
        (details(b"\xff\xfe"), 5, "\ufffd"),
        (details(b"x" * 30_000), 5, "xxx"),
        ([*details(b"a"), (b"grpc-status-details-bin", b"not base64!")], 5, "a"),
        ([*status(b"0"), (b"x-bin", b"%%%")], 0, ""),
        ([*status(b"0"), (b"x", b"\xff\x80")], 0, ""),
        ([*status(b"0"), (b"x", b"a\0b")], 13, "malformed trailers"),
        ([*status(b"0"), (b"X", b"upper")], 13, "malformed trailers"),
        ([*status(b"0"), (b"", b"no name")], 13, "malformed trailers"),
        ([*status(b"0"), (b":status", b"200")], 13, "malformed trailers"),
    ],
)
def test_odd_trailers(server: RawServer, channel: Any, trailers: Fields, native: int, text: str) -> None:
    server.answer(trailers=trailers)
    reply = channel.call("/t.Test/Any", b"x", 10)
    if channel.name == "native":
        assert (reply.status, text in reply.details) == (native, True), reply
    assert outcome(reply.status)
    assert reply.sent is not None
    server.answer(trailers=OK)
    assert channel.call("/t.Test/Any", b"x", 20)[:3] == (0, "", b"a")


@pytest.mark.parametrize(
    ("opening", "native"),
    [
        ([(b":status", b"200"), (b"content-type", b"\xff")], 2),
        ([(b":status", b"abc"), *OPENING[1:]], 13),
        ([*OPENING, (b"grpc-encoding", b"\xffnone")], 0),
        ([*OPENING, (b"x-bin", b"*")], 0),
        ([*OPENING, (b"content-length", b"abc")], 13),
    ],
)
def test_odd_headers(server: RawServer, channel: Any, opening: Fields, native: int) -> None:
    server.answer(opening=opening, trailers=OK)
    reply = channel.call("/t.Test/Any", b"x", 10)
    if channel.name == "native":
        assert reply.status == native, reply
    server.answer(trailers=OK)
    assert channel.call("/t.Test/Any", b"x", 20)[:3] == (0, "", b"a")


def bomb() -> bytes:
    """Zeros that unpack to 192 MiB, of which less than the limit is sent."""
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(192)) + packer.flush()
    assert len(packed) < LIMIT
    return unary.PREFIX.pack(1, len(packed)) + packed


@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_an_answer_beyond_the_limit_is_refused_in_bounded_memory(
    server: RawServer, channel: Any, kind: str
) -> None:
    """1.9 MB became 4.0 GB."""
    body = bomb() if kind == "packed" else unary.PREFIX.pack(0, LIMIT + 1) + bytes(LIMIT + 1)
    encoding = [(b"grpc-encoding", b"gzip" if kind == "packed" else b"identity")]
    server.answer(opening=[*OPENING, *encoding], body=body, trailers=OK)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reply = channel.call("/t.Test/Any", b"x", 30)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    known = hint(outcome(reply.status), reply.details)
    assert (outcome(reply.status), known and known.key) == ("RESOURCE_EXHAUSTED", "answer size"), reply
    assert grown < 64 << 10, "KiB"
    server.answer(trailers=OK)
    assert channel.call("/t.Test/Any", b"x", 20)[:3] == (0, "", b"a")


SLOW = """
import os, sys, time
from concurrent import futures
import grpc

class Slow(grpc.GenericRpcHandler):
    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(lambda message, _: time.sleep(600))

server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Slow()])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
os._exit(0)
"""


def test_pings_that_a_server_does_not_permit_are_named() -> None:
    """gRPC's own server hangs up on clients that ask oftener than every 300 s."""
    with (
        running([sys.executable, "-c", SLOW]) as port,
        contextlib.closing(Channel(f"127.0.0.1:{port}", keepalive=Keepalive(0.02, 1.5))) as channel,
    ):
        channel.connect(60)
        reply = channel.call("/t.Test/Slow", b"x", 60)
    known = hint(outcome(reply.status), reply.details)
    assert known is not None, reply
    assert known.key == "pings"
    assert "--keepalive" in known.remedy


def test_a_connection_that_breaks_after_a_goaway_names_its_error() -> None:
    def leave(peer: Peer, request: Request) -> None:
        peer.send(frames.goaway(request.stream, frames.ENHANCE_YOUR_CALM, "too_many_pings"))
        peer.sock.shutdown(2)

    with serving(leave) as server, contextlib.closing(Channel(server.address)) as channel:
        channel.connect(60)
        reply = channel.call("/t.Test/Any", b"x", 20)
    assert reply.status == 14
    assert reply.details.endswith(", after GOAWAY with ENHANCE_YOUR_CALM too_many_pings")
    known = hint("UNAVAILABLE", reply.details)
    assert known is not None
    assert known.key == "pings"
