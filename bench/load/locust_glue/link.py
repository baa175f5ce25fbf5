"""The connection between Locust's master and its workers: who may join, and what follows when the other end is gone.

Locust's sockets, with three differences. Both ends have keys (CurveZMQ, https://rfc.zeromq.org/spec/26), which follow
from one secret: whoever does not know it can neither join a master nor be taken for one, and reads nothing. A master that
forks its workers makes a secret and takes a free port for each run; others read the secret from BENCH_WORKER_TOKEN, which
has to be set where the port is reached from other machines. And a worker sees at once that its master is gone.
"""

import atexit
import hashlib
import ipaddress
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple, NoReturn, TypeVar

import gevent
import zmq.green as zmq
from locust.exception import RPCError
from zmq.utils import z85

from bench import BenchError
from bench.load.locust_glue import internals
from bench.load.locust_glue.log_lines import complain

log = logging.getLogger("bench")

Made = TypeVar("Made")

VARIABLE: Final = "BENCH_WORKER_TOKEN"
SHORTEST: Final = 16
"""Characters of a token: it could be guessed from what an eavesdropper has heard."""
LOCUST_PORT: Final = 5557
LARGEST_MESSAGE: Final = 64 << 20
"""Bytes that a master reads as one message."""
BACK_SECONDS: Final = 2.0
"""A worker whose connection has ended waits so long for its master."""
PING_SECONDS, SILENT_SECONDS = 1.0, 5.0
"""ZeroMQ asks a silent master for a sign of life, in a thread of its own; the connection ends without one. A worker that is
held up gives none and keeps its connection, which ends where its machine acknowledges nothing for as long."""
LAST_SECONDS = 2.0
"""A worker that ends waits so long at the most until its last messages have left."""
REFUSALS: Final = 3
"""Handshakes in a row that the master broke off without a reason, as it does where the keys differ."""
_REMEDY: Final = (
    f"set {VARIABLE} to one secret on the master and all of its workers, such as of: openssl rand -hex 16"
)
_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
)


class Keys(NamedTuple):
    """A master's pair of keys, which everybody who knows the secret can make."""

    public: bytes
    secret: bytes

    @classmethod
    def of(cls, token: bytes) -> "Keys":
        """The keys that follow from a secret."""
        secret = z85.encode(hashlib.blake2b(token, digest_size=32, person=b"bench workers").digest())
        return cls(zmq.curve_public(secret), secret)


class Local:
    """The port and the keys of a master that forks its workers, made before it does."""

    def __init__(self, port: int) -> None:
        """port: 0 for any that is free. Raises BenchError where it is taken."""
        try:
            self._listening: socket.socket | None = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            raise BenchError(
                f"--master-bind-port {port}: {error.strerror}; omit the option to use a free port"
            ) from None
        self.port: int = self._listening.getsockname()[1]
        token = os.environ.get(VARIABLE, "")
        self.keys = Keys.of(token.encode()) if token else Keys.of(secrets.token_bytes(32))
        os.register_at_fork(after_in_child=self._close)

    def take(self) -> int | None:
        """The descriptor that listens already; None where it has been taken before."""
        listening, self._listening = self._listening, None
        return None if listening is None else listening.detach()

    def _close(self) -> None:
        if self._listening is not None:
            self._listening.close()


class _Process:
    """The process's knowledge of its connection."""

    local: ClassVar[Local | None] = None
    main: ClassVar[Any] = None
    """The greenlet that ends the program."""
    lost: ClassVar[Callable[[str], object] | None] = None
    """Called with a reason when the master is gone; None: the program ends."""


def install() -> None:
    """Have Locust make its sockets here; called in the main greenlet, before there are any."""
    _Process.main = gevent.getcurrent()
    internals.use_sockets(Server, Client)


def prepare(parser: Any) -> None:
    """Have a parser of Locust's command line choose the port of a master that is going to fork its workers."""
    parse = parser.parse_args

    def parse_args(*arguments: Any, **named: Any) -> Any:
        options = parse(*arguments, **named)
        forks = options.processes and not options.worker and not options.master
        if forks and is_loopback(options.master_bind_host):
            if _Process.local is None:
                port = options.master_bind_port
                _Process.local = _or_end(lambda: Local(0 if port == LOCUST_PORT else port))
            options.master_host, options.master_bind_host = "127.0.0.1", "127.0.0.1"
            options.master_port = options.master_bind_port = _Process.local.port
        return options

    parser.parse_args = parse_args


def when_lost(call: Callable[[str], object]) -> None:
    """Have `call` told the reason when this worker's master is gone."""
    _Process.lost = call


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def end(reason: str) -> NoReturn:
    """End the program with one line and exit code 2, from whatever greenlet runs."""
    complain(reason)
    if _Process.main is not None and gevent.getcurrent() is not _Process.main:
        _Process.main.throw(SystemExit(2))
    raise SystemExit(2)


def _or_end(make: Callable[[], Made]) -> Made:
    try:
        return make()
    except BenchError as error:
        end(str(error))


def _local(port: int) -> Local | None:
    local = _Process.local
    return local if local is not None and local.port == port else None


