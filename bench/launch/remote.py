"""A server that is already running elsewhere, such as in Kubernetes."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.config.servers import Declared, Remote
from bench.launch.binary import client_tls
from bench.launch.ready import wait_available
from bench.launch.running import Running, Served
from bench.wire.unary import metadata_fields


@contextlib.contextmanager
def remote(server: Declared, models: Sequence[Served], folder: Path) -> Iterator[Running]:
    """Wait until its models are available; nothing is started or stopped. Raises BenchError."""
    spec = server.spec
    assert isinstance(spec, Remote)  # noqa: S101 - for the type checker
    there = described(server)
    available = wait_available(
        spec.address,
        models,
        seconds=spec.ready_seconds,
        ended=lambda: None,
        tail=lambda: "its log is where it runs",
        tls=there.tls,
        metadata=_metadata(server, spec),
        authority=spec.authority,
        protocol=spec.protocol,
    )
    yield replace(there, facts={"address": spec.address, "available": available})


def described(server: Declared) -> Running:
    """The server as its file describes it, which nobody has looked at. Raises BenchError."""
    spec = server.spec
    assert isinstance(spec, Remote)  # noqa: S101 - for the type checker
    _metadata(server, spec)
    return Running(
        address=spec.address,
        ended=lambda: None,
        log_text=str,
        metrics=spec.metrics,
        tls=client_tls(spec.tls, server),
        metadata=spec.metadata,
        authority=spec.authority,
        protocol=spec.protocol,
        facts={"address": spec.address},
    )


def _metadata(server: Declared, spec: Remote) -> dict[str, str]:
    values = {}
    for name, variable in spec.metadata.items():
        if variable not in os.environ:
            raise server.refusal(
                f"metadata.{name}", variable, "this environment variable is not set; export it first"
            )
        value = values[name.lower()] = os.environ[variable]
        try:
            metadata_fields([(name, value)])
        except ValueError as problem:
            raise server.refusal(f"metadata.{name}", variable, str(problem)) from None
    return values
