"""Changes that a scenario makes to the server during its load, recorded in the run folder."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gevent

from bench import BenchError
from bench.load.options import ScenarioOptions
from bench.load.site import Site
from bench.load.target import EmbeddedServer, connect
from bench.protocol.api import Refused
from bench.target.inquiry import Inquiry, status

log = logging.getLogger("bench")

CALL_SECONDS = 60.0
LOOK_SECONDS = 0.02
"""Between two questions for a model's state; they cost the server 0.1 ms each."""


@dataclass
class Stage:
    """A test that runs, as the script of a scenario sees it. Lives in the first process only."""

    options: ScenarioOptions
    address: str
    origin: float
    """The start of the run on perf_counter's clock."""
    note: Callable[..., None]
    """Takes seconds of the run, kind and text of an event, and by name what else is to be known of it."""
    site: Site
    """Its folder is the embedded server's; it has none where the server was started by somebody else."""

    @property
    def now(self) -> float:
        """Seconds since the start of the run."""
        return time.perf_counter() - self.origin

    def wait(self, seconds: float) -> None:
        """Let so much time pass."""
        gevent.sleep(seconds)

    def mark(self, kind: str, text: str, **values: float | str) -> None:
        """Note in the run folder what happens now."""
        self.note(self.now, kind, text, **values)

    def states(self, model: str) -> dict[int, str]:
        """The versions of a model that the server knows, and their states. Raises BenchError."""
        with self._asking(model) as inquiry:
            return self._states(inquiry)

    def await_states(self, model: str, wanted: Callable[[dict[int, str]], bool], seconds: float) -> None:
        """Return as soon as a model's states are as wanted. Raises BenchError when that takes too long."""
        give_up = time.perf_counter() + seconds
        with self._asking(model) as inquiry:
            while not wanted(states := self._states(inquiry)):
                if time.perf_counter() > give_up:
                    listed = ", ".join(f"{number} {state}" for number, state in sorted(states.items()))
                    raise BenchError(
                        f"{model} at {self.address}: still {listed or 'without versions'} after {seconds:g} s; "
                        "does the server watch the folder (--file_system_poll_wait_seconds)?"
                    )
                gevent.sleep(LOOK_SECONDS)

    def reload(self, config: Any) -> None:
        """Replace the server's ModelServerConfig. Raises BenchError where it refuses."""
        with self._asking("") as inquiry:
            try:
                self.options.api.reload(inquiry.ask, config)
            except BenchError as error:
                reason = error.reason if isinstance(error, Refused) else error
                raise BenchError(f"{self.address} refuses the configuration: {reason}") from None

    @contextlib.contextmanager
    def _asking(self, model: str) -> Iterator[Inquiry]:
        """A connection beside the load's, so that questions never stand in a queue behind it."""
        channel = connect(self.address, self.options, connections=1)
        try:
            yield Inquiry(channel, self.address, self.options.api, model, timeout=CALL_SECONDS)
        finally:
            channel.close()

    def _states(self, inquiry: Inquiry) -> dict[int, str]:
        try:
            return {each.version: each.state for each in status(inquiry) if each.version is not None}
        except Refused as refused:
            raise BenchError(
                f"{self.address} does not report the state of {inquiry.model}: {refused.reason}"
            ) from None


def stage_at(
    server: EmbeddedServer | None,
    options: ScenarioOptions,
    address: str,
    origin: float,
    note: Callable[..., None],
) -> Stage:
    """The stage of a test of the server at an address, which may be the embedded one."""
    embedded = server is not None and address == server.address
    return Stage(
        options, address, origin, note, server.site if server and embedded else Site(options, log.info)
    )


def prepare(user_classes: Iterable[Any], stage: Stage) -> None:
    """Let the scenario do what has to be done before the load begins. Raises BenchError."""
    for user in user_classes:
        if (make_ready := getattr(user, "prepare", None)) is not None:
            make_ready(stage)


class Script:
    """The greenlet that a scenario's script runs in; ends the test where the user gave no time for it."""

    def __init__(
        self,
        act: Callable[[Stage], None],
        stage: Stage,
        *,
        ended: Callable[[], object],
        failed: Callable[[str], None],
    ) -> None:
        """ended: called when the script is through. failed: called with the reason why it cannot go on."""
        self._act, self._stage, self._ended, self._failed = act, stage, ended, failed
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """The load ends: so does the script, and notes where it was cut short."""
        if not self._greenlet.ready():
            self._greenlet.kill()
            self._stage.mark("cut", "the load ended before the scenario's script did")

    def _run(self) -> None:
        try:
            self._act(self._stage)
        except BenchError as error:
            self._stage.mark("failed", str(error))
            self._failed(str(error))
        else:
            self._ended()


def script_of(user_classes: Iterable[Any]) -> Callable[[Stage], None] | None:
    """The first script that one of the user classes has."""
    scripts = (getattr(user, "script", None) for user in user_classes)
    return next((script for script in scripts if script is not None), None)
