"""The end of a run's load: as planned, asked for sooner, or broken off by this tool."""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from locust.runners import STATE_CLEANUP, STATE_RUNNING, STATE_SPAWNING

from bench.load.abort_rules import Limits, Watch
from bench.load.engine.user_plan import Conductor
from bench.load.locust_glue import internals
from bench.load.locust_glue.interrupts import Interrupts
from bench.load.locust_glue.orders import LAST_SECONDS
from bench.load.run_folder import RunFolder
from bench.runs.recording import FINISHED, INTERRUPTED

log = logging.getLogger("bench")

CHECK: Final = "interrupted"
LOOK_SECONDS: Final = 0.05
"""So often it is looked whether a load has begun, or ended otherwise, once Locust's timer has gone off."""
ABORTED: Final = "aborted"
"""The check of a run that a limit of `--abort-if` has ended, and the kind of the event."""


class Ending:
    """Of the test that runs."""

    def __init__(self, environment: Any, begun: Callable[[], float | None]) -> None:
        """begun: when the load began, in seconds of the run; None: it has not."""
        self._environment, self._begun = environment, begun
        self.interrupts: Interrupts | None = None
        self.state = FINISHED
        """Of the run, once its load has ended."""
        self._reason: str | None = None
        self._aborted = self._completed = False
        self._decided = True
        self._origin: float | None = None
        self._planned: float | None = None
        self._timed = False
        """Whether a timer of Locust's ends the load."""
        self.conductor: Conductor | None = None
        """Of the users who follow a schedule; None: there are none."""

    def begin(self, **_: Any) -> None:
        """A test begins, its run somewhat later; the first listener of Locust's `test_start`."""
        self.state, self._reason, self._origin = FINISHED, None, None
        self._planned = None
        self._aborted = self._completed = self._decided = False
        self._timed = internals.timed(self._environment)

    def users_changed(self) -> None:
        """A form changes the users of the load that goes on, which ends the timer of the form that started it."""
        self._timed = internals.timed_by_command_line()

    def watch(self, origin: float, folder: RunFolder, limits: Limits = ()) -> None:
        """A run begins at `origin`, on perf_counter's clock.

        limits: those that end its load as soon as what is recorded into the folder exceeds one of them.
        """
        self._origin = origin

        def abort(reason: str) -> None:
            if self._decided:  # the last answers of a load that has ended come in
                return
            log.error("the load ends: %s", reason)
            folder.event(time.perf_counter() - origin, ABORTED, reason)
            self._aborted = True
            self.break_off(reason)
            gevent.spawn(self.stop)

        if limits:
            folder.update(abort_if=[limit.text for limit in limits])
            folder.listeners.append(Watch(limits, origin, abort).add)

    def stop(self) -> None:
        """End the load; Locust cannot be stopped from within the start of a test, and ignores it before the first user."""
        runner, headless = self._environment.runner, self._environment.parsed_options.headless
        with gevent.Timeout(10, False):
            while runner.state not in (STATE_SPAWNING, STATE_RUNNING):
                gevent.sleep(0.01)
        internals.spawn_no_more(self._environment)
        (runner.quit if headless else runner.stop)()

    def refuse(self, tell: Callable[[], object], *, begun: bool) -> None:
        """End the load, and tell so. begun: whether there is something to end.

        A start from the web form that is refused before is left, and no worker hears of it: one that is asked for users
        and at once to stop may end for good.
        """
        if begun or not internals.in_start(self._environment):
            gevent.spawn(self.stop).link_value(lambda _: tell())
            return
        self.decide(full=False, scripted=False)
        tell()
        internals.leave_start(self._environment)

    def wait(self) -> None:
        """Wait until the load has lasted as long as it should; Locust's own timer starts before the load does."""
        while not self._decided and (left := self._left()) > 0.0:
            gevent.sleep(min(left, LOOK_SECONDS))
        # where it is ended otherwise, its last answers are awaited
        while self._decided and self._environment.runner.state in (
            STATE_SPAWNING,
            STATE_RUNNING,
            STATE_CLEANUP,
        ):
            gevent.sleep(LOOK_SECONDS)

    def _left(self) -> float:
        """Seconds until the planned end, or until it is known; 0 where Locust's timer alone decides."""
        if self._origin is None or self._begun() is None:
            return LOOK_SECONDS
        planned = self.planned()
        if planned is None:
            return 0.0
        last = 0.0 if self.conductor is None else LAST_SECONDS  # nothing is due in them
        return self._origin + planned + last - time.perf_counter()

    def planned(self) -> float | None:
        """When the load is to end, in seconds of the run; None: nobody has said, or all that was to be sent is.

        A form without a run time, a key in the terminal and a program start tests that no timer ends: the options have the
        run time of another one then.
        """
        seconds = getattr(self._environment.parsed_options, "run_time", None)
        if not self._timed or not isinstance(seconds, int | float) or self._environment.shape_class:
            return None
        return None if self._completed else (self._begun() or 0.0) + seconds

    def break_off(self, reason: str) -> None:
        """The load cannot go on, for a reason that a user has to mend."""
        self._reason = self._reason or reason

    def completed(self) -> None:
        """Everything that was to be sent has been sent, however long that took."""
        self._completed = True

    def decide(self, *, full: bool, scripted: bool) -> None:
        """The load ends. full: so is the disk. scripted: a scenario's script would have ended it."""
        self._decided, self._planned = True, self.planned()
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
