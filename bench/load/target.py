"""Which server is asked, and will it understand the questions?"""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from bench import BenchError
from bench.load.options import Options
from bench.load.site import METRICS_PATH, Site
from bench.load.sources import Source
from bench.payload import Asked, Pool
from bench.sample import outcome
from bench.serve import launch
from bench.wire import messages
from bench.wire.client import Channel, open_channel

CONNECT_SECONDS = 5.0
DEADLINE_EXCEEDED, NOT_FOUND, UNIMPLEMENTED, UNAVAILABLE = 4, 5, 12, 14


@dataclass(frozen=True)
class Target:
    """A server that has been looked at: where it is and what it says of the model."""

    address: str
    kind: str
    """`embedded` (started here) or `remote`."""
    version: int | None
    """The version that answered when none was asked for; None where the server does not tell."""
    model_path: Path | None = None
    """The SavedModel's folder, where it is known."""
    warning: str | None = None
    """Why the look failed, although the server answers."""
    pid: int | None = None
    """The server's process, where it was started here."""
    asked: Mapping[str, Asked] = field(default_factory=dict)
    """What the requests of each name ask for."""


class EmbeddedServer:
    """The server that the first load process starts when no host is given, as the scenario wants it."""

    def __init__(self, user_classes: Iterable[Any], options: Options, say: Callable[[str], None]) -> None:
        """Raises BenchError where a model cannot be made or the server does not start."""
        wanted = next((user.server for user in user_classes if hasattr(user, "server")), None)
        if wanted is None:
            raise BenchError("--host: no user class of the locustfile says what to serve; give HOST:PORT")
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="serving-bench-"))
            self.site = Site(options, say, Path(folder))
            arguments = wanted(self.site)
            say("starting the embedded server")
            # should this process be killed, the server is the one that is left to tidy up
            tidy = ["--remove_with_parent", folder]
            server = stack.enter_context(launch.embedded([*arguments, *tidy]))
            self._stack = stack.pop_all()
        self.address: str = server.address
        self.rest = server.rest
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


def asked_by(pools: Mapping[Source, Pool], options: Options) -> dict[str, Asked]:
    """What the requests of each name ask for, by the first message of each pool (of a trace's first kind)."""
    found = {}
    for source, pool in pools.items():
        if source.kind:
            continue
        spec = messages.PredictRequest.FromString(pool.messages[0]).model_spec
        found[source.name] = replace(
            options.asked,
            model=spec.name,
            version=spec.version.value if spec.HasField("version") else None,
            label=spec.version_label or None,
            signature=spec.signature_name or "serving_default",
        )
    return found


def look(
    address: str, options: Options, asked: Mapping[str, Asked], *, own: EmbeddedServer | None = None
) -> Target:
    """Connect and ask the server for the models' signatures, so that wrong options show before the load starts.

    asked: what the requests of each name ask for. own: the server that was started here.

    Raises BenchError for what the user can fix: an address where nobody listens, an unknown model, version,
    label or signature. A server that refuses to answer for other reasons is still a target: what it answers
    to the load is what is measured.
    """
    channel = connect(address, options, connections=1)
    try:
        found = {each: _ask_metadata(channel, address, each, own) for each in asked.values()}
    finally:
        channel.close()
    first = next(iter(found.values()))
    same = len({target.version for target in found.values()}) == 1
    warning = next((target.warning for target in found.values() if target.warning), None)
    return replace(first, version=first.version if same else None, warning=warning, asked=asked)


def connect(address: str, options: Options, *, connections: int, turn: int = 0) -> Channel:
    """An open channel to the target; `turn`: as for `Channel`. Raises BenchError where nobody listens."""
    channel: Channel = open_channel(
        options.transport,
        address,
        connections=connections,
        tls=options.tls,
        metadata=options.metadata,
        keepalive=options.keepalive,
        authority=options.authority,
        turn=turn,
    )
    try:
        channel.connect(CONNECT_SECONDS)
    except BaseException:
        channel.close()
        raise
    return channel


def address_of(host: str) -> str:
    """The `host:port` in what a user gives as --host; Locust users are used to write a scheme before it."""
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
    return f"{host}:8500"


def _ask_metadata(channel: Channel, address: str, asked: Asked, own: EmbeddedServer | None) -> Target:
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = asked.model
    if asked.version is not None:
        request.model_spec.version.value = asked.version
    if asked.label is not None:
        request.model_spec.version_label = asked.label
    reply = channel.call(messages.GET_MODEL_METADATA, request.SerializeToString(), CONNECT_SECONDS)
    kind = "embedded" if own else "remote"
    if reply.status in (UNAVAILABLE, DEADLINE_EXCEEDED):
        problem = reply.details if reply.status == UNAVAILABLE else f"no answer within {CONNECT_SECONDS:g} s"
        raise BenchError(f"--host {address}: {problem or 'nobody answers'}; is a gRPC server running there?")
    if reply.status == NOT_FOUND or "version label" in reply.details:
        raise BenchError(_unknown_model(channel, address, asked, reply.details))
    if reply.status:
        known = reply.status == UNIMPLEMENTED  # a server that only predicts
        text = f"{address} answers {outcome(reply.status)} when asked for the model: {reply.details}"
        return Target(address, kind, asked.version, warning=None if known else text)
    answer = messages.GetModelMetadataResponse.FromString(reply.message)
    if "signature_def" not in answer.metadata:
        return Target(address, kind, asked.version)
    signatures = messages.SignatureDefMap.FromString(answer.metadata["signature_def"].value).signature_def
    if asked.signature not in signatures:
        names = ", ".join(sorted(name for name in signatures if not name.startswith("__")))
        raise BenchError(f"--signature {asked.signature}: model {asked.model} at {address} has {names}")
    version = int(answer.model_spec.version.value)
    path = own.model_path(asked.model, version) if own else None
    return Target(address, kind, version, model_path=path)


def _unknown_model(channel: Channel, address: str, asked: Asked, details: str) -> str:
    request = messages.GetModelStatusRequest()
    request.model_spec.name = asked.model
    reply = channel.call(messages.GET_MODEL_STATUS, request.SerializeToString(), CONNECT_SECONDS)
    if reply.status:
        return f"--model-name {asked.model}: {address} does not serve it ({details}); check the name and the server's configuration"
    statuses = messages.GetModelStatusResponse.FromString(reply.message).model_version_status
    available = sorted(s.version for s in statuses if s.state == messages.ModelVersionStatus.AVAILABLE)
    option = f"--version-label {asked.label}" if asked.label else f"--model-version {asked.version}"
    there = ", ".join(map(str, available)) or "none"
    return (
        f"{option}: not served by {address} ({details}); versions of {asked.model} available there: {there}"
    )
