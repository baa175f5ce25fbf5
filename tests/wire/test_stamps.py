"""`sent` is the instant at which a request's last byte went to the kernel, whatever windows and sockets do to it."""

import contextlib
import itertools
import random
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.wire import frames, link
from bench.wire.dial import Session
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.http2_client import ClientConnection
from tests.wire.certificates import Certificates, issue
from tests.wire.wires import answer_frames

HEAD = RequestHead("/t.Test/Echo")
SIZES = [0, 1, 300, 16_379, 16_384, 40_000, 70_000]


class Clock:
    """A clock that no two looks see at the same instant."""

    def __init__(self) -> None:
        self._ticks = itertools.count(1)
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now = float(next(self._ticks))
        return self.now


class Kernel:
    """A socket that takes as many bytes as it is told to, and remembers when; what comes in is given to it."""

    def __init__(self, clock: Clock) -> None:
        self._pair = socket.socketpair()
        self._clock = clock
        self.room = 0
        self.wire = bytearray()
        self.taken: list[tuple[int, float]] = []
        """(bytes that had gone after it, instant before it) of each send."""
        self.incoming = b""

    def fileno(self) -> int:
        return self._pair[0].fileno()

    def send(self, data: Any) -> int:
        part = bytes(data[: self.room])
        if not part:
            raise BlockingIOError
        self.wire += part
        self.room -= len(part)
        self.taken.append((len(self.wire), self._clock.now))
        return len(part)

    def sendmsg(self, pieces: list[Any]) -> int:
        return self.send(b"".join(pieces))

    def recv(self, _: int) -> bytes:
        data, self.incoming = self.incoming, b""
        if not data:
            raise BlockingIOError
        return data

    def close(self) -> None:
        for end in self._pair:
            end.close()

    def instant_of(self, end: int) -> float:
        """When the send began that took the byte before this offset."""
        return next(instant for reached, instant in self.taken if reached >= end)


def ends_of(wire: bytes) -> dict[int, int]:
    """Offset behind the last byte of each whole request."""
    at, ends = len(frames.PREFACE), {}
    while at + 9 <= len(wire):
        word, flags, stream = frames.HEAD.unpack_from(wire, at)
        at += 9 + (word >> 8)
        if at <= len(wire) and word & 0xFF == frames.DATA and flags & frames.END_STREAM:
            ends[stream] = at
    return ends


