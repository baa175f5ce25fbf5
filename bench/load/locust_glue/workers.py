"""The master's side of a distributed test: records and clocks of its workers come together in one run folder."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gevent
from gevent.event import Event
from locust.runners import STATE_INIT, STATE_MISSING

from bench.load import reference_answers
from bench.load.engine.causes import Causes, merged
from bench.load.engine.user_plan import Counts, Plan
from bench.load.locust_glue import hello, internals, parent, reports, session
from bench.load.locust_glue.guard import Guard
from bench.load.locust_glue.known_worker import KnownWorker
from bench.load.locust_glue.presence import Presence
from bench.load.reference_answers import Answered
from bench.runs.choices import Choices
from bench.runs.chunk import Chunk
from bench.runs.recording import WORKER_LOST

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

    def __init__(self, environment: Any, finished: Event) -> None:
        """finished: set while no test is being finished."""
        self.environment, self.runner = environment, environment.runner
        internals.quit_with_workers(self.runner, self._end)
        self._finished = finished
        self._known: dict[str, KnownWorker] = {}
        self._origin = 0.0
        self.rest: str | None = None  # the server's REST API
        self.wrong_answers: Causes = {}
        """By request name and cause, of all workers that have said their last words."""
        self.answered: list[Answered] = []
        """By the idle server, which all workers compare with."""
        self._keep: Callable[[int, Chunk], None] | None = None
        self._refused: Callable[[str], None] | None = None
        self._used_up: Callable[[], None] | None = None
        self._observe: Callable[..., None] | None = None
        self._note: Callable[..., None] | None = None
        self._deadline = 0.0
        self._awaiting = self._hurried = self._draining = False
        self._changed = Event()
        self._begun: float | None = None
        self._planned: list[str] = []
        """Workers that are to take part from the beginning."""
        self._absent: set[str] = set()
        """Workers that were there when the test began and have not told of their users yet."""
        self._late: set[str] = set()
        """Workers whose records came after the end of the test."""
        self._names: Mapping[str, int] = {}
        self.guard = Guard(self.runner, self._title)
        self._presence = Presence(self.runner, self._title, self._remedy, self._on_lost)
        for kind, handle in (
            ("hello", self._on_hello),
            ("chunk", self._on_chunk),
            ("drained", self._on_drained),
            ("refused", self._on_refused),
            ("users", self._on_users),
            ("used-up", self._on_used_up),
            ("telemetry", self._on_telemetry),
            ("event", self._on_event),
        ):
            self.guard.listen(f"bench-{kind}", handle)

    def watch_forks(self, fail: Callable[[str], object]) -> None:
        """Call `fail` with a reason when a worker that was forked here ends before the first test begins.

        Locust would wait for it for ever.
        """

        def ended(number: int, count: int) -> None:
            if self.runner.state == STATE_INIT:
                fail(f"load process {number} of {count} ended before the test began; see its messages above")

        # Ctrl-C, which ends workers and master together, reaches some of them a moment sooner
        parent.watch_workers(partial(gevent.spawn_later, AT_ONCE_SECONDS, ended))

    def _end(self) -> None:
        """Wait until no test is being finished; workers that were forked here and hang would outlive this process."""
        self._finished.wait()
        for client, known in self._known.items():
            if client in self._presence.hanging and known.pid is not None:
                parent.end_fork(known.pid)

    def _on_lost(self, client: str, heard: float, others: bool) -> None:
        """A worker has ended without a word: an event of the test that it is part of, which ends with the last of them."""
        if self._keep is None or self._draining or self._note is None or self._refused is None:
            return
        if client in self._known or client in self._planned:
            self._note(heard - self._origin, WORKER_LOST, f"{self._title(client)} ended")
        if not others:
            self._refused("all load processes have ended; see their messages above")

    def begin(
        self,
        origin: float,
        *,
        names: Mapping[str, int],
        keep: Callable[[int, Chunk], None],
        refused: Callable[[str], None],
        used_up: Callable[[], None],
        observe: Callable[..., None],
        note: Callable[..., None],
        deadline: float,
    ) -> None:
        """Start a test at `origin` on this process's clock, with a request timeout (`deadline`).

        names: of the requests that are planned, with the number of examples that they are about.
        used_up: called where each request is sent once, when none is left.
        `keep(worker, chunk)` takes the records; `observe(time, **values)` what workers observe of themselves; `note(time, kind, text, **values)` events.
        """
        self._known.clear()
        self._presence.begin()
        self.wrong_answers = {}
        self.guard.begin()
        self._names = names
        self._deadline, self._hurried, self._draining = deadline, False, False
        self._planned = [client for client in self.runner.clients if self._connected(client)]
        self._absent, self._begun = set(self._planned), None
        self._origin, self._keep, self._refused, self._observe = origin, keep, refused, observe
        self._note, self._used_up = note, used_up

    def _gathering(self) -> bool:
        """Whether workers that take part from the beginning are waited for, which have not told of their users yet."""
        return any(map(self._connected, self._absent)) and self._now() < TOGETHER_SECONDS

    @property
    def begun(self) -> float | None:
        """When all workers that take part from the beginning were ready, in seconds of the run; None: they are not."""
        if self._gathering():
            return None
        return TOGETHER_SECONDS if self._begun is None else min(self._begun, TOGETHER_SECONDS)

    def users(self) -> Counts:
        """Open-loop users of all workers that are connected: user class -> worker -> users.

        Empty while workers that take part from the beginning have not told of theirs.
        """
        if self._gathering():
            return {}
        by_class: dict[str, dict[int, int]] = {}
        for client, known in self._known.items():
            connected = self._connected(client)
            for name, users in known.arriving.items():
                by_class.setdefault(name, {})[known.number] = users if connected else 0
        return by_class

    def _connected(self, client: str) -> bool:
        node = self.runner.clients.get(client)
        return node is not None and node.state != STATE_MISSING

    def tell(self, number: int, plan: Plan) -> None:
        """Send a plan to a worker."""
        for client, known in self._known.items():
            if known.number == number and client in self.runner.clients:
                self.runner.send_message("bench-plan", plan._asdict(), client_id=client)

    @property
    def _patience(self) -> float:
        """Seconds for which the last words of a worker are waited for, once the load has ended."""
        return self._deadline + session.DEADLINE_MARGIN + GOODBYE_SECONDS

    def drain(self) -> None:
        """Ask all workers to send nothing more, and for their last records."""
        self._draining = True
        self._presence.end(self._patience)
        for client in set(self.runner.clients):
            self.runner.send_message("bench-drain", client_id=client)

    def hurry(self) -> bool:
        """Have workers wait no longer for their last answers; False where nobody waits for them."""
        if not self._awaiting or self._hurried:
            return False
        self._hurried = True
        self._presence.end(GOODBYE_SECONDS)
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
            while (
                not self._hurried and time.perf_counter() < begun + self._patience + GOODBYE_SECONDS
            ):  # `Presence` gives up who hangs before
                if self._last_words_within(session.TELL_SECONDS, only_connected=True):
                    break
        if self._hurried:
            self._last_words_within(GOODBYE_SECONDS, only_connected=True)
        self._last_words_within(LEAVING_SECONDS, only_connected=False)
        self._awaiting = False
        self._keep = None
        for client in self._planned:
            # gone without even a hello; one that is still getting ready is told as idle (`took_part`)
            if client not in self._known and not self._connected(client):
                self._known[client] = KnownWorker(len(self._known))
        return [known.described(client) for client, known in self._known.items()]

    def took_part(self) -> dict[str, int]:
        """How many load processes took part in the test, and how many were to.

        idle_processes: those that are connected and did not, such as one that came too late.
        """
        expected = getattr(self.environment.parsed_options, "expect_workers", None) or 0
        counts = {"processes": len(self._known), "planned_processes": max(expected, len(self._planned))}
        idle_ones = sum(client not in self._known for client in self.runner.clients)
        return counts | ({"idle_processes": idle_ones} if idle_ones else {})

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

    def _title(self, client: str) -> str:
        known = self._known.get(client)
        return f"load process {known.number}" if known else f"client {client[:80]!r}"

    def _remedy(self, client: str) -> str:
        known, host = self._known.get(client), client.rpartition("_")[0][:80]
        if known is None or known.pid is None:
            return f"to end it, kill its process on {host!r}"
        return f"to end it, kill process {known.pid} on {host!r}"

    def _now(self) -> float:
        return time.perf_counter() - self._origin

    def _worker(self, client: str) -> KnownWorker:
        """Raises ReportError for a client that has not said hello."""
        known = self._known.get(client)
        if known is None:
            raise reports.ReportError("it reports on a test that it is not part of")
        return known

    def _on_hello(self, client: str, data: Any) -> None:
        if client not in self.runner.clients:
            raise reports.ReportError("a hello from an unknown worker")
        if self._refused is None:
            return  # of a test that was over before it began
        reason = hello.unlike(reports.table(data, "hello"), hello.introduction(self.environment))
        if reason is not None:
            self.runner.send_message("bench-refused", {"reason": reason}, client_id=client)
            self._turn_away(client, reason)
            return
        clock, turn = reports.number(data["clock"], "clock"), reports.whole(data["round"], "round", 1000)
        pid = reports.whole(data["pid"], "pid", 1 << 32)
        known = self._known.get(client)
        if known is None:
            known = self._known[client] = KnownWorker(len(self._known), pid, joined=self._now())
        answer = {
            "echo": clock,
            "clock": time.perf_counter(),
            "origin": self._origin,
            "rest": self.rest,
            "answered": None if turn else reference_answers.sent(self.answered),
            "index": known.number,
            "planned": max(1, len(self._planned)),
            "count": max(self.runner.worker_count, len(self._known)),
        }
        self.runner.send_message("bench-origin", answer, client_id=client)

    def _on_chunk(self, client: str, data: Any) -> None:
        if client not in self._known and client not in self.runner.clients:
            # a fault of a master before us, or of nobody that we know: told by name, and sent home
            internals.send_home(self.runner, client)
            self._worker(client)
        if client not in self._known or self._keep is None:
            if client not in self._late:
                self._late.add(client)
                log.warning(
                    "worker %s: records that came after the end of the test are left out", client[:80]
                )
            return
        known = self._known[client]
        chunk = reports.chunk_of(data["chunk"], self._names, self._now())
        reports.whole(
            known.recorded + len(chunk),
            "requests",
            reports.MOST_PER_SECOND * (self._now() + reports.CLOCK_SECONDS),
        )
        known.recorded += len(chunk)
        self._keep(known.number, chunk)

    def _on_drained(self, client: str, data: Any) -> None:
        known, counts = self._worker(client), reports.last_words(data, self._now())
        known.sent, known.unsent = counts["sent"], counts["unsent"]
        known.retries, known.addresses = counts["retries"], counts["addresses"]
        known.waited, known.most_streams = counts["waited"], counts["most_streams"]
        known.late_plans = counts["late_plans"]
        self.wrong_answers = merged([self.wrong_answers, counts["wrong_answers"]])
        if counts["choices"] is not None:
            known.choices = reports.choices_of(counts["choices"], self._names)
        known.clock_offset, known.clock_bound = counts["clock_offset"], counts["clock_bound"]
        known.finished = True
        if not self._draining:
            known.left = self._now()
            gevent.spawn_later(AT_ONCE_SECONDS, self._tell_left, known)
        if known.recorded != counts["recorded"]:
            log.warning(
                "worker %d reported %d records, %d arrived", known.number, counts["recorded"], known.recorded
            )
        self._changed.set()

    def _tell_left(self, known: KnownWorker) -> None:
        if not self._draining:  # else Ctrl-C reached the worker a moment sooner
            log.warning("load process %d left %.1f s after the start", known.number, known.left)

    def _on_users(self, client: str, data: Any) -> None:
        by_class = reports.table(data, "users")
        for name, users in by_class.items():
            reports.whole(users, f"users of {name}", max(self.runner.target_user_count, 1))
        self._worker(client).arriving = by_class
        if self._begun is None or (client in self._absent and self._gathering()):
            self._begun = self._now()
        self._absent.discard(client)

    def _on_used_up(self, client: str, _: Any) -> None:
        """A load process has sent all of its requests: the load ends with the last of those that are connected."""
        self._worker(client).used_up = True
        done = {name for name, known in self._known.items() if known.used_up}
        # one that is still getting ready has its part before it
        left = [name for name in {*self._planned, *self._known} - done if self._connected(name)]
        if not left and self._used_up is not None:
            used_up, self._used_up = self._used_up, None
            gevent.spawn(used_up)

    def _on_telemetry(self, client: str, data: Any) -> None:
        if self._observe is None or self._keep is None:
            return
        source = f"worker {self._worker(client).number}"
        if data["source"] != source:
            raise reports.ReportError("it observes another process")
        values = reports.table(data["values"], "values")
        for name, value in values.items():
            if value is not None:
                reports.number(value, name)
        self._observe(reports.instant(data["time"], "time", self._now()), source=source, **values)

    def _on_event(self, client: str, data: Any) -> None:
        if self._note is None or self._keep is None:
            return
        event = reports.event(data, self._now())
        known = self._worker(client)
        known.events = reports.whole(known.events + 1, "events", reports.MOST_EVENTS * (self._now() + 1))
        self._note(**event)

    def _on_refused(self, client: str, data: Any) -> None:
        if client in self.runner.clients:
            self._turn_away(client, reports.text(data["reason"], "reason"))

    def _turn_away(self, client: str, reason: str) -> None:
        """A load process cannot take part: the test ends where it was planned with it, and goes on where it came later."""
        if self._refused is None:
            return
        if client in self._planned:
            self._refused(reason)
        else:
            self.guard.turned_away(client, reason)
