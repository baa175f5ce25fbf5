"""The end of a run's load: as planned, asked for sooner, or broken off by this tool."""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import gevent

from bench.load.abort_rules import Limits, Watch
from bench.load.locust_glue.interrupts import Interrupts
from bench.load.run_folder import RunFolder
from bench.runs.recording import FINISHED, INTERRUPTED

log = logging.getLogger("bench")

CHECK: Final = "interrupted"
ABORTED: Final = "aborted"
"""The check of a run that a limit of `--abort-if` has ended, and the kind of the event."""


class Ending:
    """Of the test that runs."""

    def __init__(self, environment: Any, stop: Callable[[], object]) -> None:
        """stop: ends the load; runs in a greenlet of its own."""
        self._environment, self._stop = environment, stop
        self.interrupts: Interrupts | None = None
        self.state = FINISHED
        """Of the run, once its load has ended."""
        self._reason: str | None = None
        self._aborted = self._decided = False
        self._planned: float | None = None

    def begin(self, called: float, origin: float, folder: RunFolder, limits: Limits = ()) -> None:
        """A run begins at `origin`; Locust counts its run time from `called` on. Both on perf_counter's clock.

        limits: those that end its load as soon as what is recorded into the folder exceeds one of them.
        """
        self.state, self._reason = FINISHED, None
        self._planned = None
        self._aborted = self._decided = False

        def abort(reason: str) -> None:
            if self._decided:  # the last answers of a load that has ended come in
                return
            log.error("the load ends: %s", reason)
            folder.event(time.perf_counter() - origin, ABORTED, reason)
            self._aborted = True
            self.break_off(reason)
            gevent.spawn(self._stop)

        if limits:
            folder.update(abort_if=[limit.text for limit in limits])
            folder.listeners.append(Watch(limits, origin, abort).add)
        seconds = getattr(self._environment.parsed_options, "run_time", None)
        if isinstance(seconds, int | float) and seconds and not self._environment.shape_class:
            self._planned = called + seconds - origin

    def break_off(self, reason: str) -> None:
        """The load cannot go on, for a reason that a user has to mend."""
        self._reason = self._reason or reason

    def completed(self) -> None:
        """Everything that was to be sent has been sent, however long that took."""
        self._planned = None

    def decide(self, *, full: bool, scripted: bool) -> None:
        """The load ends. full: so is the disk. scripted: a scenario's script would have ended it."""
        self._decided = True
        parsed = self._environment.parsed_options
        endless = not (parsed.run_time or self._environment.shape_class or scripted)
        stopped = self.interrupts is not None and self.interrupts.broke_off(endless=endless)
        self.state = INTERRUPTED if stopped or full or self._reason is not None else FINISHED

    def facts(self, stopped: float | None) -> dict[str, Any]:
        """For the manifest: when the load was to end, in seconds of the run, and why it was broken off."""
        facts: dict[str, Any] = {"doubts": []}
        if self._planned is not None:
            facts["planned_end"] = self._planned
        if self._reason is not None:
            after = "" if stopped is None else f" after {stopped:.1f} s"
            reason = f"the load was aborted{after}: {self._reason}"
            remedy = "fix that, and run it again to its end"
            facts["doubts"] = [
                {"check": ABORTED if self._aborted else CHECK, "reason": reason, "remedy": remedy}
            ]
        return facts
