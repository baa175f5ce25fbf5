"""What channels leave behind, in a process of its own: others of a test process may leave and begin things meanwhile.

Prints the open files and greenlets that are more after twenty channels than after one; nothing where none are.
"""

import gc
from pathlib import Path

import gevent

from bench.wire.client import Channel
from tests.wire.calls import ECHO
from tests.wire.servers import serving, until


def main() -> None:
    with serving() as server:

        def once() -> None:
            channel = Channel(server.address, connections=2)
            assert channel.call(ECHO, b"x", 60.0).message == b"x"
            channel.close()
            until(lambda: not server.peers)

        once()
        before = _held()
        for _ in range(20):
            once()
        try:
            # what the last one left may take a turn of the loop to end; what stays never does
            until(lambda: all(len(now) <= len(then) for now, then in zip(_held(), before, strict=True)), 20)
        except AssertionError:
            print(before, _held())


def _held() -> tuple[list[str], list[str]]:
    gc.collect()
    descriptors = Path("/proc/self/fd")
    files = [one.name for one in descriptors.iterdir()] if descriptors.exists() else []
    return files, [repr(one) for one in gc.get_objects() if isinstance(one, gevent.Greenlet)]


if __name__ == "__main__":
    main()
