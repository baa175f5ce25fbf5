"""The launcher for each kind of server."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from bench import BenchError, extras
from bench.config.servers import Binary, Declared, Docker, Embedded, Remote
from bench.launch.binary import binary
from bench.launch.embedded import embedded
from bench.launch.flags import settings
from bench.launch.remote import remote
from bench.launch.running import Running, Served
from bench.protocol.names import EMBEDDED, SPOKEN
from bench.protocol.registry import api_named


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
            running = stack.enter_context(_of_kind(server, models, folder, keep_open))
        except BenchError as error:
            where = f"{server.file}: servers.{server.name}"
            text = str(error)
            raise BenchError(text if text.startswith(where) else f"{where}: {text}") from None
        yield running if isinstance(server.spec, Remote) else _called(running, server)


def _called(running: Running, server: Declared) -> Running:
    """A server that was started here, at the port that speaks the protocol by which it is to be called."""
    protocol = server.spec.protocol
    if not api_named(protocol).over_http:
        return replace(running, protocol=protocol)
    if running.rest is None:
        raise server.refusal("protocol", protocol, "the server has no REST port that can be reached")
    return replace(running, address=running.rest, protocol=protocol)


def _of_kind(
    server: Declared, models: Sequence[Served], folder: Path, keep_open: Sequence[int]
) -> AbstractContextManager[Running]:
    if isinstance(server.spec, Embedded):
        return embedded(server, models, folder)
    if isinstance(server.spec, Binary):
        return binary(server, models, folder, keep_open)
    if isinstance(server.spec, Docker):
        from bench.launch.docker import docker

        return docker(server, models, folder)
    return remote(server, models, folder)


def check(server: Declared) -> None:
    """Raise BenchError for what shows without starting anything: flags, combinations, what a kind cannot do."""
    if isinstance(server.spec, (Embedded, Binary, Docker)):
        spoken = EMBEDDED if isinstance(server.spec, Embedded) else SPOKEN
        if server.spec.protocol not in spoken:
            allowed = f"this server speaks {', '.join(spoken)}"
            raise server.refusal("protocol", server.spec.protocol, allowed)
        settings(server)
    missing = _tensorflow(server)
    if missing is not None:
        raise BenchError(f"{server.file}: servers.{server.name}: {missing}")


def lacking(server: Declared) -> str | None:
    """What this machine lacks for the server; None: nothing that would be known beforehand."""
    if isinstance(server.spec, Embedded):
        return _tensorflow(server)
    if isinstance(server.spec, Binary):
        return None if shutil.which(server.spec.path) else f"no executable {server.spec.path}"
    if isinstance(server.spec, Docker):
        from bench.launch.docker import lacking as docker_lacking

        return docker_lacking(server)
    return None


def _tensorflow(server: Declared) -> str | None:
    """What an embedded server that executes models with TensorFlow lacks."""
    spec = server.spec
    return extras.lacking("tensorflow") if isinstance(spec, Embedded) and spec.loads_models else None
