"""Which server is asked, and will it understand the questions?"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import BenchError
from bench.load.options import Asked, Options
from bench.sample import outcome
from bench.serve import launch
from bench.wire import messages
from bench.wire.client import Channel, open_channel

CONNECT_SECONDS = 5.0
NOT_FOUND, UNIMPLEMENTED, UNAVAILABLE = 5, 12, 14


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


class EmbeddedServer:
    """The server that the first load process starts when no host is given, with both MNIST versions."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.models = _mnist_models(say)
        configuration = _model_config(self.models)
        say("starting the embedded server")
        self._launched = launch.embedded(["--model_config_file", str(configuration)])
        server = self._launched.__enter__()
        self.address: str = server.address
        self.pid: int = server.pid
        say(f"embedded server is ready at {self.address}")

    def stop(self) -> None:
        """Stop the server process and wait for its end."""
        self._launched.__exit__(None, None, None)


def look(address: str, options: Options, *, models: Path | None = None) -> Target:
    """Connect and ask the server for the model's signatures, so that wrong options show before the load starts.

    Raises BenchError for what the user can fix: an address where nobody listens, an unknown model, version,
    label or signature. A server that refuses to answer for other reasons is still a target: what it answers
    to the load is what is measured.
    """
    channel = connect(address, options, connections=1)
    try:
        return _ask_metadata(channel, address, options.asked, models)
    finally:
        channel.close()


def connect(address: str, options: Options, *, connections: int) -> Channel:
    """An open channel to the target. Raises BenchError where nobody listens."""
    channel: Channel = open_channel(
        options.transport, address, connections=connections, tls=options.tls, metadata=options.metadata
    )
    try:
        channel.connect(CONNECT_SECONDS)
    except BaseException:
        channel.close()
        raise
    return channel


def address_of(host: str) -> str:
    """The `host:port` in what a user gives as --host; Locust users are used to write a scheme before it."""
    for scheme in ("grpc://", "http://", "https://", "grpcs://"):
        host = host.removeprefix(scheme)
    host = host.rstrip("/")
    if not host:
        raise BenchError("--host is empty: give HOST:PORT, such as localhost:8500")
    if host.startswith("unix:") or host.rsplit(":", 1)[-1].isdigit():
        return host
    return f"{host}:8500"


def _ask_metadata(channel: Channel, address: str, asked: Asked, models: Path | None) -> Target:
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = asked.model
    if asked.version is not None:
        request.model_spec.version.value = asked.version
    if asked.label is not None:
        request.model_spec.version_label = asked.label
    reply = channel.call(messages.GET_MODEL_METADATA, request.SerializeToString(), CONNECT_SECONDS)
    kind = "embedded" if models else "remote"
    if reply.status == UNAVAILABLE:
        raise BenchError(
            f"--host {address}: {reply.details or 'nobody answers'}; is the server running there?"
        )
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
    path = models / asked.model / str(version) if models else None
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


def cache_folder() -> Path:
    """Where what can be made again is kept between runs (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serving-bench"


def _mnist_models(say: Callable[[str], None]) -> Path:
    """The folder that holds MNIST versions 1 and 2; what is missing is trained in a process of its own."""
    folder = cache_folder() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another load test may be training them at this moment
        if all((folder / "mnist" / version / "saved_model.pb").is_file() for version in ("1", "2")):
            return folder
        say(f"training MNIST versions 1 and 2 into {folder} (once)")
        command = [sys.executable, "-m", "bench", "export", str(folder), "--model", "mnist", "--pair"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchError(f"the export of MNIST into {folder} failed: {last}")
    for line in done.stdout.strip().splitlines():
        say(line)
    return folder


def _model_config(models: Path) -> Path:
    """A model config that serves all versions of MNIST, so that any of them can be asked for."""
    path = models / "mnist.config"
    text = (
        'model_config_list { config { name: "mnist" base_path: "'
        + str(models / "mnist")
        + '" model_platform: "tensorflow" model_version_policy { all {} } } }\n'
    )
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(text)
    temporary.rename(path)
    return path
