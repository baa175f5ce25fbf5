"""The kind `docker`: start, watch and remove a container of an image of TensorFlow Serving, or of another known server.

Docker's own package is imported where it is needed: it takes a tenth of a second, and this module is read with every
servers file.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import field_validator

from bench import BenchError
from bench.config.reading import key
from bench.config.servers import Declared, Started
from bench.launch import facts, files
from bench.launch.flags import refuse_unknown, settings
from bench.launch.kind import Kind
from bench.launch.known import TENSORFLOW, KnownServer, Ports, check, known
from bench.launch.ready import wait_available
from bench.launch.running import Running, Served
from bench.protocol.names import DEFAULT
from bench.supervision import last_lines

_PORTS: Final = Ports(8500, 8501, 8501)
_CONFIG: Final = "/serving-bench"
_REPOSITORY: Final = "/repository"
_LABEL: Final = "serving-bench"


class Docker(Started):
    """A container of an image of TensorFlow Serving, or of another server."""

    launch_seconds = 8.0

    kind: Literal["docker"] = key(..., "docker", "A container on this machine's Docker.", '"docker"')
    server: Literal["tensorflow", "triton", "mlserver", "ovms"] = key(
        TENSORFLOW,
        "tensorflow, triton, mlserver or ovms",
        "Which server is in it; all but the first speak `oip`.",
        '"triton"',
    )
    repository: str | None = key(
        None,
        "a path",
        "Models in the form of a server other than TensorFlow Serving, mounted read only: Triton's model repository, "
        "MLServer's folder, the config.json of OVMS.",
        '"models"',
    )
    image: str = key(
        ..., "an image with its tag", "Docker image to run.", '"tensorflow/serving:2.19.1"', min_length=1
    )
    pull: Literal["missing", "never"] = key(
        "missing", '"missing" or "never"', "Whether to pull a missing image.", '"never"'
    )
    executable: str | None = key(
        None,
        "a command or a path in the image",
        "Command to run instead of the image's entrypoint, which may not forward signals; default: "
        "/usr/bin/tensorflow_model_server, or the server's own command.",
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

    @property
    def takes_models(self) -> bool:
        """TensorFlow Serving does."""
        return self.server == TENSORFLOW

    @property
    def xla_flag(self) -> str | None:
        """That of the GPU's compiler where there is one."""
        return "xla_gpu_compilation_enabled" if self.gpus is not None else super().xla_flag


def _lacking(server: Declared) -> str | None:
    from docker.errors import DockerException

    spec = server.spec
    assert isinstance(spec, Docker)  # noqa: S101 - for the type checker
    try:
        client = _client()
    except BenchError as error:
        return str(error)
    try:
        if spec.gpus is not None and "nvidia" not in (client.info().get("Runtimes") or {}):
            return "Docker has no nvidia runtime here"
    except DockerException as error:
        return f"Docker does not report its images ({error})"
    finally:
        client.close()
    return None


@contextlib.contextmanager
def docker(
    server: Declared, models: Sequence[Served], folder: Path, _keep_open: Sequence[int] = ()
) -> Iterator[Running]:
    """Run it for the length of the block; files of its configuration and its log are kept in `folder`.

    Raises BenchError where it cannot be started.
    """
    from docker.errors import DockerException

    from bench.launch import containers

    spec = server.spec
    assert isinstance(spec, Docker)  # noqa: S101 - for the type checker
    client = _client()
    try:
        image = _image(client, server, spec)
        name = f"serving-bench-{server.name}-{os.getpid()}-{os.urandom(4).hex()}"
        with containers.removed_afterwards(name, folder / "container.log"):
            contents = _contents(server, spec, models, folder)
            container = _create(client, server, spec, contents, name)
            yield from _run(
                server, spec, models, container=container, image=image, folder=folder, ports=contents.ports
            )
    except DockerException as error:
        raise BenchError(
            f"{server.file}: servers.{server.name}: Docker refuses: {' '.join(str(error).split())}"
        ) from None
    finally:
        client.close()


def _client() -> Any:
    from docker.errors import DockerException

    from bench.launch import containers

    try:
        client = containers.client_of_docker()
        client.ping()
    except DockerException as error:
        where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        raise BenchError(
            f"no Docker answers at {where} ({containers.reason(error)}); start it, or set DOCKER_HOST"
        ) from None
    return client


def _image(client: Any, server: Declared, spec: Docker) -> Any:
    from docker.errors import ImageNotFound

    with contextlib.suppress(ImageNotFound):
        return client.images.get(spec.image)
    if spec.pull == "never":
        raise server.refusal("image", spec.image, 'not on this machine, and pull = "never"')
    return client.images.pull(
        spec.image
    )  # knows registries with ports, digests, and "latest" where no tag stands


class _Contents(NamedTuple):
    """The files that are put into a container, and the command that is run there."""

    executable: str
    command: list[str]
    environment: Mapping[str, str]
    mounted: dict[str, str]
    """Folders in the container -> those of this machine."""
    ports: Ports