def _keys(host: str, port: int, option: str) -> Keys | None:
    """The keys of a connection; None for one that stays on this machine and has no token. Raises BenchError."""
    local = _local(port)
    if local is not None:
        return local.keys
    token = os.environ.get(VARIABLE, "")
    if token and len(token) < SHORTEST:
        raise BenchError(f"{VARIABLE} has {len(token)} characters: at least {SHORTEST} are needed; {_REMEDY}")
    if not token and not is_loopback(host):
        raise BenchError(f"{option} {host}: other machines reach it; {_REMEDY}")
    return Keys.of(token.encode()) if token else None


class Server(internals.BaseSocket):  # type: ignore[misc]  # its base has no types
    """A master's socket."""

    def __init__(self, host: str, port: int) -> None:
        keys, local = _or_end(lambda: _keys(host, port, "--master-bind-host")), _local(port)
        super().__init__(zmq.ROUTER, self.ipv4_only(host, port))
        self.socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        self.socket.setsockopt(zmq.TCP_MAXRT, int(SILENT_SECONDS * 1e3))
        if keys is not None:
            self.socket.setsockopt(zmq.CURVE_SERVER, 1)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        self._reported = False
        self._watching = gevent.spawn(self._watch, self.socket.get_monitor_socket(sum(_FAILED)))
        listening = local.take() if local is not None else None
        if listening is not None:
            self.socket.setsockopt(zmq.USE_FD, listening)
        try:
            self.socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            end(
                f"--master-bind-port {port}: {error.strerror}; another Locust master may be running there: choose "
                "another port for this one, and pass it to its workers as --master-port"
            )
        self.port = int(self.socket.getsockopt(zmq.LAST_ENDPOINT).rpartition(b":")[2].rstrip(b"\0"))

    def recv_from_client(self) -> tuple[str, Any]:
        """The next message of a client, under the name that its connection has; what is none is left out."""
        while True:
            try:
                parts = self.socket.recv_multipart()
            except zmq.ZMQError as error:
                raise RPCError("ZMQ network broken") from error
            try:
                name, content = parts
                message = internals.Message.unserialize(content)
                if message.node_id != name.decode() or not isinstance(message.type, str):
                    raise ValueError(f"it speaks for {str(message.node_id)[:80]!r}")
            except Exception as error:  # noqa: BLE001 - whatever a foreign program can send
                self._tell(f"ignored a message that is not from a worker ({type(error).__name__}: {error})")
            else:
                return message.node_id, message

    def reaches(self, client: str) -> bool:
        """Whether the connection of a client is up, by sending it a heartbeat."""
        message = internals.Message("heartbeat", None, client).serialize()
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        try:
            self.socket.send_multipart([client.encode(), message], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            return bool(error.errno != zmq.EHOSTUNREACH)
        finally:
            self.socket.setsockopt(zmq.ROUTER_MANDATORY, 0)
        return True

    def close(self, linger: int | None = None) -> None:
        """Close it, and look at it no more."""
        self._watching.kill()
        self.socket.disable_monitor()
        super().close(linger=linger)

    def _watch(self, monitor: Any) -> None:
        monitor.recv_multipart()
        self._tell(
            f"a client at the workers' port is refused: its {VARIABLE} differs from this master's, or is missing"
        )

    def _tell(self, text: str) -> None:
        if not self._reported:
            self._reported = True
            log.warning("%s", text)


class Client(internals.BaseSocket):  # type: ignore[misc]  # as above
    """A worker's socket."""

    def __init__(self, host: str, port: int, identity: str) -> None:
        keys = _or_end(lambda: _keys(host, port, "--master-host"))
        super().__init__(zmq.DEALER, self.ipv4_only(host, port))
        self._master = f"{host}:{port}"
        self._heeded = True  # False once the master is gone
        if keys is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, keys.public)
            public, secret = zmq.curve_keypair()
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, int(PING_SECONDS * 1e3))
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(SILENT_SECONDS * 1e3))
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | sum(_FAILED)
        self._watching = gevent.spawn(self._watch, self.socket.get_monitor_socket(events))
        self.socket.connect(f"tcp://{host}:{port}")
        atexit.register(self._say_last_words)

    def close(self, linger: int | None = None) -> None:
        """Close it, and look at it no more."""
        self._watching.kill()
        self.socket.disable_monitor()
        super().close(linger=linger)

    def _say_last_words(self) -> None:
        """Wait until what was sent has left: a thread sends it, which a busy machine holds up, and this process ends."""
        self._watching.kill()
        self.socket.context.destroy(linger=int(LAST_SECONDS * 1e3) if self._heeded else 0)

    def _watch(self, monitor: Any) -> None:
        from zmq.utils.monitor import parse_monitor_message  # brings asyncio, which no other process needs

        refusals, joined, gone_since = 0, False, None
        while True:
            wait = None if gone_since is None else gone_since + BACK_SECONDS - time.monotonic()
            if not monitor.poll(None if wait is None else max(0, int(wait * 1e3))):
                self._heeded = False
                reason = f"the master at {self._master} is gone: this load process ends"
                (_Process.lost or end)(reason)
                return
            event = parse_monitor_message(monitor.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                refusals, joined, gone_since = 0, True, None
            elif event == zmq.EVENT_DISCONNECTED:
                gone_since = gone_since or time.monotonic() if joined else None
            elif not joined:
                refusals += 1
                if refusals == REFUSALS or event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                    end(
                        f"the master at {self._master} refuses this worker: {VARIABLE} is not the same there; {_REMEDY}"
                    )
