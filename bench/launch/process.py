"""Start of a server as a process on this machine."""

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.config.cpus import cpu_numbers
from bench.config.reading import key
from bench.config.servers import Declared, Started
from bench.launch.known import KnownServer, Ports
from bench.launch.ready import wait_available
from bench.launch.running import Running, Served
from bench.supervision import supervised
from bench.wire.dial import TLS


class Process(Started):
    """A server that is a process on this machine."""

    stop_seconds: float = key(
        10.0,
        "a number > 0 (seconds)",
        "Time from SIGTERM to SIGKILL.",
        "5",
        gt=0,
        allow_inf_nan=False,
    )


@contextlib.contextmanager
def process(
    server: Declared,
    command: Sequence[str],
    environment: Mapping[str, str],
    models: Sequence[Served],
    *,
    folder: Path,
    keep_open: Sequence[int],
    port: int,
    rest: int,
    metrics: str | None,
    protocol: str,
    tls: TLS | None = None,
) -> Iterator[Running]:
    """Run it for the length of the block; its log is kept in `folder`.

    keep_open: as `bench.supervision.supervised`. metrics: URL of its Prometheus page. Raises BenchError where it does not
    come up.
    """
    spec = server.spec
    assert isinstance(spec, Process)  # noqa: S101 - for the type checker
    log = folder / "server.log"
    log.unlink(missing_ok=True)
    with supervised(
        command,
        log=log,
        grace=spec.stop_seconds,
        environment=environment,
        cpus=() if spec.cpus is None else cpu_numbers(spec.cpus),
        keep_open=keep_open,
    ) as started:
        running = Running(
            address=f"127.0.0.1:{port}",
            ended=started.ended,
            log_text=started.log_text,
            pid=started.pid,
            rest=f"127.0.0.1:{rest}",
            metrics=metrics,
            protocol=protocol,
            tls=tls,
            facts={"arguments": list(command)},
        )
        yield wait_available(running, models, spec.ready_seconds)


@contextlib.contextmanager
def known_process(
    server: Declared,
    known: KnownServer,
    program: str,
    models: Sequence[Served],
    *,
    folder: Path,
    keep_open: Sequence[int],
    repository: str | None,
    port: int = 0,
    libraries: str = "",
) -> Iterator[Running]:
    """The same of one of the known servers.

    program: what its arguments stand behind. port: of gRPC; 0: a free one. libraries: the folder of its interpreter's library.
    """
    spec = server.spec
    assert isinstance(spec, Process)  # noqa: S101 - for the type checker
    ports = Ports(port or free_port(), free_port(), free_port())
    path = str((server.file.parent / (repository or "")).resolve())
    values = known.values(ports, path, libraries=libraries)
    with process(
        server,
        [program, *known.command(values, spec.flags)],
        known.variables(values, spec.environment),
        models,
        folder=folder,
        keep_open=keep_open,
        port=ports.grpc,
        rest=ports.http,
        metrics=None if known.metrics is None else known.metrics.format_map(values),
        protocol=spec.protocol,
    ) as running:
        yield replace(running, facts={**running.facts, "version": known.title})


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one in TIME_WAIT is free
        try:
            sock.bind(("0.0.0.0", port))  # noqa: S104 - the interface on which the server listens; closed at once
        except OSError:
            return False
        return True
