"""The protocol of a port, where it is not the one that was called: with or without TLS, HTTP/2 or HTTP/1.1."""

import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final, Literal

import gevent

from bench.wire.dial import NO_TLS, WITH_TLS, WITHOUT_TLS, ConnectError, Session
from bench.wire.frames import PREFACE, SETTINGS, settings

ANSWER_SECONDS: Final = 1.0
"""For each of two greetings."""

Use = Literal["gRPC", "gRPC over TLS", "REST"]

_SPEAKS_TLS: Final = "the server speaks TLS"
_WANTS_CERTIFICATE: Final = (
    "the server requires a client certificate",
    "give one that it trusts: --grpc-tls-cert and --grpc-tls-key (in servers.toml: tls)",
)
_ADVICE: Final[dict[tuple[Use, str], tuple[str, str]]] = {
    ("gRPC", "TLS"): (_SPEAKS_TLS, WITH_TLS),
    ("gRPC", "HTTP/1.1"): (
        "the server speaks HTTP/1.1, not gRPC",
        "give the address of its gRPC port, or add --protocol tfs-rest",
    ),
    ("gRPC over TLS", "HTTP/2"): (NO_TLS, WITHOUT_TLS),
    ("gRPC over TLS", "HTTP/1.1"): (NO_TLS, WITHOUT_TLS),
    ("REST", "TLS"): (
        _SPEAKS_TLS,
        "requests over REST are not encrypted here, also with --grpc-tls: give the address of a port without TLS",
    ),
    ("REST", "HTTP/2"): ("the server speaks HTTP/2, as gRPC does", "give the address of its REST port"),
}


def mismatch(connect: Callable[[], Any], use: Use) -> ConnectError | None:
    """Why a server that accepts connections does not serve this use; None: it may, or does not say what it speaks.

    connect: gives a new connection as a cooperative socket.
    """
    spoken = _spoken(connect, _client_hello()) or _spoken(connect, PREFACE + settings({}))
    advice = _ADVICE.get((use, spoken or ""))
    if use == "gRPC over TLS" and spoken == "TLS" and _wants_certificate(connect):
        advice = _WANTS_CERTIFICATE
    return None if advice is None else ConnectError(advice[0], remedy=advice[1])


def _spoken(connect: Callable[[], Any], greeting: bytes) -> str | None:
    """What the first bytes of an answer are; None: there is none, or it is something else."""
    first = b""
    try:
        with gevent.Timeout(ANSWER_SECONDS, False):
            sock = connect()
            try:
                sock.sendall(greeting)
                while len(first) < 5 and (piece := sock.recv(5 - len(first))):
                    first += piece
            finally:
                sock.close()
    except (OSError, ConnectError):
        return None
    if first.startswith(b"HTTP/"):
        return "HTTP/1.1"
    if first[:1] in (b"\x15", b"\x16") and first[1:2] == b"\x03":  # an alert, or ServerHello (RFC 8446, 5.1)
        return "TLS"
    return "HTTP/2" if first[3:5] == bytes((SETTINGS, 0)) else None


def _wants_certificate(connect: Callable[[], Any]) -> bool:
    """Whether a client that shows no certificate is turned away for it, as a server of TLS 1.3 says in an alert."""
    try:
        with gevent.Timeout(ANSWER_SECONDS, False):
            sock = connect()
            try:
                session = Session(_unverified(), "localhost")
                session.shake_hands(sock)
                session.decrypt(sock.recv(65_536))
            finally:
                sock.close()
    except ssl.SSLError as problem:
        return "CERTIFICATE" in (problem.reason or "")
    except (OSError, ConnectError):
        pass
    return False


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        _unverified().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


def _unverified() -> ssl.SSLContext:
    """For greetings: nothing of the user's is said behind them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
