"""The kind `binary`: start, watch and end an executable: tensorflow_model_server, or another server that is known.

The former's flags and ways are those of TensorFlow Serving's model_servers/main.cc: `--flag=value` only; an unknown flag is
printed and ignored, which is an error here; exit code 255 after a failed start.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from bench.config.reading import key
from bench.config.servers import Declared, Tls
from bench.launch import facts, files
from bench.launch.client_tls import client_tls
from bench.launch.flags import refuse_unknown, settings
from bench.launch.kind import Kind
from bench.launch.known import TENSORFLOW, check, known
from bench.launch.process import Process, free_port, is_free, known_process, process
from bench.launch.running import NotReady, Running, Served
from bench.protocol.names import DEFAULT

_ATTEMPTS: Final = 3
"""A port that was free may be taken by another program before the server has it."""
_TAKEN: Final = re.compile(r"Address already in use|Failed to BuildAndStart gRPC server|cannot be used")


class Binary(Process):
    """An executable of TensorFlow Serving, or of another server."""

    launch_seconds = 5.0

    kind: Literal["binary"] = key(..., "binary", "An executable on this machine.", '"binary"')
    server: Literal["tensorflow", "triton", "mlserver", "ovms"] = key(
        TENSORFLOW,
        "tensorflow, triton, mlserver or ovms",
        "Which server it is; all but the first speak `oip`.",
        '"triton"',
    )
    repository: str | None = key(
        None,
        "a path",
        "Models in the form of a server other than TensorFlow Serving: Triton's model repository, MLServer's folder, "
        "the config.json of OVMS.",
        '"models"',
    )
    path: str | None = key(
        None,
        "a command on PATH or the path of an executable",
        "Executable to run; default: tensorflow_model_server, or the server's own command.",
        '"/opt/avx512/tensorflow_model_server"',
        min_length=1,
    )
    port: int = key(0, "a port number; 0 for a free one", "gRPC port.", "8500", ge=0, le=65535)
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

    @property
    def takes_models(self) -> bool:
        """TensorFlow Serving does."""
        return self.server == TENSORFLOW


def _program(server: Declared) -> str:
    """The command or path of what is executed."""
    spec, other = server.spec, known(server)
    assert isinstance(spec, Binary)  # noqa: S101 - for the type checker
    return spec.path or ("tensorflow_model_server" if other is None else other.program)


def executable(server: Declared) -> str:
    """The path of what is executed. Raises BenchError where there is none."""
    program = _program(server)
    path = shutil.which(program)
    if path is None:
        package = "tensorflow-model-server" if known(server) is None else program
        raise server.refusal("path", program, f"no such executable; give its path, or install {package}")
    return str(Path(path).absolute())


@contextlib.contextmanager
def binary(
    server: Declared, models: Sequence[Served], folder: Path, keep_open: Sequence[int] = ()
) -> Iterator[Running]:
    """Run it for the length of the block; files of its configuration and its log are kept in `folder`.

    `keep_open`: as `bench.supervision.supervised`. Raises BenchError where it cannot be started.
    """
    spec = server.spec
    assert isinstance(spec, Binary)  # noqa: S101 - for the type checker
    program = executable(server)
    if spec.port and not is_free(spec.port):
        raise server.refusal("port", spec.port, "another program listens there; 0 takes a free port")
    for attempt in range(_ATTEMPTS):
        stack = contextlib.ExitStack()
        with stack:
            try:
                running = stack.enter_context(_started(server, program, models, folder, keep_open))
            except NotReady as error:
                if spec.port or attempt + 1 == _ATTEMPTS or not _TAKEN.search(str(error)):
                    raise
                continue
            yield running
            return


@contextlib.contextmanager
def _started(
    server: Declared, program: str, models: Sequence[Served], folder: Path, keep_open: Sequence[int]
) -> Iterator[Running]:
    spec = server.spec
    assert isinstance(spec, Binary)  # noqa: S101 - for the type checker
    other = known(server)
    if other is not None:
        with known_process(
            server,
            other,
            program,
            models,
            folder=folder,
            keep_open=keep_open,
            repository=spec.repository,
            port=spec.port,
        ) as running:
            yield replace(running, facts={**running.facts, "executable": program})
        return
    how = settings(server)
    port, rest = spec.port or free_port(), free_port()
    paths = files.write(folder, models, how.batching)
    if spec.ssl_config_file:
        paths["ssl_config_file"] = str((server.file.parent / spec.ssl_config_file).resolve())
    arguments = how.arguments(
        port=port,
        rest_api_port=rest,
        # two servers on one port would each get a share of the connections, unnoticed
        grpc_channel_arguments="grpc.so_reuseport=0",
        # a broken version would be tried again for five minutes
        max_num_load_retries=0,
        **paths,
    )
    with process(
        server,
        [program, *arguments],
        how.environment,
        models,
        folder=folder,
        keep_open=keep_open,
        port=port,
        rest=rest,
        metrics=f"http://127.0.0.1:{rest}{files.METRICS_PATH}",
        protocol=DEFAULT,
        tls=client_tls(spec.tls, server),
    ) as running:
        text = running.log_text()
        refuse_unknown(server, program, text)
        described = {"version": facts.binary_version(program), "executable": program, "arguments": arguments}
        yield replace(running, facts={**running.facts, **described, **facts.of_log(text)})


def _lacking(server: Declared) -> str | None:
    program = _program(server)
    return None if shutil.which(program) else f"no executable {program}"


KIND: Final = Kind(Binary, binary, check=check, lacking=_lacking)
