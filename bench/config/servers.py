"""Server declarations (servers.toml): kind, build, place and settings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import field_validator

from bench import BenchError
from bench.config.cpus import cpu_numbers
from bench.config.reading import (
    LONGEST_NAME,
    Table,
    checked,
    key,
    nearest,
    read_toml,
    refusal,
    unknown,
)
from bench.protocol.names import DEFAULT, MODULES, REST
from bench.wire.dial import authority_of
from bench.wire.unary import metadata_fields

Flag = bool | int | float | str


class Batching(Table):
    """TensorFlow Serving's timed batching, by the names of its BatchingParameters."""

    max_batch_size: int = key(1000, "an integer >= 1", "Maximum number of examples in a batch.", "64", ge=1)
    batch_timeout_micros: int = key(
        0, "an integer >= 0 (microseconds)", "How long a batch waits for more requests.", "5000", ge=0
    )
    max_enqueued_batches: int = key(
        10, "an integer >= 1", "Batches that may wait; further requests are refused.", "100", ge=1
    )
    num_batch_threads: int | None = key(
        None, "an integer >= 1", "Batches run at once; default: the number of CPUs.", "2", ge=1
    )
    allowed_batch_sizes: list[int] = key(
        [],
        "a list of increasing integers, the last equal to max_batch_size",
        "Sizes to which batches are padded.",
        "[8, 32, 64]",
    )

    @field_validator("allowed_batch_sizes")
    @classmethod
    def _growing(cls, sizes: list[int]) -> list[int]:
        if sizes != sorted(set(sizes)) or (sizes and sizes[0] < 1):
            raise ValueError("expected a list of increasing integers, the last equal to max_batch_size")
        return sizes


class Tls(Table):
    """How a remote server proves who it is, and the client who it is."""

    ca: str | None = key(None, "the path of a PEM file", "CA to trust instead of the system's.", '"ca.pem"')
    certificate: str | None = key(
        None, "the path of a PEM file", "Client certificate (with `key`).", '"client.pem"'
    )
    server_name: str | None = key(
        None, "a host name", "Host name expected in the certificate.", '"serving.example"'
    )
    # the last one: from here on the name hides the function
    key: str | None = key(None, "the path of a PEM file", "Client key.", '"client.key"')


class Server(Table):
    """What can be said of a server of any kind."""

    kind: str = key(..., "embedded, binary, docker, remote or kubernetes", "Kind of server.", '"embedded"')
    build: str = key("", "any text", "Build label, shown in reports: cpu, gpu, avx512, xla.", '"avx512"')
    protocol: str = key(
        DEFAULT,
        f"one of {', '.join(MODULES)}",
        "Protocol of the requests; with `tfs-rest` the address is that of the REST port.",
        f'"{REST}"',
    )
    ready_seconds: float = key(
        120.0,
        "a number > 0 (seconds)",
        "Time limit for its models to become ready.",
        "60",
        gt=0,
        allow_inf_nan=False,
    )

    price_per_hour: float | None = key(
        None,
        "a number > 0",
        "What an hour of it costs, in any currency: for the cost of a million predictions.",
        "0.38",
        gt=0,
        allow_inf_nan=False,
    )

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in MODULES:
            raise ValueError(f"expected one of {', '.join(MODULES)}")
        return name


class Started(Server):
    """A server that is started here."""

    environment: dict[str, str] = key(
        {},
        "a table of environment variables with texts as values",
        "Environment variables of the server.",
        '{ TF_ENABLE_ONEDNN_OPTS = "0" }',
    )
    cpus: str | None = key(None, 'CPU numbers such as "0" or "0-3,6"', "CPUs that it may use.", '"0"')
    batching: Literal["none", "continuous"] | Batching | None = key(
        None,
        '"none", "continuous" or a table of batching parameters',
        "Batching in the server: none, continuous (embedded only), or timed.",
        "{ max_batch_size = 64, batch_timeout_micros = 5000 }",
    )
    session_parallelism: int | None = key(
        None,
        "an integer >= 0",
        "Threads within and between operations (tensorflow_session_parallelism).",
        "1",
        ge=0,
    )
    intra_op: int | None = key(
        None,
        "an integer >= 0",
        "Threads within an operation (tensorflow_intra_op_parallelism).",
        "2",
        ge=0,
    )
    inter_op: int | None = key(
        None,
        "an integer >= -1",
        "Threads between operations (tensorflow_inter_op_parallelism).",
        "1",
        ge=-1,
    )
    xla: bool = key(
        False, "true or false", "Compile the model with XLA, clusters chosen by TensorFlow.", "true"
    )
    max_threads: int | None = key(
        None,
        "an integer >= 2",
        "Calls at once, plus one; further ones are refused (grpc_max_threads).",
        "64",
        ge=2,
    )
    flags: dict[str, Flag] = key(
        {},
        "a table of the server's flags",
        "Further flags, by the server's names without dashes.",
        "{ file_system_poll_wait_seconds = 0 }",
    )

    @field_validator("cpus")
    @classmethod
    def _cpus(cls, text: str | None) -> str | None:
        if text is not None:
            cpu_numbers(text)
        return text

    @property
    def loads_models(self) -> bool:
        """Whether it loads SavedModels, as all but stand-ins do."""
        return True


class Embedded(Started):
    """The server that comes with this package, in a process of its own."""

    kind: Literal["embedded"] = key(..., "embedded", "The server of this package.", '"embedded"')

    @property
    def loads_models(self) -> bool:
        """As above; the other backends answer without TensorFlow."""
        return self.flags.get("backend", "tensorflow") == "tensorflow"


