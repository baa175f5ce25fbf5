"""Packages that come with an extra of serving-bench, such as `pip install 'serving-bench[server]'`."""

import importlib.util
from typing import Final

from bench import BenchError

EXTRAS: Final = {
    "PIL": ("pillow", "pictures"),
    "grpc": ("grpcio", "grpcio"),
    "opentelemetry.exporter.otlp.proto.http": ("opentelemetry-exporter-otlp-proto-http", "otel"),
    "prometheus_client": ("prometheus-client", "prometheus"),
    "matplotlib": ("matplotlib", "pictures"),
    "pyarrow": ("pyarrow", "parquet"),
    "pynvml": ("nvidia-ml-py", "gpu"),
    "tensorflow": ("tensorflow", "server"),
    "yaml": ("pyyaml", "kubernetes"),
}
"""Package -> the distribution that it is in, and the extra that brings it."""


class MissingExtra(BenchError):  # noqa: N818 - a BenchError like all others
    """A package of an extra that is not installed."""


def lacking(package: str) -> str | None:
    """What to install for the package; None where it is installed. It is not imported."""
    try:
        installed = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a package that it lies in is missing
        installed = False
    distribution, extra = EXTRAS[package]
    return None if installed else f"{distribution} is not installed: pip install 'serving-bench[{extra}]'"


def need(package: str, purpose: str) -> None:
    """Raise MissingExtra where the package is not installed; `purpose`: what needs it."""
    remedy = lacking(package)
    if remedy is not None:
        raise MissingExtra(f"{purpose}: {remedy}")
