"""Open a connection to one of the addresses that a target's name stands for (Happy Eyeballs, RFC 8305)."""

import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Any, Final, NamedTuple, TypeVar

import gevent
import gevent.monkey
import gevent.queue
import gevent.socket

from bench.wire import scheme
from bench.wire.dial import OTHER_CERTIFICATE, Address, ConnectError, Session
from bench.wire.http2_client import ClientConnection
from bench.wire.keepalive import Keepalive
from bench.wire.link import Link
from bench.wire.waits import Waits

STAGGER_SECONDS: Final = 0.25
"""An address that has not answered for so long has a rival (RFC 8305, 8: Connection Attempt Delay)."""
ATTEMPT_SECONDS: Final = 20.0
"""For a name look-up, for a connection with TLS, and then for the server's SETTINGS: gRPC's least connect timeout."""
_SHOWN: Final = 3
"""Reasons that a message names, of as many addresses."""
_SOCKET: Final[Any] = gevent.monkey.get_original(
    "socket", "socket"
)  # unpatched: the links wait in the loop themselves

T = TypeVar("T")


class Place(NamedTuple):
    """One of the addresses that a name stands for."""

    family: int
    where: Any
    """As `socket.connect` takes it."""

    @property
    def host(self) -> str:
        """IP address, or the path of a unix socket."""
        return self.where if isinstance(self.where, str) else str(self.where[0])

    @property
    def text(self) -> str:
        """ip:port, [ipv6]:port or unix:/path."""
        if isinstance(self.where, str):
            return f"unix:{self.where}"
        return f"[{self.host}]:{self.where[1]}" if ":" in self.host else f"{self.host}:{self.where[1]}"


