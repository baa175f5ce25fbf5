"""A server in the test's own event loop and a channel to it."""

from collections.abc import Iterator

import pytest

from bench.wire.client import Channel
from tests.wire.servers import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def channel(server: Server) -> Iterator[Channel]:
    one = Channel(server.address)
    one.connect(60)
    yield one
    one.close()
