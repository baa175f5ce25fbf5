"""bench.load.engine.timers: something happens in the loop at an instant, never before it."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from gevent.event import Event
from gevent.hub import get_hub

from bench.load.engine.timers import SPIN_SECONDS, SpinningTimer, Timer, TimerfdTimer

Kind = type[TimerfdTimer] | type[SpinningTimer]


class Bell:
    """Keeps the instants at which it rang."""

    def __init__(self) -> None:
        self.rung: list[float] = []
        self.next: Callable[[], None] = lambda: None
        self._changed = Event()

    def __call__(self) -> None:
        self.rung.append(time.perf_counter())
        self._changed.set()
        self.next()

    def wait(self, times: int) -> None:
        with gevent.Timeout(60):
            while len(self.rung) < times:
                self._changed.clear()
                self._changed.wait()


def turns(count: int) -> None:
    """Let the loop turn, so that whatever is ready runs."""
    for _ in range(count):
        gevent.sleep(0)


@pytest.fixture
def bell() -> Bell:
    return Bell()


class TurningTimer(TimerfdTimer):
    """One for which every instant is nearer than a sleep is worth."""

    def __init__(self, callback: Callable[[], None]) -> None:
        super().__init__(callback)
        self._near = 100.0


class SleepingTimer(TimerfdTimer):
    """One for which no instant is."""

    def __init__(self, callback: Callable[[], None]) -> None:
        super().__init__(callback)
        self._near = -100.0


@pytest.fixture(params=[TimerfdTimer, TurningTimer, SleepingTimer, SpinningTimer])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param is not SpinningTimer and sys.platform != "linux":
        pytest.skip("timerfd is Linux's")
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def timer(kind: Kind, bell: Bell) -> Iterator[TimerfdTimer | SpinningTimer]:
    timer = kind(bell)
    yield timer
    timer.close()


def test_linux_gets_the_better_timer() -> None:
    assert Timer is (TimerfdTimer if sys.platform == "linux" else SpinningTimer)


@pytest.mark.parametrize("seconds", [0.0003, SPIN_SECONDS, 0.02])
def test_rings_once_and_not_before_the_instant(
    timer: TimerfdTimer | SpinningTimer, bell: Bell, seconds: float
) -> None:
    due = time.perf_counter() + seconds
    timer.set(due)
    bell.wait(1)
    assert bell.rung[0] >= due
    turns(5)
    assert len(bell.rung) == 1


def test_an_instant_that_has_passed_rings_in_the_next_turn_and_not_within_set(
    timer: TimerfdTimer | SpinningTimer, bell: Bell
) -> None:
    timer.set(time.perf_counter() - 5)
    assert bell.rung == []
    bell.wait(1)


def test_the_callback_may_set_the_next_instant(timer: TimerfdTimer | SpinningTimer, bell: Bell) -> None:
    dues = [time.perf_counter() + 0.002 * i for i in range(20)]
    bell.next = lambda: timer.set(dues[len(bell.rung)]) if len(bell.rung) < len(dues) else None
    timer.set(dues[0])
    bell.wait(len(dues))
    assert all(rung >= due for rung, due in zip(bell.rung, dues, strict=True))
    turns(5)
    assert len(bell.rung) == len(dues)


def test_setting_again_replaces_the_instant(timer: TimerfdTimer | SpinningTimer, bell: Bell) -> None:
    now = time.perf_counter()
    timer.set(now + 30)
    timer.set(now + 0.005)
    bell.wait(1)
    timer.set(now)
    later = time.perf_counter() + 0.01
    timer.set(later)
    bell.wait(2)
    assert bell.rung[1] >= later


def test_cancelled_timers_do_not_ring_and_can_be_set_again(
    timer: TimerfdTimer | SpinningTimer, bell: Bell
) -> None:
    timer.set(time.perf_counter() + 0.001)
    timer.cancel()
    gevent.sleep(0.005)
    timer.set(time.perf_counter())
    timer.cancel()
    turns(5)
    assert bell.rung == []
    timer.set(time.perf_counter() + 0.001)
    bell.wait(1)


def test_the_loop_goes_on_with_other_things_until_then(
    timer: TimerfdTimer | SpinningTimer, bell: Bell
) -> None:
    for attempt in range(1, 6):  # a busy machine may take the processor away for all of such a time
        others = 0
        timer.set(time.perf_counter() + 0.01)
        while len(bell.rung) < attempt:
            gevent.sleep(0)
            others += 1
        if others > 10:
            return
    pytest.fail(f"{others} other things at the most")


def test_an_idle_timer_leaves_the_loop_alone(timer: TimerfdTimer | SpinningTimer, bell: Bell) -> None:
    timer.set(time.perf_counter())
    bell.wait(1)
    before = get_hub().loop.iteration
    gevent.sleep(0.05)
    assert get_hub().loop.iteration - before < 10


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
def test_a_sleep_for_what_is_near_gives_way_to_turns_and_back(bell: Bell) -> None:
    timer = TimerfdTimer(bell)
    timer._near = 0.003
    now = time.perf_counter()
    dues = [now + 0.01, now + 0.012, now + 0.03, now + 0.0301, now + 0.05]
    bell.next = lambda: timer.set(dues[len(bell.rung)]) if len(bell.rung) < len(dues) else None
    timer.set(now + 0.001)  # near, and replaced by one that is not
    timer.set(dues[0])
    bell.wait(len(dues))
    assert all(rung >= due for rung, due in zip(bell.rung, dues, strict=True))
    before = get_hub().loop.iteration
    gevent.sleep(0.05)
    assert get_hub().loop.iteration - before < 10
    assert len(bell.rung) == len(dues)
    timer.close()


def test_closing_gives_the_descriptor_back_and_silences_the_timer(kind: Kind, bell: Bell) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        timer = kind(bell)
        timer.set(time.perf_counter())
        timer.close()
        timer.close()
    turns(5)
    assert bell.rung == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_closing_within_the_callback(kind: Kind, bell: Bell) -> None:
    timer = kind(bell)
    bell.next = timer.close
    timer.set(time.perf_counter())
    bell.wait(1)
    turns(5)
    assert len(bell.rung) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
def test_no_descriptor_left_is_an_error_of_the_system(bell: Bell) -> None:
    import resource

    get_hub()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(TimerfdTimer(bell))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for timer in taken:
            timer.close()
