"""The kinds of server by name, and the start of a server of any of them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.config.servers import Declared, Started
from bench.launch import binary, docker, embedded, python, remote
from bench.launch.kind import Kind
from bench.launch.running import Running, Served
from bench.protocol.names import SPOKEN
from bench.protocol.registry import api_named

KINDS: Final[Mapping[str, Kind]] = {
    "embedded": embedded.KIND,
    "binary": binary.KIND,
    "docker": docker.KIND,
    "python": python.KIND,
    "remote": remote.KIND,
    "kubernetes": remote.KIND,
}


@contextlib.contextmanager
def launched(
    server: Declared, models: Sequence[Served], folder: Path, keep_open: Sequence[int] = ()
) -> Iterator[Running]:
    """The server, with all its models available, for the length of the block.

    `folder` gets its configuration files and its log. Raises BenchError where it cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(_kind(server).start(server, models, folder, keep_open))
        except BenchError as error:
            where = f"{server.file}: servers.{server.name}"
            text = str(error)
            raise BenchError(text if text.startswith(where) else f"{where}: {text}") from None
        yield _called(running, server) if isinstance(server.spec, Started) else running


def _called(running: Running, server: Declared) -> Running:
    """A server that was started here, at the port that speaks the protocol by which it is to be called."""
    protocol = server.spec.protocol
    running = replace(running, parameters=server.spec.request_parameters)
    if not api_named(protocol).over_http:
        return replace(running, protocol=protocol)
    if running.rest is None:
        raise server.refusal("protocol", protocol, "the server has no REST port that can be reached")
    return replace(running, address=running.rest, protocol=protocol)


def check(server: Declared) -> None:
    """Raise BenchError for what shows without starting anything: flags, combinations, what a kind cannot do."""
    kind = _kind(server)
    if server.spec.protocol not in kind.spoken:
        raise server.refusal("protocol", server.spec.protocol, f"this server speaks {', '.join(kind.spoken)}")
    if server.spec.request_parameters and server.spec.protocol in SPOKEN:
        raise server.refusal(
            "request_parameters",
            server.spec.request_parameters,
            f"requests by {server.spec.protocol} have none; leave it out",
        )
    kind.check(server)


def lacking(server: Declared) -> str | None:
    """What this machine lacks for the server; None: nothing that would be known beforehand."""
    return _kind(server).lacking(server)


def _kind(server: Declared) -> Kind:
    return KINDS[server.spec.kind]
