"""Presence of the workers of a master: one that is silent is named, one that is gone is given up.

Locust gives a worker up after four seconds without a heartbeat, and its part of the load with it, although it may only be
held up: by its machine, or by what it does. Here it is the connection that says whether a worker is there. Once a test has
ended, nothing is left that a worker could do: one that hangs is waited for as long as its last answers are.
"""

import logging
import math
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
"""And given up for that after so long, while a test runs."""


class Presence:
    """Looks after the workers of one master until it quits."""

    def __init__(
        self,
        runner: Any,
        title: Callable[[str], str],
        remedy: Callable[[str], str],
        lost: Callable[[str, float, bool], object],
    ) -> None:
        """title: names a worker to the user. remedy: says how one that hangs is ended.

        lost: called with a worker that has ended without a word, the instant on perf_counter's clock at which it was last
        heard of, and whether there are others.
        """
        self._runner, self._title, self._remedy, self._lost = runner, title, remedy, lost
        self._heard: dict[str, float] = {}
        self._silent: set[str] = set()
        self.hanging: set[str] = set()
        """Workers that were given up although their connection is up."""
        self._patience, self._since = float(HELD_UP_SECONDS), -math.inf
        internals.miss_workers_after(HELD_UP_SECONDS, runner)
        internals.stop_without_missing(runner)
        runner.environment.events.heartbeat_sent.add_listener(self._on_heartbeat)
        gevent.spawn(self._look)

    def begin(self) -> None:
        """A test begins."""
        self._patience, self._since = HELD_UP_SECONDS, -math.inf

    def end(self, seconds: float) -> None:
        """A test has ended: a worker that is silent for so long from now on is given up."""
        self._patience, self._since = seconds, time.perf_counter()

    def _on_heartbeat(self, client_id: str, **_: Any) -> None:
        """Locust answers a worker's heartbeat."""
        now = time.perf_counter()
        self.hanging.discard(client_id)
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
            present = [
                node.id
                for node in self._runner.clients.all
                if node.state != STATE_MISSING and not internals.given_up(node)
            ]
            self._heard = {client: self._heard.get(client, now) for client in present}
            self._silent &= set(present)  # one that was given up may come back
            quiet = [client for client in present if now - self._heard[client] > LOOK_SECONDS]
            unreached = {client for client in quiet if not self._runner.server.reaches(client)}
            for client in quiet:
                silence = now - max(self._heard[client], self._since)
                if client in unreached & gone:
                    present.remove(client)
                    self._give_up(client, "is gone: its connection has ended", others=bool(present))
                elif client not in unreached and silence > self._patience:
                    present.remove(client)
                    self.hanging.add(client)
                    reason = f"has not answered for {silence:.0f} s since the load ended, and is waited for no longer"
                    self._give_up(client, f"{reason}; {self._remedy(client)}", others=bool(present))
                elif client not in unreached:
                    self._name(client, now - self._heard[client])
            gone = unreached

    def _give_up(self, client: str, reason: str, *, others: bool) -> None:
        log.warning("%s %s", self._title(client), reason)
        self._lost(client, self._heard[client], others)
        internals.give_up(self._runner, client)

    def _name(self, client: str, silence: float) -> None:
        if silence > QUIET_SECONDS and client not in self._silent:
            self._silent.add(client)
            log.warning(
                "%s has been silent for %.1f s: it is held up, or hangs; it is waited for, up to %.0f s; %s",
                self._title(client),
                silence,
                self._patience,
                self._remedy(client),
            )
