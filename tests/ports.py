"""Ports for servers that have to be told theirs before they start."""

import itertools
import os
import random
import socket

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PORTS = range(10_000 + WORKER, 32_000, WORKERS)
"""Each of pytest's processes has its own, below those that Linux gives to connections and to listeners on port 0."""

_next = itertools.count(random.SystemRandom().randrange(len(PORTS)))


def free_port() -> int:
    """A port that nobody listens on, and that nobody else takes before the server does."""
    for number in itertools.islice(_next, len(PORTS)):
        port = PORTS[number % len(PORTS)]
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError(f"no port of {PORTS} is free")