class Binary(Started):
    """A `tensorflow_model_server` executable."""

    kind: Literal["binary"] = key(..., "binary", "An executable on this machine.", '"binary"')
    path: str = key(
        "tensorflow_model_server",
        "a command on PATH or the path of an executable",
        "Executable to run.",
        '"/opt/avx512/tensorflow_model_server"',
        min_length=1,
    )
    port: int = key(0, "a port number; 0 for a free one", "gRPC port.", "8500", ge=0, le=65535)
    stop_seconds: float = key(
        10.0,
        "a number > 0 (seconds)",
        "Time from SIGTERM to SIGKILL.",
        "5",
        gt=0,
        allow_inf_nan=False,
    )
    ssl_config_file: str | None = key(
        None,
        "the path of an SSLConfig file in protobuf text format",
        "Serve TLS with it (give the client's side in `tls`).",
        '"ssl.config"',
    )
    tls: Tls | None = key(
        None,
        "a table with ca, certificate, key, server_name",
        "The client's side of TLS.",
        '{ ca = "ca.pem" }',
    )


class Docker(Started):
    """A container of a TensorFlow Serving image."""

    kind: Literal["docker"] = key(..., "docker", "A container on this machine's Docker.", '"docker"')
    image: str = key(
        ..., "an image with its tag", "Docker image to run.", '"tensorflow/serving:2.19.1"', min_length=1
    )
    pull: Literal["missing", "never"] = key(
        "missing", '"missing" or "never"', "Whether to pull a missing image.", '"never"'
    )
    executable: str = key(
        "/usr/bin/tensorflow_model_server",
        "a path in the image",
        "Command to run instead of the image's entrypoint, which does not forward signals.",
        '"/usr/bin/tensorflow_model_server"',
    )
    gpus: Literal["all"] | int | list[str] | None = key(
        None,
        '"all", a number of GPUs or a list of device ids',
        "GPUs that the container sees.",
        '"all"',
    )

    @field_validator("gpus")
    @classmethod
    def _some(cls, gpus: str | int | list[str] | None) -> str | int | list[str] | None:
        if gpus == [] or (isinstance(gpus, int) and gpus < 1):
            raise ValueError('expected "all", a number of GPUs >= 1 or a list of device ids')
        return gpus

    memory: str | None = key(
        None,
        'a size such as "512m" or "4g"',
        "Memory limit.",
        '"4g"',
        pattern=r"^\d+[bkmg]?$",
    )
    mounts: dict[str, str] = key(
        {},
        "a table of host folders and the container's folders that show them",
        "Further folders, read only; those of the models are mounted anyway.",
        '{ "/data/ssl" = "/ssl" }',
    )


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
        "the URL of its Prometheus page",
        "Prometheus page to read its counters from.",
        '"http://serving.default.svc:8501/monitoring/prometheus/metrics"',
        pattern=r"^https?://",
    )


KINDS: Final[Mapping[str, type[Server]]] = {
    "embedded": Embedded,
    "binary": Binary,
    "docker": Docker,
    "remote": Remote,
    "kubernetes": Remote,
}


class Declared(NamedTuple):
    """A server as a file declares it."""

    name: str
    file: Path
    spec: Server

    def refusal(self, name: str, value: Any, allowed: str) -> BenchError:
        """The complaint about one of its keys."""
        return refusal(self.file, f"servers.{self.name}.{name}", value, allowed)


def read_servers(path: Path) -> dict[str, Declared]:
    """The servers that a file names. Raises BenchError with file, key, value and what is allowed."""
    content = read_toml(path)
    for name in content:
        if name != "servers":
            raise BenchError(
                f"{path}: {name[:LONGEST_NAME]}: unknown table{nearest(name, ['servers'])}; known is [servers.NAME]"
            )
    tables = content.get("servers", {})
    if not isinstance(tables, dict) or not tables:
        raise BenchError(f"{path}: servers: missing; expected at least one table [servers.NAME]")
    return {name: _declared(path, name, table) for name, table in tables.items()}


def _declared(path: Path, name: str, table: Any) -> Declared:
    where = f"servers.{name}"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise BenchError(f"{path}: {where}: letters, digits, '.', '_' and '-' only, since it names folders")
    if not isinstance(table, dict):
        raise refusal(path, where, table, "expected a table")
    kind = table.get("kind")
    if kind is None:
        raise BenchError(f"{path}: {where}.kind: missing; expected one of {', '.join(KINDS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        near = nearest(str(kind), KINDS)
        raise refusal(path, f"{where}.kind", kind, f"unknown{near}; expected one of {', '.join(KINDS)}")
    model = KINDS[kind]
    for each, value in table.items():
        able = [other for other, its in KINDS.items() if each in its.model_fields]
        if each not in model.model_fields and able:
            raise refusal(
                path,
                f"{where}.{each}",
                value,
                f"a server of kind {kind} cannot do that ({', '.join(able)} can); "
                f"valid keys: {', '.join(sorted(model.model_fields))}",
            )
    return Declared(name, path, checked(model, table, path, where))


def chosen(servers: Mapping[str, Declared], names: list[str], file: Path) -> list[Declared]:
    """Those of the servers that an experiment names. Raises BenchError for an unknown one."""
    for number, name in enumerate(names):
        if name not in servers:
            raise unknown(file, f'servers[{number}] = "{name}"', name, servers)
    return [servers[name] for name in names]
