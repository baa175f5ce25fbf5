"""A running server: its facts, and whether it has ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench import BenchError
from bench.protocol.names import DEFAULT
from bench.wire.dial import TLS


class Served(NamedTuple):
    """A model that a server has to serve."""

    name: str
    path: Path | None
    """The folder of its numbered versions; None: the server has its own, as one that runs elsewhere."""
    versions: tuple[int, ...]
    """Those that are needed; none: the latest."""


@dataclass(frozen=True)
class Running:
    """A server whose models answer."""

    address: str
    """host:port of the port that speaks `protocol`."""
    ended: Callable[[], str | None]
    """None while it runs; afterwards how it ended, with the end of its log."""
    log_text: Callable[[], str]
    pid: int | None = None
    """Its process on this machine."""
    container: str | None = None
    """Its Docker container."""
    metrics: str | None = None
    """URL of its Prometheus page."""
    telemetry: tuple[str, ...] = ()
    """Pages of exporters on its machine, as `bench.config.telemetry` reads them."""
    rest: str | None = None
    """host:port of its REST port."""
    protocol: str = DEFAULT
    """By which it is called."""
    parameters: Mapping[str, bool | int | str] = field(default_factory=dict)
    """Of each request."""
    tls: TLS | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Metadata of each call: key -> environment variable with the value."""
    authority: str | None = None
    """The :authority of the calls; None: it follows from the address."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What it really is, ready for JSON."""


class NotReady(BenchError):  # noqa: N818 - a BenchError like all others
    """A server did not come up; the text holds the end of its log."""
