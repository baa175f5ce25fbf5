"""The kinds `remote` and `kubernetes`: a server that is already running elsewhere."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import field_validator

from bench import BenchError
from bench.config.reading import key
from bench.config.servers import Declared, Server, Tls
from bench.config.telemetry import TelemetryPage
from bench.launch.client_tls import client_tls
from bench.launch.kind import Kind
from bench.launch.ready import wait_available
from bench.launch.running import Running, Served
from bench.wire.dial import authority_of
from bench.wire.unary import metadata_fields


class Remote(Server):
    """A server that runs already; nothing is started."""

    kind: Literal["remote", "kubernetes"] = key(
        ..., "remote or kubernetes", "A server that runs elsewhere.", '"kubernetes"'
    )
    address: str = key(
        ...,
        "host:port of the port that speaks `protocol`",
        "Address of the server.",
        '"serving.default.svc:8500"',
        min_length=1,
    )
    tls: Tls | Literal[True] | None = key(
        None,
        "true, or a table with ca, certificate, key, server_name",
        "Encrypt the connection.",
        '{ ca = "ca.pem" }',
    )
    authority: str | None = key(
        None,
        "a host name or host:port",
        "Name of the virtual host to call (`:authority`), as for Istio, Knative or an ingress.",
        '"mnist.default.example.com"',
    )
    metadata: dict[str, str] = key(
        {},
        "a table of metadata keys and the environment variables that hold their values",
        "Metadata of each call; values come from the environment, so that files hold no secrets.",
        '{ authorization = "SERVING_TOKEN" }',
    )

    @field_validator("authority")
    @classmethod
    def _host(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                authority_of(name)
            except BenchError:
                raise ValueError("expected a host name or host:port") from None
        return name

    @field_validator("metadata")
    @classmethod
    def _sendable(cls, variables: dict[str, str]) -> dict[str, str]:
        metadata_fields((name, "") for name in variables)
        return variables

    metrics: str | None = key(
        None,
        "the URL of its Prometheus page, or grpc://host:port of a Triton",
        "Prometheus page to read its counters from.",
        '"http://serving.default.svc:8501/monitoring/prometheus/metrics"',
        pattern=r"^(https?|grpc)://",
    )
    telemetry: list[str] = key(
        [],
        "a list of URLs of pages of node-exporter, cAdvisor, kubelets or DCGM exporter",
        "Pages to read CPU, memory, network and GPUs of its machine or pods from, chosen by labels behind `#`.",
        '["http://node1:9100/metrics"]',
    )

    @field_validator("telemetry")
    @classmethod
    def _pages(cls, pages: list[str]) -> list[str]:
        for page in pages:
            TelemetryPage.parse(page)
        return pages


@contextlib.contextmanager
def remote(
    server: Declared, models: Sequence[Served], _folder: Path, _keep_open: Sequence[int] = ()
) -> Iterator[Running]:
    """Wait until its models are available; nothing is started or stopped. Raises BenchError."""
    spec = server.spec
    assert isinstance(spec, Remote)  # noqa: S101 - for the type checker
    running = described(server)
    yield wait_available(running, models, spec.ready_seconds, _metadata(server, spec))


def described(server: Declared) -> Running:
    """The server as its file describes it, which nobody has looked at. Raises BenchError."""
    spec = server.spec
    assert isinstance(spec, Remote)  # noqa: S101 - for the type checker
    _metadata(server, spec)
    return Running(
        address=spec.address,
        ended=lambda: None,
        log_text=lambda: "its log is where it runs",
        metrics=spec.metrics,
        telemetry=tuple(spec.telemetry),
        tls=client_tls(spec.tls, server),
        metadata=spec.metadata,
        authority=spec.authority,
        protocol=spec.protocol,
        parameters=spec.request_parameters,
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


KIND: Final = Kind(Remote, remote)
