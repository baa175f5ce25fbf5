"""Calls of a row end as each of them would by itself, whatever happens to some of them."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire import frames
from bench.wire.client import Channel
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.frames import DATA, HEADERS, frame
from bench.wire.http2_client import ClientConnection
from bench.wire.reply import Reply
from bench.wire.rows import Answer, Row
from bench.wire.unary import Request
from tests.wire.calls import ECHO
from tests.wire.servers import Peer, Server, echo, serving, silence, until
from tests.wire.wires import OK, OPENING, answer_frames, message, settled_client

HEAD = RequestHead(ECHO)


class Owner:
    """Starts rows and keeps how their calls ended."""

    def __init__(self) -> None:
        self.replies: dict[tuple[Row, int], Reply] = {}
        self.together: list[int] = []
        """Calls of each time that some were answered."""

    def answered(self, answers: Sequence[Answer], done: float) -> None:
        self.together.append(len(answers))
        for row, stream, content in answers:
            self._keep(row, row.position(stream), Reply(0, "", content, row.sent, done))

    def ended(self, row: Row, position: int, reply: Reply) -> None:
        self._keep(row, position, reply)

    def _keep(self, row: Row, position: int, reply: Reply) -> None:
        assert (row, position) not in self.replies, "a call that ends twice"
        self.replies[row, position] = reply

    def start(self, channel: Channel, contents: Sequence[bytes], timeout: float | None = None) -> Row:
        row = Row(channel.head(ECHO, timeout), contents, self)
        gevent.get_hub().loop.run_callback(channel.start_row, row)
        return row

    def ends(self, row: Row) -> list[Reply]:
        """How all calls of a row have ended, in their order."""
        until(lambda: sum(of is row for of, _ in self.replies) == len(row.messages))
        assert row.left == 0
        return [self.replies[row, position] for position in range(len(row.messages))]


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def rowing(channel: Channel) -> Channel:
    """A channel that has made calls, so that it knows what stands in front of them and behind them."""
    for timeout in (None, None, 0.2, 5.0):
        assert channel.call(ECHO, b"first", timeout).status == 0
    return channel


CONTENTS = [b"%d" % number * (number % 4 * 20) for number in range(60)]


def test_each_call_gets_its_own_answer_and_its_instants(rowing: Channel, owner: Owner) -> None:
    before = rowing.sent_calls
    row = owner.start(rowing, CONTENTS, 5.0)
    replies = owner.ends(row)
    assert [reply.message for reply in replies] == CONTENTS
    assert all(reply.sent is not None and reply.sent < reply.done for reply in replies)
    assert max(owner.together) > 10, "they came one by one"
    assert rowing.sent_calls == before + 60
    assert rowing.in_flight == 0
    assert rowing._deadlines.next() is None or not any(rowing._deadlines._queues.values())


def test_calls_of_several_owners_and_others_mix(rowing: Channel) -> None:
    owners = [Owner(), Owner()]
    rows = [owner.start(rowing, [b"%d/%d" % (of, n) for n in range(20)]) for of, owner in enumerate(owners)]
    alone = gevent.spawn(rowing.call, ECHO, b"alone")
    for of, (owner, row) in enumerate(zip(owners, rows, strict=True)):
        assert [reply.message for reply in owner.ends(row)] == [b"%d/%d" % (of, n) for n in range(20)]
    assert alone.get(timeout=60).message == b"alone"


def test_an_owner_that_raises_harms_no_other(rowing: Channel, owner: Owner) -> None:
    class Raising(Owner):
        def answered(self, answers: Sequence[Answer], done: float) -> None:
            raise ValueError("as told")

    problems: list[Any] = []
    hub, bad = gevent.get_hub(), Raising()
    inner, hub.handle_error = hub.handle_error, lambda *problem: problems.append(problem)
    try:
        for each in rowing._links:
            each._on_error = hub.handle_error
        bad.start(rowing, [b"x"] * 3)
        row = owner.start(rowing, [b"y"] * 3)
        assert [reply.message for reply in owner.ends(row)] == [b"y"] * 3
    finally:
        hub.handle_error = inner
    assert [problem[1] for problem in problems] == [ValueError]


def test_calls_that_fail_do_so_each_for_itself(server: Server, rowing: Channel, owner: Owner) -> None:
    refused: list[int] = []

    def answer(peer: Peer, request: Request) -> None:
        if request.message == b"error":
            peer.connection.respond(request.stream, status=5, details="nothing here")
        elif request.message == b"reset":
            peer.send(frames.rst_stream(request.stream, frames.CANCEL))
        elif request.message == b"again" and not refused:
            refused.append(request.stream)
            peer.send(frames.rst_stream(request.stream, frames.REFUSED_STREAM))
        else:
            echo(peer, request)

    server.answer = answer
    contents = [b"a", b"error", b"b", b"reset", b"c", b"again", b"d"]
    replies = owner.ends(owner.start(rowing, contents))
    assert [reply.status for reply in replies] == [0, 5, 0, 1, 0, 0, 0]
    assert replies[1].details == "nothing here"
    assert [reply.message for reply in replies if not reply.status] == [b"a", b"b", b"c", b"again", b"d"]
    assert all(reply.sent is not None for reply in replies)


def test_goaway_sends_again_what_was_not_processed(server: Server, rowing: Channel, owner: Owner) -> None:
    server.answer = silence
    old = server.peers[0]
    row = owner.start(rowing, [b"%d" % number for number in range(6)])
    until(lambda: len(old.requests) >= 9)
    before, server.answer = rowing.sent_calls, echo
    last = old.requests[-4].stream
    old.send(frames.goaway(last, frames.NO_ERROR))
    for request in old.requests[-6:-3]:
        echo(old, request)
    old.flush()
    replies = owner.ends(row)
    assert [reply.message for reply in replies] == [b"%d" % number for number in range(6)]
    assert rowing.retries == 3
    assert rowing.sent_calls == before
    assert len({reply.sent for reply in replies}) == 1, "sent is the first attempt's"


@pytest.mark.parametrize("way", ["lost", "closed", "protocol error"])
def test_what_is_under_way_ends_with_the_connection(
    server: Server, rowing: Channel, owner: Owner, way: str
) -> None:
    server.answer = silence
    row = owner.start(rowing, [b"x"] * 5, 5.0)
    until(lambda: len(server.requests) >= 8)
    if way == "lost":
        server.drop()
    elif way == "closed":
        rowing.close()
    else:
        server.peers[0].send(frame(frames.PING, 0, 0, b"short"))
    expected = {"lost": 14, "closed": 1, "protocol error": 13}[way]
    assert [reply.status for reply in owner.ends(row)] == [expected] * 5


def test_a_deadline_ends_those_that_are_left(server: Server, rowing: Channel, owner: Owner) -> None:
    server.answer = lambda peer, request: None if request.message == b"late" else echo(peer, request)
    row = owner.start(rowing, [b"a", b"late", b"b", b"late"], 0.2)
    replies = owner.ends(row)
    assert [reply.status for reply in replies] == [0, 4, 0, 4]
    assert all(0.2 <= reply.done - (reply.sent or 0) < 5 for reply in replies if reply.status)
    assert rowing.in_flight == 0
    server.answer = echo
    assert rowing.call(ECHO, b"next", 5.0).message == b"next"


def test_without_a_connection_calls_wait_or_fail(owner: Owner) -> None:
    with serving() as server:
        channel = Channel(server.address)
        replies = owner.ends(owner.start(channel, [b"early"] * 3, 5.0))
        assert [reply.message for reply in replies] == [b"early"] * 3
    server.drop()
    until(lambda: channel._failure is not None)
    replies = owner.ends(owner.start(channel, [b"down"] * 3))
    assert [(reply.status, reply.sent) for reply in replies] == [(14, None)] * 3
    channel.close()


def test_two_connections_share_a_row(owner: Owner) -> None:
    with serving() as server:
        channel = Channel(server.address, connections=2)
        until(lambda: len(channel._ready) == 2)
        owner.start(channel, CONTENTS)
        until(lambda: len(owner.replies) == 60)  # call by call, and then in two rows
        before = [len(peer.requests) for peer in server.peers]
        owner.start(channel, CONTENTS)
        until(lambda: len(owner.replies) == 120)
        assert sorted(reply.message for reply in owner.replies.values()) == sorted(CONTENTS * 2)
        assert [len(peer.requests) for peer in server.peers] == [count + 30 for count in before]
        assert max(owner.together) > 10
        channel.close()


@pytest.mark.parametrize("options", [{"most_streams": 4}, {"stream_window": 50}], ids=str)
def test_a_row_that_does_not_fit_leaves_bit_by_bit(options: dict[str, int], owner: Owner) -> None:
    with serving(**options) as server:
        channel = Channel(server.address)
        assert channel.call(ECHO, b"first").status == 0
        contents = [b"%d" % n * 40 for n in range(30)]
        assert [r.message for r in owner.ends(owner.start(channel, contents))] == contents
        channel.close()


def practised(**options: int) -> ClientConnection:
    """A client that knows what stands in front of calls of HEAD and around their answers."""
    client = settled_client(**options)
    for _ in range(2):
        first = Exchange(HEAD, b"first")
        client.request(first)
        client.receive(answer_frames(first.stream, b"first"))
    client.take()
    return client


def rows_and_singles(data: bytes, cut: int, *, rows: bool) -> tuple[Any, ...]:
    """All that can be seen of a client whose calls belong to rows, or do not, as it reads these bytes."""
    client = practised(largest_message=5000, connection_window=70_000)
    made: dict[int, Exchange] = {}
    answers: dict[int, bytes] = {}
    if rows:
        row = Row(HEAD, [b"question"] * 6, Owner())
        row.make = lambda row, at: made.setdefault(at, Exchange(row.head, row.messages[at]))
        assert client.request_row(row)
        row.sent = 1.0
    else:
        for at in range(6):
            made[at] = Exchange(HEAD, b"question")
            client.request(made[at])
    client.take()
    for at in range(0, len(data), cut):
        client.receive(data[at : at + cut])
        if rows:
            answers |= {row.position(stream): content for _, stream, content in client.rows.answers}
    ends = [
        (0, "", answers[at])
        if at in answers
        else (made[at].status, made[at].details, made[at].message)
        if at in made
        else (None, "", None)
        for at in range(6)
    ]
    return ends, client.closed, client.take(), client._credit, client.in_flight, len(client.returned)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.sampled_from([7, 100, 10**6]))
def test_rows_and_single_calls_come_to_the_same(seed: int, spoiled: int, cut: int) -> None:
    rng = random.Random(seed)
    streams = [5, 7, 9, 11, 13, 15]
    rng.shuffle(streams)
    parts = []
    for stream in streams:
        content = rng.randbytes(rng.choice([0, 5, 5, 300, 4995, 4996]))
        divided = frame(HEADERS, 4, stream, OPENING) + frame(DATA, 0, stream, message(content)[:3])
        divided += frame(DATA, 0, stream, message(content)[3:]) + frame(HEADERS, 5, stream, OK)
        error = frame(HEADERS, 5, stream, OPENING + b"\x00\x0bgrpc-status\x015")
        others = [divided, error, frame(frames.PING, 0, 0, bytes(8)), frames.rst_stream(stream, 8)]
        others += [frames.goaway(stream, frames.NO_ERROR), answer_frames(stream, content)[:-9]]
        parts.append(rng.choice([answer_frames(stream, content)] * 8 + others))
    data = bytearray(b"".join(parts))
    for _ in range(spoiled):
        data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
    expected = rows_and_singles(bytes(data), cut, rows=False)
    found = rows_and_singles(bytes(data), cut, rows=True)
    plain = [end == (None, "", None) for end in expected[0]]
    assert [end for end, none in zip(found[0], plain, strict=True) if not none] == [
        end for end, none in zip(expected[0], plain, strict=True) if not none
    ]
    assert found[1:] == expected[1:]


def test_an_answer_before_the_request_has_gone_is_no_plain_one() -> None:
    client = practised()
    row = Row(HEAD, [b"x"] * 2, Owner())
    row.make = lambda row, at: Exchange(row.head, row.messages[at])
    assert client.request_row(row)
    (ended,) = client.receive(answer_frames(row.first, b"early"))
    assert (ended.message, ended.sent) == (b"early", None)
    assert client.rows.answers == []


def test_the_block_that_fills_the_table_is_sent_once_only() -> None:
    """It would enter the server's table again with each call."""
    client: ClientConnection = settled_client()
    for taken in (False, False, True):
        assert client.request_row(Row(HEAD, [b"x"] * 2, Owner())) == taken
        assert bool(client.take()) == taken
        client.request(Exchange(HEAD, b""))
        client.take()


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    yield
    gevent.sleep(0)
