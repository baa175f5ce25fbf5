"""Options that are more than a number: files, distributions, schedules."""

import ssl
from pathlib import Path
from typing import NamedTuple

from bench.server.api.rest import PROMETHEUS_PATH
from bench.server.execution import batching_parameters, service_time
from bench.server.net import tls
from bench.server.options import ServerFlags
from bench.server.textproto import MonitoringConfig
from bench.server.textproto import read as read_text


class Settings(NamedTuple):
    """All that has been read and parsed, except for the models' configuration."""

    tls: ssl.SSLContext | None
    batching: batching_parameters.Parameters | None
    """Of the original's batching; None: continuous batching."""
    prometheus_path: str | None
    """None: no metrics page."""
    plan: service_time.Plan | None
    """Of the synthetic backend."""


def read(options: ServerFlags) -> Settings:
    """Read all of them. Raises BenchError for one that cannot be used."""
    batching = None
    if options.enable_batching:
        path = options.batching_parameters_file
        batching = batching_parameters.parameters(Path(path) if path else None)
    return Settings(
        tls.context(Path(options.ssl_config_file)) if options.ssl_config_file else None,
        batching,
        _prometheus_path(options),
        service_time.plan(options) if options.backend == "synthetic" else None,
    )


def _prometheus_path(options: ServerFlags) -> str | None:
    if not options.monitoring_config_file:
        return None
    config = read_text(Path(options.monitoring_config_file), MonitoringConfig).prometheus_config
    return (config.path or PROMETHEUS_PATH) if config.enable else None
