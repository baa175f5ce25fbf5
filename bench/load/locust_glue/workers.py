"""The master's side of a distributed test: records and clocks of its workers come together in one run folder."""

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from locust.rpc.protocol import Message
from locust.runners import STATE_MISSING

from bench.choices import Choices
from bench.chunk import Chunk
from bench.load import idle, session
from bench.load.causes import Causes, merged
from bench.load.idle import Answered
from bench.load.locust_glue.known_worker import KnownWorker
from bench.load.sources import sending_classes
from bench.load.streams import Counts, Plan

log = logging.getLogger("bench")

WAITING = "waiting for %s, up to %g s (request timeout, --deadline); Ctrl-C ends at once"
GOODBYE_SECONDS = 5.0
"""The master waits so much longer for the last records of its workers than those wait for their last answers."""
LEAVING_SECONDS = 2.0
"""And this long for those that have left Locust already: a Ctrl-C ends workers and master at once."""
AT_ONCE_SECONDS = 1.0
"""A worker that leaves so shortly before the master ends the test does it for the same reason."""
TOGETHER_SECONDS = 10.0
"""An open loop waits so long at the most for the users of all workers: the first arrivals are then those of the plan,
however long each worker takes to make its requests."""


class Workers:
    """The master's side: clocks answered, records taken in, last words waited for."""

    def __init__(self, environment: Any) -> None:
        self.environment, self.runner = environment, environment.runner
        self._known: dict[str, KnownWorker] = {}
        self._origin = 0.0
        self.rest: str | None = None  # the server's REST API
        self.wrong_answers: Causes = {}
        """By request name and cause, of all workers that have said their last words."""
        self.answered: list[Answered] = []
        """By the idle server, which all workers compare with."""
        self._keep: Callable[[int, Chunk], None] | None = None
        self._refused: Callable[[str], None] | None = None
        self._observe: Callable[..., None] | None = None
        self._deadline = 0.0
        self._awaiting = self._hurried = self._draining = False
        self._changed = Event()
        self._absent: set[str] = set()
        """Workers that were there when the test began and have not told of their users yet."""
        self._left_out: set[str] = set()
        """Workers whose records are left out, and who have been told so."""
        self.runner.register_message("bench-hello", self._on_hello)
        self.runner.register_message("bench-chunk", self._on_chunk)
        self.runner.register_message("bench-drained", self._on_drained)
        self.runner.register_message("bench-refused", self._on_refused)
        self.runner.register_message("bench-users", self._on_users)
        self.runner.register_message("bench-telemetry", self._on_telemetry)

    def begin(
        self,
        origin: float,
        keep: Callable[[int, Chunk], None],
        refused: Callable[[str], None],
        observe: Callable[..., None],
        deadline: float,
    ) -> None:
        """Start a test at `origin` on this process's clock, with a request timeout (`deadline`).

        `keep(worker, chunk)` takes the records; `observe(time, **values)` what workers observe of themselves.
        """
        self._known.clear()
        self.wrong_answers = {}
        self._deadline, self._hurried, self._draining = deadline, False, False
        self._absent = set(self.runner.clients)
        self._origin, self._keep, self._refused, self._observe = origin, keep, refused, observe

    def arriving(self) -> Counts:
        """Open-loop users of all workers that are connected: user class -> worker -> users.

        Empty while workers that take part from the beginning have not told of theirs.
        """
        if any(map(self._connected, self._absent)) and time.perf_counter() < self._origin + TOGETHER_SECONDS:
            return {}
        found: dict[str, dict[int, int]] = {}
        for client, known in self._known.items():
            there = self._connected(client)
            for name, users in known.arriving.items():
                found.setdefault(name, {})[known.number] = users if there else 0
        return found

    def _connected(self, client: str) -> bool:
        node = self.runner.clients.get(client)
        return node is not None and node.state != STATE_MISSING

    def tell(self, number: int, plan: Plan) -> None:
        """Send a plan to a worker."""
        for client, known in self._known.items():
            if known.number == number and client in self.runner.clients:
                self.runner.send_message("bench-plan", plan._asdict(), client_id=client)

    def drain(self) -> None:
        """Ask all workers to send nothing more, and for their last records."""
        self._draining = True
        for client in set(self.runner.clients):
            self.runner.send_message("bench-drain", client_id=client)

    def hurry(self) -> bool:
        """Have workers wait no longer for their last answers; False where nobody waits for them."""
        if not self._awaiting or self._hurried:
            return False
        self._hurried = True
        for client in set(self.runner.clients):
            self.runner.send_message("bench-hurry", client_id=client)
        self._changed.set()
        return True

    def finish(self) -> list[dict[str, Any]]:
        """Wait for the last records of all workers, and tell what each contributed.

        A worker that says nothing within the bound, or has left before, is told as `lost`.
        """
        self._awaiting = True
        begun = time.perf_counter()
        if not self._last_words_within(session.TELL_SECONDS, only_connected=True):
            log.info(WAITING, "the last answers of the load processes", self._deadline)
            patience = self._deadline + session.DEADLINE_MARGIN + GOODBYE_SECONDS
            while not self._hurried and time.perf_counter() < begun + patience:
                if self._last_words_within(session.TELL_SECONDS, only_connected=True):
                    break
        if self._hurried:
            self._last_words_within(GOODBYE_SECONDS, only_connected=True)
        self._last_words_within(LEAVING_SECONDS, only_connected=False)
        self._awaiting = False
        self._keep = None
        return [known.described(client) for client, known in self._known.items()]

    def idle(self) -> int:
        """Load processes that are connected and have taken no part in the test, such as one that came too late."""
        return sum(client not in self._known for client in self.runner.clients)

    def choices(self) -> Choices | None:
        """Which classes the answers to all workers gave; None where they are not kept."""
        parts = [known.choices for known in self._known.values() if known.choices is not None]
        return Choices.merged(parts) if parts else None

    def _last_words_within(self, seconds: float, *, only_connected: bool) -> bool:
        """Wait for the last words of all workers; False where some have not said them."""

        def expected(client: str) -> bool:
            return not only_connected or self._connected(client)

        def missing() -> bool:
            return any(not known.finished and expected(client) for client, known in self._known.items())

        with gevent.Timeout(seconds, False):
            while missing():
                self._changed.clear()
                self._changed.wait(0.5)  # a worker that leaves in between is no event here
        return not missing()

    def _on_hello(self, msg: Any, **_: Any) -> None:
        theirs, ours = msg.data["classes"], sending_classes(self.environment)
        if theirs != ours and self._refused is not None:
            self._refused(
                f"a worker has the user classes {', '.join(theirs) or 'none'} and the master has {', '.join(ours)}: "
                "start all of them with the same locustfile and the same classes"
            )
            return
        known = self._known.get(msg.node_id)
        if known is None:
            joined = time.perf_counter() - self._origin
            known = self._known[msg.node_id] = KnownWorker(len(self._known), joined=joined)
        answer = {
            "echo": msg.data["clock"],
            "clock": time.perf_counter(),
            "origin": self._origin,
            "rest": self.rest,
            "answered": None if msg.data["round"] else idle.sent(self.answered),
            "index": known.number,
            "count": max(self.runner.worker_count, len(self._known)),
        }
        self.runner.send_message("bench-origin", answer, client_id=msg.node_id)

    def _on_chunk(self, msg: Any, **_: Any) -> None:
        known = self._known.get(msg.node_id)
        if known is None or self._keep is None:
            self._leave_out(msg.node_id)
            return
        chunk = Chunk.from_bytes(msg.data["chunk"])
        known.recorded += len(chunk)
        self._keep(known.number, chunk)

    def _leave_out(self, client: str) -> None:
        """Records that belong to no test of ours: told once, and a worker that is not ours either is sent home."""
        if client in self._left_out:
            return
        self._left_out.add(client)
        if client in self._known or client in self.runner.clients:
            log.warning("worker %s: records that came after the end of the test are left out", client)
            return
        log.warning(
            "worker %s still sends load for another master, which is gone: it is told to quit, its records are left out",
            client,
        )
        self.runner.server.send_to_client(Message("quit", None, client))

    def _on_drained(self, msg: Any, **_: Any) -> None:
        known = self._known.get(msg.node_id)
        if known is None:
            return
        known.sent, known.unsent = msg.data["sent"], msg.data["unsent"]
        known.retries, known.addresses = msg.data["retries"], msg.data["addresses"]
        known.late_plans = msg.data["late_plans"]
        self.wrong_answers = merged([self.wrong_answers, msg.data["wrong_answers"]])
        if msg.data["choices"] is not None:
            known.choices = Choices.from_bytes(msg.data["choices"])
        known.clock_bound, known.finished = msg.data["clock_bound"], True
        if not self._draining:
            known.left = time.perf_counter() - self._origin
            gevent.spawn_later(AT_ONCE_SECONDS, self._tell_left, known)
        if known.recorded != msg.data["recorded"]:
            log.warning(
                "worker %d says %d records, %d came", known.number, msg.data["recorded"], known.recorded
            )
        self._changed.set()

    def _tell_left(self, known: KnownWorker) -> None:
        if not self._draining:  # else Ctrl-C reached the worker a moment sooner
            log.warning("load process %d left %.1f s after the start", known.number, known.left)

    def _on_users(self, msg: Any, **_: Any) -> None:
        known = self._known.get(msg.node_id)
        if known is not None:
            known.arriving = msg.data
            self._absent.discard(msg.node_id)

    def _on_telemetry(self, msg: Any, **_: Any) -> None:
        if self._observe is not None and self._keep is not None:
            self._observe(msg.data["time"], source=msg.data["source"], **msg.data["values"])

    def _on_refused(self, msg: Any, **_: Any) -> None:
        if self._refused is not None:
            self._refused(msg.data["reason"])
