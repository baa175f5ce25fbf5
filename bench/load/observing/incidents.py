"""Incidents of a load process at one instant: its wall clock is stepped, or a server ends connections.

Nothing of it need show in a request: runs are measured by CLOCK_MONOTONIC, and what a server gives back is sent again.
"""

import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bench.load.engine.timers import Timer
from bench.load.observing.telemetry import Values
from bench.runs.recording import CLOCK_STEPPED, CONNECTION_ENDED
from bench.wording import counted

LOOK_SECONDS: Final = 0.05
"""The clocks are compared so often; each look costs 20 us."""
LEAST_STEP: Final = 0.05
"""Seconds of the shortest step that is noted: NTP slews by what is shorter, and a look sees 25 us of that at most."""
SURE_SECONDS: Final = 0.005
"""Between two readings of one clock, so that the other's, read between them, belongs to them."""
TOGETHER_SECONDS: Final = 0.25
"""Between two ends of connections that are noted as one."""
MOST: Final = 20
"""Entries of a second from which on reasons are not told apart."""


class Note(Protocol):
    """Takes what happened."""

    def __call__(self, at: float, kind: str, text: str, **values: float | str) -> object:
        """At an instant on perf_counter's clock."""
        ...


class WallClockProbe:
    """Notes steps of the wall clock that this process reads."""

    def __init__(self, source: str, note: Note) -> None:
        self.source, self._note = source, note
        self._steps: list[tuple[float, float]] = []
        self._offset = time.time() - time.perf_counter()
        self._timer = Timer(self._look)
        self._timer.set(time.perf_counter() + LOOK_SECONDS)

    def read(self, seconds: float) -> Values:
        """No values; notes the steps since the last reading."""
        steps, self._steps = self._steps, []
        for at, step in steps:
            self._note(
                at, CLOCK_STEPPED, f"by {step:+.3f} s in {self.source}; no time here is measured by it"
            )
        return {}

    def close(self) -> None:
        """Note the rest, and look no more."""
        self._timer.close()
        self.read(0.0)

    def _look(self) -> None:
        before, wall, after = time.perf_counter(), time.time(), time.perf_counter()
        self._timer.set(after + LOOK_SECONDS)
        if after - before > SURE_SECONDS:
            return
        step, self._offset = wall - before - self._offset, wall - before
        if abs(step) >= LEAST_STEP:
            self._steps.append((before, step))


@dataclass
class _Ends:
    reason: str
    begin: float
    last: float
    count: int = 1


class ConnectionsProbe:
    """Notes the ends of connections that were up, with the reason."""

    def __init__(self, source: str, channel: Any, note: Note) -> None:
        self.source, self._channel, self._note = source, channel, note
        self._ends: list[_Ends] = []
        channel.on_left = self._left

    def read(self, seconds: float) -> Values:
        """No values; notes what has ended since the last reading."""
        ended, self._ends = self._ends, []
        for each in ended:
            text = f"{counted(each.count, 'connection')} of {self.source}: {each.reason}"
            self._note(each.begin, CONNECTION_ENDED, text, lasting=each.last - each.begin, count=each.count)
        return {}

    def close(self) -> None:
        """Note the rest, and look no more."""
        self._channel.on_left = lambda reason: None
        self.read(0.0)

    def _left(self, reason: str) -> None:
        """Runs in the hub, where nothing may be written."""
        now = time.perf_counter()
        for each in self._ends:
            if now - each.last <= TOGETHER_SECONDS and (each.reason == reason or len(self._ends) >= MOST):
                each.last, each.count = now, each.count + 1
                return
        self._ends.append(_Ends(reason, now, now))