def _contents(server: Declared, spec: Docker, models: Sequence[Served], folder: Path) -> _Contents:
    other = known(server)
    if other is not None:
        return _of_another(server, spec, other)
    how = settings(server)
    paths = files.write(
        folder,
        models,
        how.batching,
        seen=lambda path: f"{_CONFIG}/{path.name}",
        base_path=lambda model: f"/models/{model.name}",
    )
    arguments = how.arguments(port=_PORTS.grpc, rest_api_port=_PORTS.http, max_num_load_retries=0, **paths)
    mounted = {_CONFIG: str(folder.resolve())}
    mounted |= {f"/models/{model.name}": str(model.path) for model in models if model.path is not None}
    executable = spec.executable or "/usr/bin/tensorflow_model_server"
    return _Contents(executable, arguments, how.environment, mounted, _PORTS)


def _of_another(server: Declared, spec: Docker, other: KnownServer) -> _Contents:
    path = (server.file.parent / (spec.repository or "")).resolve()
    # a file is mounted with its folder, where what it names lies
    outside, inside = (path, "") if path.is_dir() else (path.parent, f"/{path.name}")
    values = {**other.values(other.ports, f"{_REPOSITORY}{inside}"), "host": "0.0.0.0"}  # noqa: S104 - in the container
    return _Contents(
        spec.executable or other.program,
        other.command(values, spec.flags),
        other.variables(values, spec.environment),
        {_REPOSITORY: str(outside)},
        other.ports,
    )


def _create(client: Any, server: Declared, spec: Docker, contents: _Contents, name: str) -> Any:
    from docker.types import Mount

    mounted = contents.mounted | {
        target: str((server.file.parent / source).resolve()) for source, target in spec.mounts.items()
    }
    return client.containers.create(
        spec.image,
        name=name,
        # the image's own entrypoint is a shell that passes no signal on
        entrypoint=[contents.executable],
        command=contents.command,
        ports={f"{port}/tcp": ("127.0.0.1", None) for port in dict.fromkeys(contents.ports)},
        mounts=[Mount(target, source, type="bind", read_only=True) for target, source in mounted.items()],
        environment=contents.environment,
        cpuset_cpus=spec.cpus,
        mem_limit=spec.memory,
        device_requests=_gpus(spec),
        labels={_LABEL: server.name},
        init=True,
    )


def _gpus(spec: Docker) -> list[Any]:
    from docker.types import DeviceRequest

    if spec.gpus is None:
        return []
    capabilities = [["gpu"]]
    if isinstance(spec.gpus, list):
        return [DeviceRequest(device_ids=spec.gpus, capabilities=capabilities)]
    return [DeviceRequest(count=-1 if spec.gpus == "all" else spec.gpus, capabilities=capabilities)]


def _run(
    server: Declared,
    spec: Docker,
    models: Sequence[Served],
    *,
    container: Any,
    image: Any,
    folder: Path,
    ports: Ports,
) -> Iterator[Running]:
    from docker.errors import DockerException, NotFound

    from bench.launch import containers

    container.start()

    def log() -> str:
        try:
            return str(container.logs(tail=2000).decode(errors="replace"))
        except DockerException:  # it is gone, with its log
            return ""

    def ended() -> str | None:
        try:
            container.reload()
        except NotFound:
            return "its container was removed"
        state = container.attrs["State"]
        if state.get("Running"):
            return None
        return f"ended with exit code {state.get('ExitCode')}: {last_lines(log())}"

    try:
        container.reload()
        address = _address(container, ports.grpc) or _fail(server, ended() or "it has no port")
        other = known(server)
        running = wait_available(
            Running(
                address=address,
                ended=ended,
                log_text=log,
                pid=containers.local_pid(container),
                container=str(container.id),
                rest=_address(container, ports.http),
                metrics=_page(_address(container, ports.metrics), other),
                protocol=DEFAULT if other is None else spec.protocol,
            ),
            models,
            spec.ready_seconds,
        )
        text = log()
        refuse_unknown(server, spec.image, text)
        described = {
            "image": spec.image,
            "image_id": image.id,
            "image_digests": image.attrs.get("RepoDigests") or [],
            "arguments": json.loads(json.dumps(container.attrs.get("Args") or [])),
        }
        yield replace(running, facts={**running.facts, **described, **facts.of_log(text)})
    finally:
        (folder / "server.log").write_text(log())
        with contextlib.suppress(NotFound):
            container.remove(force=True)


def _page(address: str | None, other: KnownServer | None) -> str | None:
    """The URL of its counters; None where they cannot be reached, or are not known."""
    if address is None:
        return None
    if other is None:
        return f"http://{address}{files.METRICS_PATH}"
    host, _, port = address.rpartition(":")
    return None if other.metrics is None else other.metrics.format(host=host, metrics=port)


def _address(container: Any, port: int) -> str | None:
    bound = (container.attrs.get("NetworkSettings") or {}).get("Ports", {}).get(f"{port}/tcp")
    return f"{bound[0]['HostIp']}:{bound[0]['HostPort']}" if bound else None


def _fail(server: Declared, reason: str) -> str:
    raise BenchError(f"{server.file}: servers.{server.name}: {reason}")


KIND: Final = Kind(Docker, docker, check=check, lacking=_lacking)
