"""Keep a connection up: again at once where it has served calls, after growing pauses where none comes about."""

import random
import time
from collections.abc import Callable
from typing import Any, Final

import gevent

from bench.wire.dial import ConnectError
from bench.wire.link import Link

_FIRST_PAUSE: Final = 0.02  # seconds; gRPC's 1 s would make a server's restart look longer than it was
_LONGEST_PAUSE: Final = 5.0
_PAUSE_GROWTH: Final = 1.01  # so a pause is a hundredth of the time for which it has been down, and no outage looks longer by more
_JITTER: Final = 0.2
_BREATH: Final = (
    0.01  # seconds between connections that a server ends in order before it has answered any call
)


def keep(
    connect: Callable[[], Link], admit: Callable[[Link], Any], fail: Callable[[str, str], Any], name: str
) -> None:
    """Run for ever, in a greenlet of its own: whatever goes wrong, it tries again.

    `admit` gets each link, `fail` why there will be none for a while, and what the user can do about it; `name`: of the address.
    """
    pause, fruitless = _FIRST_PAUSE, 0
    while True:
        try:
            link = connect()
        except ConnectError as problem:
            fail(str(problem), problem.remedy)
        except Exception as problem:  # noqa: BLE001  # without its keeper the connection would never come back
            fail(f"{name}: {problem!r}", "")
        else:
            up = time.perf_counter()
            admit(link)
            link.leaving.wait()
            fruitless += 1
            if link.answered or time.perf_counter() - up > pause:
                pause, fruitless = _FIRST_PAUSE, 0
            if fruitless < 2:  # once is an accident; a server that always hangs up gets pauses
                continue
            if link.connection.farewell == "":
                gevent.sleep(_BREATH)
                continue
            fail(
                f"{name}: {link.lost or f'the server sent GOAWAY {link.connection.farewell}'}, right after connecting",
                "",
            )
        gevent.sleep(pause * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311  # no secret
        pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE)
