"""The same client on grpcio, for comparison."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import gevent
import grpc
import grpc.experimental.gevent
from gevent.hub import get_hub

from bench import BenchError
from bench.wire import unary
from bench.wire.dial import OTHER_CERTIFICATE, TLS, Address, authority_of, no_connection
from bench.wire.keepalive import Keepalive
from bench.wire.open import mismatch
from bench.wire.reply import USER_AGENT, Reply
from bench.wire.waits import Waits

_HEALTH: Final = "/grpc.health.v1.Health/Check"
_REASON_SECONDS: Final = 1.0
_LEAST_SECONDS: Final = 0.001
_UNVERIFIED: Final = (
    "CERTIFICATE_VERIFY_FAILED"  # of BoringSSL, in the details of a call that has no status of its own
)
_PAUSE_MS: Final = 100
"""Between attempts to connect: gRPC's least. Its usual 1 s, which grows to 120, would count as the server's outage."""
_prepared: set[str] = set()


def _prepare() -> None:
    """Make grpcio cooperative, once in a process and before its first channel, as Locust's documentation does."""
    if not _prepared:
        _prepared.add("gevent")
        grpc.experimental.gevent.init_gevent()


def _metadata(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str | bytes], ...]:
    """As grpcio wants it: -bin values as bytes, others as text."""
    return tuple(
        (name, unary.binary_value(value) if name.endswith("-bin") else value) for name, value in pairs
    )


class Call:
    """A call under way; made by `Channel.start`."""

    def __init__(self, channel: "Channel", on_reply: Callable[[Reply], Any]) -> None:
        self._channel = channel
        self._on_reply: Callable[[Reply], Any] | None = on_reply
        self._greenlet: gevent.Greenlet | None = None
        self.sent: float | None = None
        """When it was given to grpcio."""

    def cancel(self) -> float | None:
        """Give the call up: the server is told, `on_reply` will not run. Nothing happens where it has ended.

        Gives when it was given to grpcio; None: it was not, and it does not count as sent.
        """
        if self._on_reply is not None:
            self._on_reply = None
            if self._greenlet is not None:
                self._greenlet.kill(block=False)
        return self.sent

    def hand_over(self, on_reply: Callable[[Reply], Any]) -> None:
        """Let `on_reply` learn how the call ends, in place of the one before. Nothing happens where it has ended."""
        if self._on_reply is not None:
            self._on_reply = on_reply

    def _deliver(self, reply: Reply) -> None:
        on_reply, self._on_reply = self._on_reply, None
        if on_reply is None:
            return
        try:
            on_reply(reply)
        except BaseException:  # noqa: BLE001  # as on the native transport: it is the owner's, not the channel's
            get_hub().handle_error(on_reply, *sys.exc_info())


