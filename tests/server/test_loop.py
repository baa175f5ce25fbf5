import os
import threading
import time
from collections.abc import Iterator

import pytest

from bench.server.net.loop import READ, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def test_timers_ring_in_order_and_never_early(loop: Loop) -> None:
    rung: list[tuple[str, float]] = []
    now = time.monotonic()
    for name, delay in (("c", 0.03), ("a", 0.0005), ("b", 0.006)):
        loop.call_at(now + delay, lambda name=name: rung.append((name, time.monotonic())))
    loop.call_at(now + 0.031, loop.stop)
    loop.run()
    assert [name for name, _ in rung] == ["a", "b", "c"]
    assert all(at >= now + delay for (_, at), delay in zip(rung, (0.0005, 0.006, 0.03), strict=True))


def test_timers_of_one_instant_ring_in_the_order_of_their_making(loop: Loop) -> None:
    rung: list[int] = []
    instant = time.monotonic()
    for number in range(5):
        loop.call_at(instant, lambda number=number: rung.append(number))
    loop.call_at(instant, loop.stop)
    loop.run()
    assert rung == [0, 1, 2, 3, 4]


def test_a_cancelled_timer_does_not_ring(loop: Loop) -> None:
    rung: list[str] = []
    loop.call_at(time.monotonic(), lambda: rung.append("x")).cancel()
    loop.call_at(time.monotonic() + 0.001, loop.stop)
    loop.run()
    assert rung == []


def test_calls_from_other_threads_run_in_the_loops_thread(loop: Loop) -> None:
    seen: list[int] = []

    def post() -> None:
        for _ in range(1000):
            loop.post(lambda: seen.append(threading.get_ident()))
        loop.post(loop.stop)

    thread = threading.Thread(target=post)
    thread.start()
    loop.run()
    thread.join()
    assert seen == [threading.get_ident()] * 1000


def test_what_a_turn_gathers_is_handled_after_its_events(loop: Loop) -> None:
    order: list[str] = []
    pipes = [os.pipe() for _ in range(3)]
    for reader, writer in pipes:
        loop.register(reader, READ, lambda _mask, reader=reader: (order.append("event"), os.read(reader, 1)))
        os.write(writer, b"x")
    loop.after_turn += [lambda: order.append("turn"), loop.stop]
    loop.run()
    assert order == ["event"] * 3 + ["turn"]
    for pipe in pipes:
        loop.unregister(pipe[0])
        os.close(pipe[0])
        os.close(pipe[1])


def test_a_descriptor_closed_by_an_event_of_the_same_turn_is_left_alone(loop: Loop) -> None:
    order: list[int] = []
    pipes = [os.pipe() for _ in range(2)]

    def first_wins(number: int) -> None:
        order.append(number)
        loop.unregister(pipes[1 - number][0])

    for number, (reader, writer) in enumerate(pipes):
        loop.register(reader, READ, lambda _mask, number=number: first_wins(number))
        os.write(writer, b"x")
    loop.after_turn.append(loop.stop)
    loop.run()
    assert len(order) == 1
    for pipe in pipes:
        os.close(pipe[0])
        os.close(pipe[1])
