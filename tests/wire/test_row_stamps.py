"""Instants of the calls of a row: each is stamped when its last byte goes."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.wire import frames, link
from bench.wire.exchange import Exchange
from bench.wire.reply import Reply
from bench.wire.rows import Answer, Row
from tests.wire.test_rows import HEAD
from tests.wire.test_stamps import Clock, Conversation, ends_of
from tests.wire.wires import answer_frames

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("row"), st.integers(1, 6), st.sampled_from([0, 1, 300, 16_379, 40_000])),
        st.tuples(st.just("single"), st.just(1), st.sampled_from([0, 300, 40_000])),
        st.tuples(st.just("push"), st.just(0), st.sampled_from([1, 9, 100, 5_000, 20_000, 1_000_000])),
        st.tuples(st.just("answer"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("reset"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("window"), st.just(0), st.sampled_from([7, 3_000, 65_535])),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_a_call_of_a_row_is_stamped_when_its_last_byte_goes(steps: list[tuple[str, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(link, "time", clock)
        talk = Conversation(clock)
        talk.hear(frames.settings({frames.MAX_FRAME_SIZE: 100_000}))
        talk.hear(frames.settings({frames.INITIAL_WINDOW_SIZE: 2**20}))
        ledger = Ledger(talk)
        for _ in range(2):
            ledger.single(10)
            talk.push(1000)
        for step, number, size in [*steps, ("window", 0, 2**22), ("push", 0, 2**22), ("push", 0, 2**22)]:
            complete = ends_of(talk.kernel.wire)
            under_way = sorted(stream for stream in complete if stream not in ledger.stamps)
            if step == "row":
                ledger.row(number, size)
            elif step == "single":
                ledger.single(size)
            elif step == "push":
                talk.push(size)
            elif step == "window":
                talk.hear(frames.window_update(0, size))
            elif under_way:
                stream = under_way[number % len(under_way)]
                reset = frames.rst_stream(stream, frames.CANCEL)
                talk.hear(answer_frames(stream, b"answer") if step == "answer" else reset)
        for stream in sorted(ends_of(talk.kernel.wire)):
            if stream not in ledger.stamps:
                talk.hear(answer_frames(stream, b"answer"))
        ends = ends_of(talk.kernel.wire)
        assert len(ends) == ledger.count == talk.link.sent_calls
        assert ledger.stamps == {stream: talk.kernel.instant_of(end) for stream, end in ends.items()}
        talk.close()


class Ledger:
    """Submits calls to a link, in rows or one by one, and keeps the stamp of each that has ended."""

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.stamps: dict[int, float | None] = {}
        self.count = 0
        talk.link._deliver = self._deliver

    def single(self, size: int) -> None:
        self.count += 1
        self.talk.link.submit(Exchange(HEAD, bytes(size)))

    def row(self, count: int, size: int) -> None:
        row = Row(HEAD, [bytes(size)] * count, self)
        row.make = lambda row, at: Exchange(row.head, row.messages[at])
        self.count += count
        if not self.talk.link.submit_row(row, False):
            for content in row.messages:
                self.talk.link.submit(Exchange(HEAD, content))

    def answered(self, answers: Sequence[Answer], done: float) -> None:
        for row, stream, _ in answers:
            assert stream not in self.stamps
            assert row.sent < done
            self.stamps[stream] = row.sent

    def ended(self, row: Row, position: int, reply: Reply) -> None:
        raise AssertionError("its calls are this test's")

    def _deliver(self, call: Exchange, now: float) -> None:
        assert call.stream not in self.stamps
        self.stamps[call.stream] = call.sent
        if call.sent is None:
            call.sent = now


def test_a_call_that_ended_before_it_had_gone_is_not_counted_as_sent() -> None:
    talk = Conversation(Clock())
    talk.hear(frames.settings({}))
    ledger = Ledger(talk)
    for _ in range(2):
        ledger.single(10)
        talk.push(1000)
    ledger.row(3, 10)
    talk.hear(answer_frames(7, b"early"))
    talk.push(1000)
    for stream in (1, 3, 5, 9):
        talk.hear(answer_frames(stream, b"answer"))
    assert ledger.stamps[7] is None
    assert None not in [ledger.stamps[stream] for stream in (1, 3, 5, 9)]
    assert talk.link.sent_calls == 4
    talk.close()


def test_calls_of_a_row_that_a_server_gives_back_before_all_have_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are on streams of another connection by the time at which this one's kernel takes a part of the row."""
    clock = Clock()
    monkeypatch.setattr(link, "time", clock)
    talk = Conversation(clock)
    talk.hear(frames.settings({}))
    ledger = Ledger(talk)
    for _ in range(2):
        ledger.single(10)
        talk.push(1000)
    row = Row(HEAD, [bytes(100)] * 4, ledger)
    row.make = lambda row, at: Exchange(row.head, row.messages[at])
    assert talk.link.submit_row(row, True)
    talk.link._scheduled = False
    talk.link.connection.receive(frames.goaway(row.first + 2, frames.NO_ERROR))
    returned = talk.link.connection.returned
    assert len(returned) == 2
    for call, stream in zip(returned, (1, 2**20 + 1), strict=True):
        call.renew()
        call.stream = stream
    talk.push(300)
    talk.push(10_000)
    ends = ends_of(talk.kernel.wire)
    stamps = [row.singles[position].sent for position in range(4)]
    assert stamps == [talk.kernel.instant_of(ends[row.first + 2 * position]) for position in range(4)]
    assert talk.link.sent_calls == 6
    talk.close()