class Channel:
    """`client.Channel` on grpcio: same interface, same statuses, about twenty times the cost for each call.

    `sent` and `done` are taken around the call, since grpcio does not say when it wrote and read.
    """

    def __init__(
        self,
        address: str,
        *,
        connections: int = 1,
        tls: TLS | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        largest_message: int = unary.LARGEST_MESSAGE,
        user_agent: str = USER_AGENT,
        keepalive: Keepalive | None = None,
        authority: str | None = None,
        turn: int = 0,
        compression: str | None = None,
    ) -> None:
        """As `client.Channel`, but grpcio compresses each message as it sends it, and grpcio chooses among several addresses, whatever `turn` says; raises BenchError for an unusable address or TLS file."""
        _prepare()
        self._address = Address.parse(address)
        self._metadata = _metadata(metadata)
        self._turn = 0
        self._in_flight: set[object] = set()
        self._methods: dict[tuple[int, str], Any] = {}
        self._sent_calls = 0
        self._closed = False
        self.on_left: Callable[[str], Any] = lambda reason: None
        """Never called: grpcio does not tell of its connections."""
        target = address if not self._address.path else f"unix:{self._address.path}"
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", largest_message),
            ("grpc.max_send_message_length", -1),
            ("grpc.primary_user_agent", user_agent),
            ("grpc.enable_http_proxy", 0),  # as the native transport: a proxy would be measured too
            ("grpc.use_local_subchannel_pool", 1),  # otherwise channels to one address share a connection
            ("grpc.initial_reconnect_backoff_ms", _PAUSE_MS),
            ("grpc.max_reconnect_backoff_ms", _PAUSE_MS),
        ]
        if keepalive is not None:
            options.append(("grpc.keepalive_time_ms", round(keepalive.every * 1000)))
            options.append(("grpc.keepalive_timeout_ms", round(keepalive.limit * 1000)))
        if authority:
            options.append(("grpc.default_authority", authority_of(authority)))
        if tls is not None and (
            tls.server_name or authority
        ):  # the authority would be the name that is verified
            name = tls.server_name or self._address.host or "localhost"
            options.append(("grpc.ssl_target_name_override", name))
        credentials = None if tls is None else _credentials(tls)
        compress = None if compression is None else grpc.Compression.Gzip
        self._encrypted = tls is not None
        self._channels = [
            grpc.insecure_channel(target, options, compress)
            if credentials is None
            else grpc.secure_channel(target, credentials, options, compress)
            for _ in range(connections)
        ]

    @property
    def in_flight(self) -> int:
        """Calls that have not ended."""
        return len(self._in_flight)

    @property
    def sent_calls(self) -> int:
        """Calls that were given to grpcio."""
        return self._sent_calls

    @property
    def retries(self) -> None:
        """grpcio sends again what a server gave back, and does not say so."""
        return

    @property
    def waits(self) -> Waits:
        """Nothing is known: grpcio does not say what its calls wait for."""
        return Waits()

    @property
    def addresses(self) -> Counter[str]:
        """Nothing is known: grpcio does not say which address it took."""
        return Counter()

    def connect(self, timeout: float) -> None:
        """Wait until a connection is up; raises BenchError with the address after `timeout` seconds."""
        give_up = time.perf_counter() + timeout
        reply = self._look(timeout, wait=False)
        if reply.status == unary.UNAVAILABLE:
            self._refuse_in_vain(reply.details, timeout)
            reply = self._look(give_up - time.perf_counter(), wait=True)
        if reply.status == unary.DEADLINE_EXCEEDED:  # one that does not wait is told why
            reply = self._look(_REASON_SECONDS, wait=False)
        if reply.status in (unary.DEADLINE_EXCEEDED, unary.UNAVAILABLE):
            raise no_connection(self._address.text, reply.details, timeout)

    def _look(self, seconds: float, *, wait: bool) -> Reply:
        """Any answer will do, also that the server does not know the method.

        grpcio's own ways of waiting for a connection block the thread, and with it the event loop, where
        `threading` is not monkey-patched.
        """
        reply = self.call(_HEALTH, b"", max(seconds, _LEAST_SECONDS), wait=wait)
        self._sent_calls -= 1  # a question of ours, none of the caller's
        return reply

    def _refuse_in_vain(self, details: str, timeout: float) -> None:
        """Raise BenchError where the server is there, and waiting for a connection of this kind is in vain."""
        if _UNVERIFIED in details:
            raise no_connection(self._address.text, details, timeout, remedy=OTHER_CERTIFICATE)
        other = mismatch(self._address, "gRPC over TLS" if self._encrypted else "gRPC")
        if other is not None:
            raise no_connection(self._address.text, str(other), timeout, remedy=other.remedy)

    def call(
        self,
        method: str,
        message: bytes,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        *,
        wait: bool = False,
    ) -> Reply:
        """Make a unary call and wait for its end; killing the greenlet cancels it.

        With `wait` the call waits for a connection, where it would otherwise end as UNAVAILABLE while there is none.
        """
        if self._closed:
            return Reply(unary.CANCELLED, "the channel was closed", b"", None, time.perf_counter())
        fields = (*self._metadata, *_metadata(metadata)) or None
        token = object()
        self._in_flight.add(token)
        self._sent_calls += 1
        sent = time.perf_counter()
        try:
            answer = self._method(method)(message, timeout, fields, wait_for_ready=wait)
        except grpc.RpcError as problem:
            # Its type is a private class of grpcio that is a grpc.Call too.
            code: int = problem.code().value[0]
            details = problem.details() or ""
            return Reply(code, details, b"", sent, time.perf_counter())
        finally:
            self._in_flight.discard(token)
        return Reply(unary.OK, "", answer, sent, time.perf_counter())

    def _method(self, method: str) -> Any:
        self._turn = (self._turn + 1) % len(self._channels)
        key = (self._turn, method)
        if key not in self._methods:
            self._methods[key] = self._channels[self._turn].unary_unary(method)
        return self._methods[key]

    def start(
        self,
        method: str,
        message: bytes,
        on_reply: Callable[[Reply], Any],
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> Call:
        """Start a unary call and return at once; `on_reply` runs once, in a greenlet of its own, and must not block."""
        call = Call(self, on_reply)
        call._greenlet = gevent.spawn(self._run, call, method, message, timeout, metadata)
        return call

    def flush(self) -> None:
        """Nothing is to be done: grpcio sends each call at once."""

    def close(self) -> None:
        """End all connections; calls under way end as CANCELLED."""
        self._closed = True
        for channel in self._channels:
            channel.close()

    def _run(
        self,
        call: Call,
        method: str,
        message: bytes,
        timeout: float | None,
        metadata: Sequence[tuple[str, str]],
    ) -> None:
        call.sent = None if self._closed else time.perf_counter()
        call._deliver(self.call(method, message, timeout, metadata))


def _credentials(tls: TLS) -> Any:
    contents = []
    for path in (tls.ca, tls.key or tls.certificate, tls.certificate):
        try:
            contents.append(None if path is None else path.read_bytes())
        except OSError as problem:
            raise BenchError(f"{path}: not a readable PEM file: {problem.strerror}") from problem
    return grpc.ssl_channel_credentials(*contents)