def resolve(address: Address, turn: int = 0) -> list[Place]:
    """The addresses to try, in this order: families alternate, and the list begins with number `turn` of them.

    Within a family they are sorted, so that all processes count the same way, however a name server mixes them.
    Raises ConnectError for a name that is not found.
    """
    if address.path:
        return [Place(gevent.socket.AF_UNIX, address.path)]
    try:
        rows = gevent.socket.getaddrinfo(address.host, address.port, 0, gevent.socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise ConnectError(f"{address.text}: the name {address.host} is not found ({reason})") from problem
    families: dict[int, set[Any]] = {}
    for family, _, _, _, where in rows:
        families.setdefault(family, set()).add(where)
    by_family = [
        [Place(family, where) for where in sorted(wheres, key=_number)] for family, wheres in families.items()
    ]
    places = [place for place in chain.from_iterable(zip_longest(*by_family)) if place is not None]
    start = turn % len(places) if places else 0
    return places[start:] + places[:start]


def _number(where: Any) -> Any:
    return ip_address(str(where[0]).partition("%")[0])


def first(attempts: Sequence[Callable[[], T]], discard: Callable[[T], Any]) -> T:
    """The result of the first attempt that succeeds; each starts when the one before has failed or takes its time.

    The others are killed, and what they achieve nevertheless is given to `discard`. Where all fail, ConnectError
    with their reasons is raised.
    """
    ended: gevent.queue.Queue[tuple[list[T], Exception | None]] = gevent.queue.Queue()
    over = False

    def run(attempt: Callable[[], T]) -> None:
        try:
            result = attempt()
        except Exception as problem:  # noqa: BLE001  # whatever it is: the next address may do
            ended.put(([], problem))
        else:
            if over:
                discard(result)
            else:
                ended.put(([result], None))

    waiting = deque(attempts)
    running: list[gevent.Greenlet[..., None]] = []
    problems: list[Exception] = []
    try:
        while len(problems) < len(attempts):
            if waiting:
                running.append(gevent.spawn(run, waiting.popleft()))
            try:
                results, problem = ended.get(timeout=STAGGER_SECONDS if waiting else None)
            except gevent.queue.Empty:
                continue
            if problem is None:
                winner: T = results[0]
                return winner
            problems.append(problem)
    finally:
        over = True
        gevent.killall(running, block=False)
        while not ended.empty():
            for result in ended.get_nowait()[0]:
                discard(result)
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    raise ConnectError(
        "; ".join(_reason(problem) for problem in problems[:_SHOWN]) + more,
        remedy=_common({_remedy(problem) for problem in problems}),
    )


def connect_first(address: Address, turn: int = 0) -> tuple[Any, Place]:
    """A connected cooperative socket, and to where. Raises ConnectError."""

    def attempt(place: Place) -> tuple[Any, Place]:
        with _limit("no connection"):
            return _connected(place), place

    return _race(address, turn, attempt, lambda pair: pair[0].close())


@dataclass(frozen=True)
class Opener:
    """The settings with which every connection of a channel is opened."""

    address: Address
    authority: str
    """:authority of the requests."""
    context: ssl.SSLContext | None
    server_name: str
    """That the server's certificate must carry."""
    user_agent: str
    metadata: tuple[tuple[str, str], ...]
    largest_message: int
    keepalive: Keepalive | None
    waits: Waits
    compression: str | None
    """Of all messages; None: they are sent as they are."""

    def open(self, turn: int, deliver: Callable[[Any, float], None], changed: Callable[[Link], None]) -> Link:
        """A link whose server has greeted; the addresses are tried from number `turn` on. Raises ConnectError."""

        def attempt(place: Place) -> Link:
            return self._open(place, deliver, changed)

        return _race(self.address, turn, attempt, Link.close)

    def _open(
        self, place: Place, deliver: Callable[[Any, float], None], changed: Callable[[Link], None]
    ) -> Link:
        session = None
        with _limit("no connection"):
            sock = _connected(place)
            try:
                if self.context is not None:
                    session = Session(self.context, self.server_name)
                    self._shake_hands(session, sock, place)
                plain = _SOCKET(fileno=sock.detach())
            finally:
                sock.close()
        plain.setblocking(False)
        connection = ClientConnection(
            self.authority,
            scheme="http" if self.context is None else "https",
            user_agent=self.user_agent,
            metadata=self.metadata,
            largest_message=self.largest_message,
            compression=self.compression,
        )
        link = Link(
            plain,
            session,
            connection,
            deliver,
            changed,
            address=place.text,
            keepalive=self.keepalive,
            waits=self.waits,
        )
        try:
            link.open()
            if not link.opened.wait(ATTEMPT_SECONDS):
                raise ConnectError(f"no HTTP/2 SETTINGS within {ATTEMPT_SECONDS:g} s")
            if link.lost is not None:
                raise self._mismatch(place) or ConnectError(link.lost)
        except BaseException:
            link.close()
            raise
        return link

    def _shake_hands(self, session: Session, sock: Any, place: Place) -> None:
        try:
            session.shake_hands(sock)
        except (OSError, ConnectError) as problem:
            if not _remedy(problem) and (other := self._mismatch(place)) is not None:
                raise other from problem
            raise

    def _mismatch(self, place: Place) -> ConnectError | None:
        use: scheme.Use = "gRPC" if self.context is None else "gRPC over TLS"
        return scheme.mismatch(partial(_connected, place), use)


def mismatch(address: Address, use: scheme.Use) -> ConnectError | None:
    """As `scheme.mismatch`, of whoever accepts a connection first at an address."""
    return scheme.mismatch(lambda: connect_first(address)[0], use)


def _race(address: Address, turn: int, attempt: Callable[[Place], T], discard: Callable[[T], Any]) -> T:
    """The first success at one of the places of an address; a failure names the address, and who failed why."""
    with _limit(f"{address.text}: no answer to a look-up of its name"):
        places = resolve(address, turn)

    def named(place: Place) -> T:
        try:
            return attempt(place)
        except (OSError, ValueError, ConnectError) as problem:  # ssl.SSLError is an OSError
            where = "" if place.host in (address.host, address.path) else f" ({place.host})"
            raise ConnectError(
                f"{address.text}{where}: {_reason(problem)}",
                remedy=_remedy(problem),
            ) from problem

    return first([partial(named, place) for place in places], discard)


def _limit(reason: str) -> gevent.Timeout:
    return gevent.Timeout(ATTEMPT_SECONDS, ConnectError(f"{reason} within {ATTEMPT_SECONDS:g} s"))


def _common(remedies: set[str]) -> str:
    """The one that there is: `localhost` stands for two addresses, and often nobody listens on one of them."""
    named = remedies - {""}
    return named.pop() if len(named) == 1 else ""


def _remedy(problem: Exception) -> str:
    if isinstance(problem, ssl.SSLCertVerificationError):
        return OTHER_CERTIFICATE
    return problem.remedy if isinstance(problem, ConnectError) else ""


def _reason(problem: Exception) -> str:
    if isinstance(problem, ConnectError):
        return str(problem)
    return str(getattr(problem, "strerror", None) or problem or type(problem).__name__)


def _connected(place: Place) -> Any:
    sock = gevent.socket.socket(place.family, gevent.socket.SOCK_STREAM)
    try:
        sock.connect(place.where)
        if place.family != gevent.socket.AF_UNIX:
            _tune(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _tune(sock: Any) -> None:
    sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
    # A host that vanished while we wait for its answers is noticed after 40 s.
    sock.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(gevent.socket, option):
            sock.setsockopt(gevent.socket.IPPROTO_TCP, getattr(gevent.socket, option), value)
