"""The native client: unary gRPC calls from greenlets."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

import gevent
from gevent import getcurrent
from gevent.event import Event
from gevent.hub import get_hub

from bench.wire import unary
from bench.wire.call import Call
from bench.wire.compression import gzipped
from bench.wire.deadlines import Deadlines
from bench.wire.dial import TLS, Address, authority_of, client_context, no_connection
from bench.wire.exchange import Exchange, RequestHead
from bench.wire.keep import keep
from bench.wire.keepalive import Keepalive
from bench.wire.link import Link
from bench.wire.open import Opener
from bench.wire.reply import USER_AGENT, Reply
from bench.wire.rows import Row
from bench.wire.waits import CONNECTION, Waits

_ALL_FAILED: Final = "failed to connect to all addresses; last error: "  # gRPC's words
_MOST_HEADS: Final = 4096
_new: Final = tuple.__new__  # Reply(...) takes 0.34 us instead of 0.21
_SHORTEST_TIMER: Final = 0.001  # seconds; the loop counts in milliseconds
Pairs = Sequence[tuple[str, str]]


def _why(farewell: str | None) -> str:
    if farewell is None:
        return "its stream ids are used up"
    return f"the server sent GOAWAY {farewell or 'NO_ERROR'}"


class Channel:
    """Calls to one target over one or more connections that renew themselves.

    For the greenlets of one thread. While no connection is up and the last attempt to get one has failed, calls end
    at once with UNAVAILABLE; during the first attempt they wait for it, as in gRPC.
    """

    def __init__(
        self,
        address: str,
        *,
        connections: int = 1,
        tls: TLS | None = None,
        metadata: Pairs = (),
        largest_message: int = unary.LARGEST_MESSAGE,
        user_agent: str = USER_AGENT,
        keepalive: Keepalive | None = None,
        authority: str | None = None,
        turn: int = 0,
        compression: str | None = None,
    ) -> None:
        """Where the address is a name for several, the connections take them in turn, the first number `turn`.

        `metadata` goes with each call; `authority` stands for the :authority that follows from address and TLS.
        `compression`: "gzip" compresses each message that is not `Gzipped` yet; those of rows have to be.
        Raises BenchError for an unusable address, authority or TLS file, ValueError for metadata that no header can
        carry.
        """
        self._address = where = Address.parse(address)
        self.waits = Waits()
        server_name = tls and tls.server_name
        unary.metadata_fields(metadata)
        self._opener = Opener(
            where,
            authority=authority_of(authority) if authority else server_name or where.authority,
            context=None if tls is None else client_context(tls),
            server_name=server_name or where.host or "localhost",
            user_agent=user_agent,
            metadata=tuple(metadata),
            largest_message=largest_message,
            keepalive=keepalive,
            waits=self.waits,
            compression=compression,
        )
        self._hub = get_hub()
        self._links: set[Link] = set()  # also those that only finish what they have begun
        self._ready: list[Link] = []
        self._turn, self._compress = 0, compression is not None
        self._waiting: dict[Call, bool] = {}  # for a connection; True: for another attempt
        self._failure: str | None = None  # of the last attempt; None: there is hope
        self._closed, self._remedy = False, ""
        self._up = Event()
        self._heads: dict[Hashable, RequestHead] = {}
        self._deadlines: Deadlines[Call | Row] = Deadlines()
        self._timer = self._hub.loop.timer(0, ref=False)
        self._timer_due = float("inf")
        self._past_addresses: Counter[str] = Counter()
        self._keepers = [gevent.spawn(self._keep, turn + number) for number in range(connections)]
        self.retries = 0  # further attempts of calls that a server gave back unprocessed
        self.on_left: Callable[[str], Any] = lambda reason: None
        """Told why no further calls go through a connection that was up."""

    @property
    def in_flight(self) -> int:
        """Calls that have not ended."""
        return len(self._waiting) + sum(link.connection.in_flight for link in self._links)

    @property
    def sent_calls(self) -> int:
        """Calls whose last byte has gone to the kernel before they ended; one that went again counts once."""
        return self.addresses.total()

    @property
    def addresses(self) -> Counter[str]:
        """The same by the server's addresses, such as 10.0.0.1:8500: where a call went first."""
        sent = self._past_addresses.copy()
        for link in self._links:
            sent[link.address] += link.sent_calls
        return sent

    def connect(self, timeout: float) -> None:
        """Wait until a connection is up. Raises BenchError after `timeout` seconds, at once where waiting is in vain."""
        if not self._up.wait(timeout) or not self._ready:
            place, reason = self._address.text, (self._failure or "no answer").removeprefix(_ALL_FAILED)
            raise no_connection(place, reason.removeprefix(f"{place}: "), timeout, remedy=self._remedy)

    def call(self, method: str, message: bytes, timeout: float | None = None, metadata: Pairs = ()) -> Reply:
        """Make a unary call and wait for its end, in a greenlet other than the hub.

        `timeout` in seconds, rounded up to three significant digits; None: no limit. If the greenlet is killed or
        gets another exception while it waits, the call is cancelled. Raises ValueError for what no header can carry.
        """
        hub, current = self._hub, getcurrent()
        if current is hub:
            raise RuntimeError("call() would block the event loop: use start()")
        call = self.start(method, message, current.switch, timeout, metadata)
        try:
            reply: Reply = hub.switch()
        except BaseException:
            call.cancel()
            raise
        return reply

    def start(
        self,
        method: str,
        message: bytes,
        on_reply: Callable[[Reply], Any],
        timeout: float | None = None,
        metadata: Pairs = (),
    ) -> Call:
        """Start a unary call and return at once; `on_reply` will run once in the hub, where it must not block."""
        key = (method, timeout, tuple(metadata) if metadata else ())
        head = self._heads.get(key)
        if head is None:
            head = self._head(method, timeout, metadata)
        if self._compress:
            message = gzipped(message)
        call = Call(self, head, message, on_reply)
        if head.limit is not None:
            self._limit(call, head.limit)
        self._dispatch(call)
        return call

    def head(self, method: str, timeout: float | None) -> RequestHead:
        """What the calls of a row have in common."""
        return self._heads.get((method, timeout, ())) or self._head(method, timeout, ())

    def start_row(self, row: Row, *, flushed: bool = False) -> None:
        """Start the calls of a row and return at once; its owner learns how they end. `flushed`: `flush` follows.

        They are shared by the connections, and leave together where one takes all of its share at once.
        """
        ready, count = self._ready, len(row.messages)
        if len(ready) > 1:
            links = [self._next_link(ready) for _ in range(min(count, len(ready)))]
            for number, link in enumerate(links):
                self._put_row(row.part(slice(number, None, len(links))), link, flushed)
        else:
            self._put_row(row, ready[0] if ready else None, flushed)

    def flush(self) -> None:
        """Send in the hub what was started in this turn of the loop, sooner than by itself at the turn's end."""
        ready = self._ready
        for link in ready if len(ready) == 1 else tuple(ready):
            link.flush()

    def close(self) -> None:
        """End all connections; calls under way end as CANCELLED."""
        if self._closed:
            return
        self._closed = True
        self._failure = "the channel was closed"
        gevent.killall(self._keepers, block=getcurrent() is not self._hub)
        ended: list[Exchange] = list(self._waiting)
        self._waiting.clear()
        for link in list(self._links):
            ended += link.close() + link.connection.returned
            self._retire(link)
        for call in ended:
            self._end_soon(call, unary.CANCELLED, self._failure)
        self._timer.stop()
        self._timer.close()
        self._up.clear()

    def _head(self, method: str, timeout: float | None, metadata: Pairs) -> RequestHead:
        """The remembered head of these header fields; deadlines that all differ are few once they are quantised."""
        limit = None if timeout is None else unary.quantised(timeout)
        key = (method, limit, tuple(metadata))
        head = self._heads.get(key)
        if head is None:
            head = RequestHead(method, limit, metadata)
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            self._heads[key] = head
        return head

    def _dispatch(self, call: Call) -> None:
        """Give a call to a connection, let it wait for the first one, or fail it."""
        ready = self._ready
        if len(ready) == 1:
            link = ready[0]
        elif ready:
            link = self._next_link(ready)
        elif self._failure is None:
            self.waits.note(call, CONNECTION, time.perf_counter())
            self._waiting[call] = False
            return
        else:
            self._end_soon(call, unary.CANCELLED if self._closed else unary.UNAVAILABLE, self._failure)
            return
        call._link = link
        link.submit(call)
        if link.connection.returned:
            self._hub.loop.run_callback(self._changed, link)

    def _next_link(self, ready: list[Link]) -> Link:
        """In turn, passing over those at the server's limit of concurrent streams; the least loaded if all are."""
        for _ in ready:
            self._turn = (self._turn + 1) % len(ready)
            if ready[self._turn].connection.has_room:
                return ready[self._turn]
        return min(ready, key=lambda link: link.connection.in_flight)

    def _put_row(self, row: Row, link: Link | None, flushed: bool) -> None:
        """Give a row to a connection as a whole, or its calls one by one to whichever takes them."""
        row.make, limit = self._call_of_row, row.head.limit
        if link is not None and link.submit_row(row, flushed):
            if limit is not None:
                self._limit(row, limit)
            return
        for position in range(len(row.messages)):
            call = self._call_of_row(row, position)
            if limit is not None:
                self._limit(call, limit)
            self._dispatch(call)

    def _call_of_row(self, row: Row, position: int) -> Call:
        def ended(reply: Reply) -> None:
            row.drop(1)
            row.owner.ended(row, position, reply)

        call = Call(self, row.head, row.messages[position], ended)
        call._link = row.link
        return call

    def _limit(self, call: Call | Row, limit: float) -> None:
        now = time.perf_counter()
        call._queue = self._deadlines.add(call, now, limit)
        if now + limit < self._timer_due:
            self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        """Wake for the earliest deadline; a call that ends in time leaves the timer as it is."""
        due = self._deadlines.next()
        self._timer.stop()
        if due is None or self._closed:
            self._timer_due = float("inf")
        else:
            self._timer_due = due
            self._timer.close()
            self._timer = self._hub.loop.timer(max(due - now, _SHORTEST_TIMER), ref=False)
            self._timer.start(self._on_timer)

    def _on_timer(self) -> None:
        now = time.perf_counter()
        for expired in self._deadlines.expired(now):
            expired._queue = None
            for call in expired.calls().values() if isinstance(expired, Row) else (expired,):
                if call._on_reply is not None:
                    self._forget(call)
                    call.fail(unary.DEADLINE_EXCEEDED, "Deadline Exceeded")
                    self._deliver(call, now)
        self._set_timer(now)

    def _forget(self, call: Call) -> None:
        """Take a call off wherever it is."""
        if call._queue is not None:
            call._queue.pop(call, None)
            call._queue = None
        self._waiting.pop(call, None)
        link = call._link
        if link is not None and link.connection.cancel(call):
            link.schedule()
            if link.connection.draining and not link.connection.in_flight:
                self._hub.loop.run_callback(self._changed, link)

    def _deliver(self, exchange: Exchange, now: float) -> None:
        """Tell a call's owner how it ended; runs in the hub."""
        call: Call = exchange  # type: ignore[assignment]  # connections of a channel carry nothing else
        queue = call._queue
        if queue is not None:
            queue.pop(call, None)
            call._queue = None
        on_reply = call._on_reply
        if on_reply is None:
            return
        call._on_reply = call._link = None
        sent = call.sent
        if sent is None:
            call.sent = now  # what of it leaves later is not counted
        try:
            on_reply(
                _new(Reply, (call.status or 0, call.details, call.message or b"", sent, now, call.held_since))
            )
        except BaseException:  # noqa: BLE001  # whatever the owner raises, the other calls of this read go on
            self._hub.handle_error(on_reply, *sys.exc_info())

    def _end_soon(self, call: Any, status: int, details: str) -> None:
        """End a call from the loop's next turn: we may be in a greenlet, which must not switch into another one."""
        call.fail(status, details)
        self._hub.loop.run_callback(self._deliver, call, time.perf_counter())

    def _changed(self, link: Link) -> None:
        """A link came up, is about to leave, gave calls back, or was lost."""
        connection = link.connection
        if self._closed or link not in self._links:
            return
        if link.lost is not None or connection.draining:
            if link in self._ready:
                self._ready.remove(link)
                if not self._ready:
                    self._up.clear()
                self.on_left(link.lost or _why(connection.farewell))
            if link.lost is None and not connection.in_flight and not connection.returned:
                link.close()
        elif connection.settled and link not in self._ready:
            self._ready.append(link)
            self._failure = None
            self._up.set()
            waiting, self._waiting = self._waiting, {}
            for call, again in waiting.items():
                self._dispatch_late(call, again)
        returned, connection.returned = connection.returned, []
        for exchange in returned:
            if exchange._on_reply is not None:
                again = exchange.stream > 0  # else it still waited for its turn
                exchange.renew()
                exchange._link = None
                self._dispatch_late(exchange, again)
        if link.lost is not None:
            self._retire(link)

    def _dispatch_late(self, call: Call, again: bool) -> None:
        """The same for a call that had to wait or has been given back; `again`: it was under way before."""
        self._dispatch(call)
        if again and call._link is not None:
            self.retries += 1
        elif again and call in self._waiting:
            self._waiting[call] = True

    def _retire(self, link: Link) -> None:
        if link in self._links:
            self._links.remove(link)
            self._past_addresses[link.address] += link.sent_calls
        if link in self._ready:
            self._ready.remove(link)

    def _keep(self, turn: int) -> None:
        def connect() -> Link:
            return self._opener.open(turn, self._deliver, self._changed)

        def admit(link: Link) -> None:
            self._links.add(link)
            self._changed(link)

        keep(connect, admit, self._fail, self._address.text)

    def _fail(self, reason: str, remedy: str) -> None:
        """An attempt to connect has failed: unless another connection is up, nothing is left to wait for."""
        if self._ready or self._closed:
            return
        self._failure, self._remedy = _ALL_FAILED + reason, remedy
        if remedy:
            self._up.set()  # wakes `connect`: no further attempt will help
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            self._end_soon(call, unary.UNAVAILABLE, self._failure)
