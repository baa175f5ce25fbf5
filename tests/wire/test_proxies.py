"""Behind nginx and haproxy, which end connections as they like, no call fails, is lost or counts twice."""

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from bench.wire.client import Channel
from bench.wire.dial import TLS
from bench.wire.reply import Reply
from tests.wire.calls import ECHO
from tests.wire.certificates import issue
from tests.wire.proxies import haproxy, needs, nginx
from tests.wire.servers import serving


@pytest.fixture(scope="module")
def behind() -> Iterator[str]:
    with serving() as server:
        yield server.address


def answers(channel: Channel, users: int, calls: int, pause: float = 0.0) -> list[Reply]:
    """Of so many users with so many calls each; every answer is that to its own question."""
    replies: list[Reply] = []

    def user(number: int) -> None:
        for turn in range(calls):
            content = b"%d:%d" % (number, turn)
            reply = channel.call(ECHO, content, 10)
            assert reply.status or reply.message == content
            replies.append(reply)
            gevent.sleep(pause)

    gevent.joinall([gevent.spawn(user, number) for number in range(users)], raise_error=True, timeout=60)
    return replies


@needs("nginx")
@pytest.mark.parametrize(
    ("rules", "users", "calls", "pause"),
    [
        ("", 8, 40, 0.0),
        ("keepalive_requests 1;", 1, 20, 0.0),
        ("keepalive_requests 50;", 1, 200, 0.0),
        ("keepalive_requests 50;", 64, 10, 0.0),
        ("keepalive_requests 10;", 64, 3, 0.0),
        ("http2_max_concurrent_streams 1; keepalive_requests 20;", 16, 10, 0.0),
        ("keepalive_timeout 50ms;", 1, 12, 0.05),
    ],
)
def test_nginx(behind: str, rules: str, users: int, calls: int, pause: float) -> None:
    with nginx(behind, rules) as address:
        channel = Channel(address)
        channel.connect(60)
        replies = answers(channel, users, calls, pause)
        assert [reply for reply in replies if reply.status] == []
        assert channel.sent_calls == users * calls
        assert channel.addresses == {address: users * calls}
        assert all(reply.sent is not None and reply.sent < reply.done for reply in replies)
        channel.close()


@needs("nginx")
def test_nginx_over_tls_and_over_a_unix_socket(behind: str, tmp_path: Path) -> None:
    files = issue(tmp_path)
    rules = "keepalive_requests 50;"
    with (
        nginx(behind, rules, pem=files.server) as address,
        nginx(behind, rules, path=tmp_path / "s") as local,
    ):
        for channel in (Channel(address, tls=TLS(ca=files.ca)), Channel(local)):
            channel.connect(60)
            assert {reply.status for reply in answers(channel, 8, 30)} == {0}
            assert channel.sent_calls == 240
            channel.close()


@needs("nginx")
def test_nginx_chooses_by_the_authority(behind: str) -> None:
    with nginx(behind, 'if ($host != "mnist.example.com") { return 421; }') as address:
        for authority, status in {None: 2, "mnist.example.com": 0, "mnist.example.com:80": 0}.items():
            channel = Channel(address, authority=authority)
            assert channel.call(ECHO, b"x", 10).status == status
            channel.close()


@needs("haproxy")
def test_haproxy_ends_silent_connections(behind: str) -> None:
    with haproxy(behind, client="60ms") as address:
        channel = Channel(address)
        channel.connect(60)
        replies = answers(channel, 1, 12, 0.06)
        assert [reply for reply in replies if reply.status] == []
        assert channel.sent_calls == 12
        channel.close()
