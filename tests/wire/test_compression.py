"""Requests that are compressed arrive as they were, and cost the bytes that they were compressed to."""

import gzip
import random
from collections.abc import Iterator

import pytest

from bench.wire.client import Channel
from bench.wire.compression import Gzipped, gzipped
from bench.wire.frames import DEFAULT_WINDOW
from bench.wire.http_messages import request_of
from tests.wire.calls import ECHO
from tests.wire.servers import Server
from tests.wire.test_rows import Owner

LONG = b"0.125, " * 10_000
"""70 kB, of which gzip leaves 200 bytes."""
DENSE = random.Random(1).randbytes(2 * DEFAULT_WINDOW)
"""Stays larger than the first window of a stream: it leaves in pieces."""


@pytest.fixture
def compressing(server: Server) -> Iterator[Channel]:
    channel = Channel(server.address, compression="gzip")
    channel.connect(60)
    yield channel
    channel.close()


def read_by(server: Server) -> list[int]:
    """Bytes that the server reads from now on, read by read."""
    sizes: list[int] = []
    connection = server.peers[0].connection
    inner = connection.receive
    connection.receive = lambda data: (sizes.append(len(data)), inner(data))[1]  # type: ignore[method-assign]
    return sizes


def test_equal_messages_are_equal_when_they_are_compressed() -> None:
    packed = gzipped(LONG)
    assert gzip.decompress(packed) == LONG
    assert packed == gzipped(bytes(LONG))
    assert gzipped(packed) is packed


@pytest.mark.parametrize("message", [b"", b"x", LONG, DENSE], ids=["empty", "short", "long", "dense"])
def test_a_call_is_compressed_once_whoever_does_it(
    compressing: Channel, server: Server, message: bytes
) -> None:
    for given in (message, gzipped(message)):
        sizes = read_by(server)
        reply = compressing.call(ECHO, given, 60.0)
        assert (reply.status, reply.details, reply.message) == (0, "", message)
        # beside the message: frames of 9 bytes each, the header block and window updates
        assert len(gzipped(message)) <= sum(sizes) < len(gzipped(message)) + 1000


def test_rows_of_compressed_messages(compressing: Channel, server: Server) -> None:
    contents = [b"%d " % number * 1000 for number in range(40)]
    for _ in range(3):  # from then on it is known what stands in front of a message, and rows leave whole
        assert compressing.call(ECHO, b"first", 5.0).status == 0
    sizes, owner = read_by(server), Owner()
    row = owner.start(compressing, [gzipped(each) for each in contents], 5.0)
    assert [reply.message for reply in owner.ends(row)] == contents
    assert sum(sizes) < sum(map(len, contents)) / 5
    assert max(owner.together) > 1, "they went one by one"


def test_a_request_over_http_says_that_it_is_compressed() -> None:
    head, _, body = request_of("POST /v1/models/m:predict", gzipped(LONG)).partition(b"\r\n\r\n")
    assert b"\r\nContent-Encoding: gzip\r\n" in head
    assert b"\r\nContent-Length: %d" % len(body) in head
    assert gzip.decompress(body) == LONG
    assert b"Encoding" not in request_of("POST /v1/models/m:predict", LONG).partition(b"\r\n\r\n")[0]
    assert isinstance(gzipped(LONG), Gzipped)