class Conversation:
    """A link under test, and what a server that keeps the rules would see of it."""

    def __init__(self, clock: Clock, session: Session | None = None) -> None:
        self._clock = clock
        self.kernel = Kernel(clock)
        self.delivered: dict[Exchange, tuple[float | None, float]] = {}
        self.link = link.Link(self.kernel, session, ClientConnection("t:1"), self._deliver, lambda _: None)
        self.link._run_callback = lambda _: None
        self.link.open()
        self.calls: list[Exchange] = []
        self.flushed: dict[Exchange, float] = {}
        """When the first chance to leave after it was submitted was over."""

    def _deliver(self, call: Exchange, now: float) -> None:
        self.delivered[call] = (call.sent, now)
        if call.sent is None:  # as `Channel` does
            call.sent = now

    def submit(self, size: int) -> None:
        self.calls.append(Exchange(HEAD, bytes(size)))
        self.link.submit(self.calls[-1])

    def push(self, room: int) -> None:
        """The kernel has room for so many bytes more."""
        self.kernel.room = room
        if self.link._rest:
            self.link._on_writable()
        self.link._flush()
        self._note_flushed()

    def hear(self, data: bytes) -> None:
        self.kernel.incoming = data
        self.link._on_readable()
        self._note_flushed()

    def _note_flushed(self) -> None:
        for call in self.calls:
            self.flushed.setdefault(call, self._clock.now)

    def close(self) -> None:
        self.kernel.room = 0
        self.link.close()
        self.kernel.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(link, "time", one)
    return one


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from(SIZES)),
        st.tuples(st.just("push"), st.sampled_from([1, 9, 100, 5_000, 20_000, 1_000_000])),
        st.tuples(st.just("connection"), st.sampled_from([1, 7, 3_000, 65_535])),
        st.tuples(st.just("stream"), st.sampled_from([1, 7, 3_000, 65_535])),
        st.tuples(st.just("first window"), st.sampled_from([0, 10, 20_000, 65_535, 1_000_000])),
        st.tuples(st.just("answer"), st.integers(0, 5)),
        st.tuples(st.just("early answer"), st.integers(0, 5)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_a_request_is_stamped_when_its_last_byte_goes_and_when_it_could_not_leave_at_once(
    steps: list[tuple[str, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(link, "time", clock)
        talk = Conversation(clock)
        early: set[Exchange] = set()
        talk.hear(frames.settings({}))
        for step, number in [*steps, *[("connection", 2**20), ("stream all", 2**20), ("push", 2**22)] * 2]:
            under_way = [call for call in talk.calls if call not in talk.delivered and call.stream]
            chosen = under_way[number % len(under_way)] if under_way else None
            complete = ends_of(talk.kernel.wire)
            if step == "submit":
                talk.submit(number)
            elif step == "push":
                talk.push(number)
            elif step == "connection":
                talk.hear(frames.window_update(0, number))
            elif step == "first window":
                talk.hear(frames.settings({frames.INITIAL_WINDOW_SIZE: number}))
            elif step == "stream all":
                for call in under_way:
                    talk.hear(frames.window_update(call.stream, number))
            elif chosen is not None and step == "stream":
                talk.hear(frames.window_update(chosen.stream, number))
            elif chosen is not None and (chosen.stream in complete) == (step == "answer"):
                if step == "early answer":
                    early.add(chosen)
                talk.hear(answer_frames(chosen.stream, b"answer"))
        ends = ends_of(talk.kernel.wire)
        sent = 0
        for call in talk.calls:
            stamp, done = talk.delivered.get(call, (call.sent, clock.now))
            if call in early:
                assert stamp is None
                continue
            sent += 1
            assert stamp == talk.kernel.instant_of(ends[call.stream])
            assert stamp < done
            begin = stamp if call.held_since is None else call.held_since
            assert begin <= min(stamp, talk.flushed[call]), "a wait that is in no latency"
        assert talk.link.sent_calls == sent
        talk.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return issue(tmp_path_factory.mktemp("certificates"))


def sessions(files: Certificates) -> tuple[Session, ssl.SSLObject, ssl.MemoryBIO]:
    """A client's session, and the server's end with its incoming bytes."""
    context = ssl.create_default_context(cafile=files.ca)
    client = Session(context, "model.test")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = files.server_context().wrap_bio(incoming, outgoing, server_side=True)
    for _ in range(4):
        for end in (client._tls, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
            incoming.write(client._outgoing.read())
            client._incoming.write(outgoing.read())
    return client, server, incoming


@pytest.mark.parametrize("seed", range(3))
def test_over_tls_it_is_the_record_with_its_last_byte(files: Certificates, clock: Clock, seed: int) -> None:
    """Read back by the server's TLS, record by record, as the parts arrive."""
    rng = random.Random(seed)
    client, server, incoming = sessions(files)
    talk = Conversation(clock, client)
    plain, read, arrived = bytearray(), 0, dict[int, float]()
    for _ in range(60):
        for _ in range(rng.choice([0, 0, 0, 4])):
            talk.submit(rng.choice(SIZES[:4]))
        talk.push(rng.choice([100, 5_000, 17_000, 40_000]))
        parts = [part for part in talk.kernel.taken if part[0] > read]
        for reached, instant in parts:
            incoming.write(bytes(talk.kernel.wire[read:reached]))
            read = reached
            plain += b"".join(readable(server))
            for stream in ends_of(plain):
                arrived.setdefault(stream, instant)
    assert len(arrived) > 3
    for call in talk.calls:
        assert call.sent == arrived.get(call.stream)
    talk.close()


def readable(server: ssl.SSLObject) -> Iterator[bytes]:
    while True:
        try:
            yield server.read(16_384)
        except ssl.SSLWantReadError:
            return
