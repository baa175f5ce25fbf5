"""The server's addresses, and whether each is free."""

import errno
import resource
import socket
from pathlib import Path
from typing import Any, NamedTuple

from bench import BenchError
from bench.server.options import ServerFlags


class Ports(NamedTuple):
    """Bound sockets that do not listen yet: clients are refused until the models are available."""

    grpc: socket.socket
    unix: socket.socket | None
    rest: socket.socket | None

    def close(self) -> None:
        """Give the addresses back."""
        for sock in (self.grpc, self.unix, self.rest):
            if sock is not None:
                sock.close()


def bind(options: ServerFlags) -> Ports:
    """Take every address that the options name. Raises BenchError where one is in use."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a client is a descriptor
    ports: list[socket.socket | None] = []
    try:
        ports.append(_tcp("port", options.bind, options.port, shared=options.shared_port))
        ports.append(_unix(options.grpc_socket_path))
        rest = options.rest_api_port
        ports.append(
            None if rest is None else _tcp("rest_api_port", options.bind, rest, shared=options.shared_port)
        )
    except BenchError:
        for sock in ports:
            if sock is not None:
                sock.close()
        raise
    return Ports(*ports)  # type: ignore[arg-type]  # the first one is a socket


def shown(sock: socket.socket) -> str:
    """host:port of a TCP socket, as clients write it."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tcp(flag: str, address: str, port: int, *, shared: bool) -> socket.socket:
    try:
        return bound(address, port, shared=shared)
    except OSError as error:
        raise BenchError(
            f"--{flag} {port}: {address}:{port} cannot be used ({error.strerror or error}); "
            "stop the other server or choose another port (0 takes a free one)"
        ) from None


def _unix(path: str) -> socket.socket | None:
    if not path:
        return None
    try:
        return bound_unix(Path(path))
    except OSError as error:
        raise BenchError(f"--grpc_socket_path {path}: cannot be used ({error.strerror or error})") from None


def bound(address: str, port: int, *, shared: bool) -> socket.socket:
    """A TCP socket bound to the address; 0 takes a free port. Raises OSError where it is in use.

    Only `shared` sockets may have others beside them on the same port (SO_REUSEPORT): a second server must not
    start unnoticed and take half of the connections.
    """
    family: Any = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def bound_unix(path: Path) -> socket.socket:
    """A UNIX socket bound to the path; one that a dead server left there is replaced. Raises OSError."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "another server listens there")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
        path.chmod(0o600)
    except OSError:
        sock.close()
        raise
    return sock
