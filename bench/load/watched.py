"""Options that say where a run looks at its server, and where others look at the run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import BenchError
from bench.config.telemetry import TelemetryPage, telemetry_pages
from bench.load.option_values import whole


@dataclass(frozen=True)
class Watched:
    """The places to look at a server that was not started here."""

    pid: int | None = None
    """Its process on this machine."""
    container: str | None = None
    """Its Docker container."""
    metrics: str | None = None
    """URL of its Prometheus page."""
    telemetry: tuple[TelemetryPage, ...] = ()
    """Pages of exporters on its machine."""


def watched_of(parsed: Any) -> Watched:
    """The values of the options. Raises BenchError."""
    telemetry = str(parsed.server_telemetry or "")
    try:
        pages = telemetry_pages(telemetry)
    except ValueError as error:
        raise BenchError(f"--server-telemetry {telemetry}: {error}") from None
    return Watched(
        pid=whole("--server-pid", parsed.server_pid, 1) if parsed.server_pid else None,
        container=str(parsed.server_container) or None,
        metrics=str(parsed.server_metrics) or None,
        telemetry=pages,
    )


def add_watching(option: Callable[..., None]) -> None:
    """Register the options. option: registers one."""
    option(
        "--server-pid",
        private=True,
        default="",
        metavar="PID",
        help="observe this server process on this machine",
    )
    option("--server-container", private=True, default="", metavar="ID", help="observe this Docker container")
    option(
        "--server-metrics",
        private=True,
        default="",
        metavar="URL",
        help="read the server's counters on its Prometheus page, or of a Triton at grpc://HOST:PORT, before, during and after the run",
    )
    option(
        "--server-telemetry",
        private=True,
        default="",
        metavar="URL,...",
        help="read CPU, memory, network and GPUs of the server's machine or pods each second, on these pages of node-exporter, "
        "cAdvisor, kubelets or DCGM exporter; URL#namespace=default&pod=NAME-* chooses by labels",
    )
    option(
        "--otlp",
        private=True,
        default="",
        metavar="URL",
        help="push the run's metrics to this OpenTelemetry collector while it lasts, such as http://localhost:4318/v1/metrics",
    )
    option(
        "--prometheus",
        private=True,
        default="",
        metavar="HOST:PORT",
        help="offer the run's metrics to Prometheus at this address of the first load process, such as 127.0.0.1:9646",
    )
