"""Presence of the workers of a master: one that is silent is named, one that is gone is given up.

Locust gives a worker up after four seconds without a heartbeat, and its part of the load with it, although it may only be
held up: by its machine, or by what it does. Here it is the connection that says whether a worker is there.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from locust.runners import STATE_MISSING

from bench.load.locust_glue import internals

log = logging.getLogger("bench")

LOOK_SECONDS: Final = 1.0
"""A worker sends a heartbeat so often; one whose connection broke has another before the next look."""
QUIET_SECONDS: Final = 4.0
"""A worker is named that is silent for so long."""
HELD_UP_SECONDS: Final = 600
"""And given up for that after so long."""


class Presence:
    """Looks after the workers of one master until it quits."""

    def __init__(
        self, runner: Any, title: Callable[[str], str], lost: Callable[[str, float, bool], object]
    ) -> None:
        """title: names a worker to the user.

        lost: called with a worker that has ended without a word, the instant on perf_counter's clock at which it was last
        heard of, and whether there are others.
        """
        self._runner, self._title, self._lost = runner, title, lost
        self._heard: dict[str, float] = {}
        self._silent: set[str] = set()
        internals.miss_workers_after(HELD_UP_SECONDS, runner)
        runner.environment.events.heartbeat_sent.add_listener(self._on_heartbeat)
        gevent.spawn(self._look)

    def _on_heartbeat(self, client_id: str, **_: Any) -> None:
        """Locust answers a worker's heartbeat."""
        now = time.perf_counter()
        if client_id in self._silent:
            self._silent.discard(client_id)
            silence = now - self._heard[client_id]
            log.warning("%s is there again, after %.1f s of silence", self._title(client_id), silence)
        self._heard[client_id] = now

    def _look(self) -> None:
        gone: set[str] = set()
        while internals.alive(self._runner):
            begun = time.perf_counter()
            gevent.sleep(LOOK_SECONDS)
            now = time.perf_counter()
            if now - begun > 2 * LOOK_SECONDS:  # held up itself: what was said meanwhile is still to be read
                continue
            present = [node.id for node in self._runner.clients.all if node.state != STATE_MISSING]
            self._heard = {client: self._heard.get(client, now) for client in present}
            self._silent &= set(present)  # one that was given up may come back
            quiet = [client for client in present if now - self._heard[client] > LOOK_SECONDS]
            unreached = {client for client in quiet if not self._runner.server.reaches(client)}
            for client in quiet:
                if client in unreached & gone:
                    present.remove(client)
                    self._give_up(client, others=bool(present))
                elif client not in unreached:
                    self._name(client, now - self._heard[client])
            gone = unreached

    def _give_up(self, client: str, *, others: bool) -> None:
        log.warning("%s is gone: its connection has ended", self._title(client))
        self._lost(client, self._heard[client], others)
        internals.give_up(self._runner, client)

    def _name(self, client: str, silence: float) -> None:
        if silence > QUIET_SECONDS and client not in self._silent:
            self._silent.add(client)
            log.warning(
                "%s has been silent for %.1f s: it is held up, or does not answer; it is waited for, up to %d s",
                self._title(client),
                silence,
                HELD_UP_SECONDS,
            )
