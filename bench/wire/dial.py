"""Addresses, and TLS between a socket and an HTTP/2 connection."""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import BenchError

_READ: Final = 65_536
_RECORD: Final = 16_384  # bytes that one record carries at most (RFC 8446, 5.1)
_RECORD_HEAD: Final = 5  # bytes: type, version, length (RFC 8446, 5.1)
_HOST: Final = re.compile(r"[^\s/:\[\]@]+")
NO_TLS: Final = "the server does not speak TLS"
WITHOUT_TLS: Final = "leave --grpc-tls out (in servers.toml: tls)"
WITH_TLS: Final = "encrypt with --grpc-tls, or --grpc-tls-ca FILE for a private CA (in servers.toml: tls)"
OTHER_CERTIFICATE: Final = (
    "trust its CA with --grpc-tls-ca, or name it as its certificate does: --grpc-tls-server-name"
)
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True)
class TLS:
    """Certificates by which the server proves who it is, and the client who it is."""

    ca: Path | None = None
    """PEM file with the certificate authorities to trust; None: the system's."""
    certificate: Path | None = None
    """PEM file with the client's certificate chain, for servers that ask for one."""
    key: Path | None = None
    """PEM file with the client's private key; None: it is in `certificate`."""
    server_name: str | None = None
    """The name that the server's certificate has to bear; None: the address's host."""


@dataclass(frozen=True)
class Address:
    """The address of a server."""

    text: str
    """As the user gave it."""
    host: str
    """Host name or IP address; empty for a unix socket."""
    port: int
    path: str
    """Path of the unix socket; empty for TCP."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read host:port, [ipv6]:port, unix:/path, each also as gRPC's dns:///... ; raises BenchError for others."""
        bare = text.removeprefix("dns:///")
        if bare.startswith("unix:"):
            path = bare.removeprefix("unix:")
            path = path.removeprefix("//") if path.startswith("///") else path
            if path:
                return cls(text, "", 0, path)
        else:
            host, _, port = bare.rpartition(":")
            ipv6 = host.startswith("[") and host.endswith("]")
            known = bool(_HOST.fullmatch(host)) or ipv6
            if known and port.isascii() and port.isdigit() and 0 < int(port) < 65_536:
                return cls(text, host[1:-1] if ipv6 else host, int(port), "")
        raise BenchError(f"address {text!r}: expected host:port, [ipv6]:port or unix:/path")

    @property
    def authority(self) -> str:
        """The :authority of requests."""
        if self.path:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def authority_of(name: str) -> str:
    """A name for :authority, checked: host or host:port (RFC 9113, 8.3.1). Raises BenchError."""
    if not _AUTHORITY.fullmatch(name):
        raise BenchError(
            f"--authority {name!r}: expected a host name or host:port, such as model.example.com"
        )
    return name


class ConnectError(Exception):
    """No connection came about; the text says with whom and why.

    `remedy`: what the user has to change, where the server is there and trying again will not help; else empty.
    """

    def __init__(self, text: str, *, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


class NoServer(BenchError):  # noqa: N818  # a BenchError like all others
    """Nobody answers at an address."""


class OtherwiseReached(NoServer):
    """Somebody answers there, and will not as long as he is called like this."""


def no_connection(place: str, reason: str, seconds: float, *, remedy: str = "") -> NoServer:
    """What to tell where no connection has come about; remedy: as `ConnectError.remedy`."""
    if remedy:
        return OtherwiseReached(f"no connection to {place} ({reason}); {remedy}")
    return NoServer(
        f"no connection within {seconds:g} s to {place} ({reason}); start the server or correct the address"
    )


class Session:
    """TLS between the socket and the HTTP/2 connection, on memory buffers: one send may carry many records."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def shake_hands(self, sock: Any) -> None:
        """Do the handshake on a blocking (cooperative) socket; raises ssl.SSLError, OSError, ConnectError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(self._outgoing.read())
                received = sock.recv(_READ)
                if not received:
                    raise ConnectError("the server closed the connection during the TLS handshake") from None
                self._incoming.write(received)
            except ssl.SSLError as problem:
                if problem.reason != "WRONG_VERSION_NUMBER":  # no TLS record at all
                    raise
                raise ConnectError(NO_TLS, remedy=WITHOUT_TLS) from None
            else:
                sock.sendall(self._outgoing.read())
                break
        if self._tls.selected_alpn_protocol() != "h2":
            raise ConnectError(
                "the server does not offer HTTP/2 (ALPN h2) over TLS",
                remedy="give the address of its gRPC port",
            )

    def encrypt(self, data: bytes) -> bytes:
        """Records to send for these bytes, preceded by what TLS itself has to say, such as a key update."""
        self._tls.write(data)
        return self._outgoing.read()

    def decrypt(self, received: bytes) -> bytes | None:
        """The content of what was read; None when the server has closed the session. Raises ssl.SSLError."""
        if received:
            self._incoming.write(received)
        parts: list[bytes] = []
        tls, incoming = self._tls, self._incoming
        # Asking first is cheaper than the exception that ends reading otherwise, which remains for records that have come in part.
        while incoming.pending or tls.pending():
            try:
                part = tls.read(_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                part = b""
            if not part:
                return b"".join(parts) or None
            parts.append(part)
        return b"".join(parts)


def in_records(records: bytes, plain: Sequence[int]) -> list[int]:
    """Where in the records of one `encrypt` the record ends that holds the last byte before each plain offset.

    `plain` ends with the number of bytes that were encrypted. Records of TLS itself may stand before theirs.
    """
    ends, at = [], 0
    while at < len(records):
        at += _RECORD_HEAD + int.from_bytes(records[at + 3 : at + 5], "big")
        ends.append(at)
    first = len(ends) - -(-plain[-1] // _RECORD)
    return [ends[max(first + -(-offset // _RECORD) - 1, 0)] for offset in plain]


def client_context(tls: TLS) -> ssl.SSLContext:
    """A context that verifies the server; raises BenchError for files that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except (OSError, ssl.SSLError) as problem:
        raise BenchError(f"{tls.ca}: not a PEM file of certificate authorities: {problem}") from problem
    if tls.certificate is not None:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except (OSError, ssl.SSLError) as problem:
            files = f"{tls.certificate}" + (f", {tls.key}" if tls.key else "")
            raise BenchError(f"{files}: not a usable PEM client certificate and key: {problem}") from problem
    elif tls.key is not None:
        raise BenchError(f"{tls.key}: a client key without a client certificate: give both")
    context.set_alpn_protocols(["h2"])
    return context
