"""Start of one of the known servers as a process on this machine."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.config.cpus import cpu_numbers
from bench.config.servers import Declared, Started
from bench.launch.free_ports import free_port
from bench.launch.known import KnownServer, Ports
from bench.launch.ready import wait_available
from bench.launch.running import Running, Served
from bench.supervision import supervised, tail


@contextlib.contextmanager
def known_process(
    server: Declared,
    known: KnownServer,
    program: Sequence[str],
    models: Sequence[Served],
    *,
    folder: Path,
    keep_open: Sequence[int],
    repository: str,
    port: int = 0,
    grace: float = 10.0,
    libraries: str = "",
    facts: Mapping[str, object] | None = None,
) -> Iterator[Running]:
    """Run it for the length of the block; its log is kept in `folder`.

    program: what its arguments stand behind. port: of gRPC; 0: a free one. grace: seconds that it has to end. libraries: the
    folder of its interpreter's library. facts: that are known of it. Raises BenchError where it does not come up.
    """
    spec = server.spec
    assert isinstance(spec, Started)  # noqa: S101 - for the type checker
    ports = Ports(port or free_port(), free_port(), free_port())
    path = str((server.file.parent / repository).resolve())
    values = known.values(ports, path, libraries=libraries)
    command = [*program, *known.command(values, spec.flags)]
    log = folder / "server.log"
    log.unlink(missing_ok=True)
    with supervised(
        command,
        log=log,
        grace=grace,
        environment=known.variables(values, spec.environment),
        cpus=() if spec.cpus is None else cpu_numbers(spec.cpus),
        keep_open=keep_open,
    ) as process:

        def ended() -> str | None:
            code = process.code
            return None if code is None else f"ended with exit code {code}: {process.log_tail()}"

        address = f"127.0.0.1:{ports.grpc}"
        available = wait_available(
            address,
            models,
            seconds=spec.ready_seconds,
            ended=ended,
            tail=lambda: tail(log),
            protocol=spec.protocol,
        )
        yield Running(
            address=address,
            ended=ended,
            log_text=lambda: log.read_text(errors="replace"),
            pid=process.pid,
            rest=f"127.0.0.1:{ports.http}",
            metrics=None if known.metrics is None else known.metrics.format_map(values),
            protocol=spec.protocol,
            facts={"version": known.title, "arguments": command, "available": available, **(facts or {})},
        )
