"""Servers of the Open Inference Protocol that are started as their documentation says: flags, variables and ports.

Their models lie in a repository of the server's own form, which the servers file names. All of them are ready when their
models are (ModelReady), which the launch asks for. In arguments and variables stand {repository}, {grpc}, {http} and
{metrics} for the path and the ports, {host} for the interface, and {libraries} for the folder of the interpreter's own
library. Sources: `tritonserver --help`; MLServer, "Settings" (variables that begin with MLSERVER_); KServe,
kserve/model_server.py; OpenVINO Model Server, "Parameters"; PyTriton, TritonConfig.from_env.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from bench import BenchError
from bench.config.servers import Declared, Started
from bench.launch.flags import settings
from bench.protocol.names import OIP, OIP_TYPED, SPOKEN

TENSORFLOW: Final = "tensorflow"
"""TensorFlow Serving, which is none of these."""
_OWN_KEYS: Final = (
    *("batching", "session_parallelism", "intra_op", "inter_op", "xla", "max_threads"),
    "ssl_config_file",
)
"""Keys whose flags TensorFlow Serving alone has."""


class Ports(NamedTuple):
    """The ports of a server."""

    grpc: int
    http: int
    metrics: int


@dataclass(frozen=True)
class KnownServer:
    """The way in which one of them is started."""

    title: str
    program: str
    """A command, or the path of an executable in its images; {python}: the interpreter of its venv."""
    arguments: tuple[str, ...]
    repository: str
    """What its repository is, for texts."""
    ports: Ports
    """Its own, as in its images."""
    environment: Mapping[str, str] = field(default_factory=dict)
    flags: bool = True
    """Whether it takes further ones, as --name=value."""
    metrics: str | None = None
    """The URL of counters that are known here, with {host} and {metrics}; None: it has none."""

    def values(self, ports: Ports, repository: str, **more: str) -> dict[str, str]:
        """What stands for the words in braces."""
        numbers = {name: str(port) for name, port in ports._asdict().items()}
        return {"host": "127.0.0.1", "repository": repository, "libraries": "", **numbers, **more}

    def command(self, values: Mapping[str, str], flags: Mapping[str, Any]) -> list[str]:
        """Its arguments, with further flags behind them."""
        further = [f"--{name}={_text(value)}" for name, value in flags.items()]
        return [each.format_map(values) for each in self.arguments] + further

    def variables(self, values: Mapping[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
        """Its environment variables; those of the servers file go before its own."""
        return {name: text.format_map(values) for name, text in self.environment.items()} | dict(overrides)


KNOWN: Final[Mapping[str, KnownServer]] = {
    "triton": KnownServer(
        "Triton",
        "tritonserver",
        (
            "--model-repository={repository}",
            *("--grpc-address={host}", "--http-address={host}", "--metrics-address={host}"),
            *("--grpc-port={grpc}", "--http-port={http}", "--metrics-port={metrics}"),
        ),
        "the folder of its model repository",
        Ports(8001, 8000, 8002),
        metrics="http://{host}:{metrics}/metrics",
    ),
    "mlserver": KnownServer(
        "MLServer",
        "mlserver",
        ("start", "{repository}"),
        "the folder with its model-settings.json files",
        Ports(8081, 8080, 8082),
        {
            "MLSERVER_HOST": "{host}",
            "MLSERVER_GRPC_PORT": "{grpc}",
            "MLSERVER_HTTP_PORT": "{http}",
            "MLSERVER_METRICS_PORT": "{metrics}",
        },
        flags=False,
    ),
    "kserve": KnownServer(
        "KServe",
        "{python}",
        ("{repository}", "--grpc_port={grpc}", "--http_port={http}"),
        "the Python file that starts its ModelServer",
        Ports(8081, 8080, 8082),
    ),
    "ovms": KnownServer(
        "OpenVINO Model Server",
        "ovms",
        (
            "--config_path={repository}",
            *("--grpc_bind_address={host}", "--rest_bind_address={host}"),
            *("--port={grpc}", "--rest_port={http}"),
        ),
        "its config.json, in a folder with the models",
        Ports(9000, 8000, 8002),
    ),
    "pytriton": KnownServer(
        "PyTriton",
        "{python}",
        ("{repository}",),
        "the Python file that binds its models and serves",
        Ports(8001, 8000, 8002),
        {
            "PYTRITON_TRITON_CONFIG_GRPC_PORT": "{grpc}",
            "PYTRITON_TRITON_CONFIG_HTTP_PORT": "{http}",
            "PYTRITON_TRITON_CONFIG_METRICS_PORT": "{metrics}",
            # its Python backend is a program that looks for the interpreter's library
            "LD_LIBRARY_PATH": "{libraries}",
        },
        flags=False,
        metrics="http://{host}:{metrics}/metrics",
    ),
    "own": KnownServer(
        "own server",
        "{python}",
        ("{repository}", "--grpc_port={grpc}", "--http_port={http}"),
        "the Python file that starts the server",
        Ports(8001, 8000, 8002),
    ),
}


def known(server: Declared) -> KnownServer | None:
    """Which of them a declared server is; None: TensorFlow Serving."""
    return KNOWN.get(getattr(server.spec, "server", TENSORFLOW))


def check(server: Declared) -> None:
    """Raise BenchError for keys and flags that the declared server cannot be started with."""
    spec = server.spec
    assert isinstance(spec, Started)  # noqa: S101 - for the type checker
    chosen = known(server)
    spoken: Collection[str] = SPOKEN if chosen is None else (OIP, OIP_TYPED)
    if spec.protocol not in spoken:
        raise server.refusal("protocol", spec.protocol, f"this server speaks {', '.join(spoken)}")
    repository = getattr(spec, "repository", None)
    if chosen is None:
        if repository is not None:
            raise server.refusal(
                "repository", repository, "TensorFlow Serving gets the experiment's models; leave it out"
            )
        settings(server)
        return
    if repository is None:
        raise BenchError(
            f"{server.file}: servers.{server.name}.repository: missing; expected {chosen.repository}"
        )
    if not (server.file.parent / repository).exists():
        raise server.refusal("repository", repository, f"no such path; expected {chosen.repository}")
    for name in _OWN_KEYS:
        if name in spec.model_fields_set:
            raise server.refusal(
                name, getattr(spec, name), f"{chosen.title} has no such setting; configure its models"
            )
    for name, value in spec.flags.items():
        if not chosen.flags:
            raise server.refusal(
                f"flags.{name}", value, f"{chosen.title} has no flags; set variables in environment"
            )
        if any(each.partition("=")[0] == f"--{name}" for each in chosen.arguments):
            raise server.refusal(f"flags.{name}", value, "is set by the launch")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
