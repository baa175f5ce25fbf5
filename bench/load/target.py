"""The server that a load is sent to, started here or not, and connections to it."""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from bench import BenchError
from bench.launch import server_process
from bench.load.checking.checker import Declared
from bench.load.options import ScenarioOptions
from bench.load.site import METRICS_PATH, Site
from bench.load.sources import Source
from bench.payload import Asked, Pool
from bench.protocol.names import EMBEDDED
from bench.wire import messages
from bench.wire.client import Channel
from bench.wire.transports import HTTP, open_channel

CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Target:
    """A server that has been looked at: where it is and what it says of the model."""

    address: str
    kind: str
    """`embedded` (started here) or `remote`."""
    version: int | None
    """The version that answered when none was asked for; None where the server does not tell."""
    names_version: bool = False
    """Whether its answers name the version that gave them."""
    model_path: Path | None = None
    """The SavedModel's folder, where it is known."""
    notes: tuple[str, ...] = ()
    """What the server does not do, and need not."""
    warnings: tuple[str, ...] = ()
    """Why a first request failed, although the load can begin."""
    declared: Mapping[Source, Declared] = field(default_factory=dict)
    """What the signature declares of each pool's output, where the server tells."""
    pid: int | None = None
    """The server's process, where it was started here."""
    specs: Mapping[str, Asked] = field(default_factory=dict)
    """Model, version and the like of the requests of each name."""


class EmbeddedServer:
    """The server that the first load process starts when no host is given, as the scenario wants it."""

    def __init__(
        self, user_classes: Iterable[Any], options: ScenarioOptions, say: Callable[[str], None]
    ) -> None:
        """Raises BenchError where a model cannot be made or the server does not start."""
        wanted = next((user.server for user in user_classes if hasattr(user, "server")), None)
        if wanted is None:
            raise BenchError("--host: no user class of the locustfile defines what to serve; give HOST:PORT")
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="serving-bench-"))
            self.site = Site(options, say, Path(folder))
            arguments = wanted(self.site)
            if options.protocol not in EMBEDDED:
                raise BenchError(
                    f"--protocol {options.protocol}: the embedded server does not speak it; give --host of a server that does"
                )
            if options.api.over_http and not any(each.startswith("--rest_api_port") for each in arguments):
                arguments = [*arguments, "--rest_api_port=0"]
            say("starting the embedded server")
            # should this process be killed, the server is the one that is left to tidy up
            tidy = ["--remove_with_parent", folder]
            server = stack.enter_context(server_process.embedded([*arguments, *tidy]))
            self._stack = stack.pop_all()
        self.rest = server.rest
        self.address: str = str(server.rest) if options.api.over_http else server.address
        counted = "--monitoring_config_file" in arguments and self.rest
        self.metrics = f"http://{self.rest}{METRICS_PATH}" if counted else None
        """URL of its counters, where the scenario wants them."""
        self.pid: int = server.pid
        self.largest_request: int = server.ready["max_message_bytes"]
        """Bytes of a message that it accepts."""
        say(f"embedded server is ready at {self.address}")

    def _models(self) -> dict[str, Path]:
        """Name and base path of the models in the server's model config; nothing where it has none."""
        path = self.site.folder / "models.config"
        if not path.is_file():
            return {}
        config = text_format.Parse(path.read_text(), messages.ModelServerConfig())
        return {each.name: Path(each.base_path) for each in config.model_config_list.config}

    def model_path(self, model: str, version: int | None) -> Path | None:
        """The SavedModel's folder; None where it is not in the server's model config."""
        base_path = self._models().get(model)
        return None if base_path is None or version is None else base_path / str(version)

    def stop(self) -> None:
        """Stop the server process and wait for its end."""
        self._stack.close()


def specs_of(pools: Mapping[Source, Pool], options: ScenarioOptions) -> dict[str, Asked]:
    """What the requests of each name ask for (of a trace, those of its first kind)."""
    specs = {}
    for source, pool in pools.items():
        if source.kind:
            continue
        specs[source.name] = replace(
            options.asked,
            model=pool.model,
            version=pool.version,
            label=pool.label,
            signature=pool.signature or source.api.signature or "",
        )
    return specs


def connect(address: str, options: ScenarioOptions, *, connections: int, turn: int = 0) -> Channel:
    """An open channel to the target; `turn`: as for `Channel`. Raises BenchError where nobody listens."""
    channel: Channel = open_channel(
        HTTP if options.api.over_http else options.transport,
        address,
        connections=connections,
        tls=options.tls,
        metadata=options.metadata,
        keepalive=options.keepalive,
        authority=options.authority,
        largest_message=options.max_answer_bytes,
        turn=turn,
        compression=options.compression,
    )
    try:
        channel.connect(CONNECT_SECONDS)
    except BaseException:
        channel.close()
        raise
    return channel


def host_of(environment: Any, port: int) -> str | None:
    """The target that the user classes name, as Locust's do: their `host`; None where none does or Locust has a host.

    port: as for `address_of`. Raises BenchError where they name several: one run measures one target.
    """
    if environment.host:
        return None
    sending = [user for user in environment.user_classes if hasattr(user, "payload") and user.host]
    named = {address_of(user.host, port): user for user in sending}
    if len(named) > 1:
        listed = ", ".join(f"{user.__name__} {user.host}" for user in named.values())
        raise BenchError(
            f"host: the user classes name several targets ({listed}), a run measures one; run each class by itself, "
            "or give --host, which takes precedence"
        )
    return next(iter(named), None)


def address_of(host: str, port: int = 8500) -> str:
    """The `host:port` in what a user gives as --host; Locust users are used to write a scheme before it.

    port: where none is given.
    """
    for scheme in ("https://", "grpcs://"):
        if host.startswith(scheme):
            plain = host.removeprefix(scheme)
            raise BenchError(
                f"--host {host}: a scheme does not turn encryption on: --host {plain} --grpc-tls"
            )
    host = host.removeprefix("grpc://").removeprefix("http://").strip().rstrip("/")
    if not host:
        raise BenchError("--host is empty: give HOST:PORT, such as localhost:8500")
    if host.startswith("unix:") or host.rsplit(":", 1)[-1].isdigit():
        return host
    return f"{host}:{port}"
