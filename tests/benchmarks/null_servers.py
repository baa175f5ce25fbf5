"""Servers that answer without work, to compare clients with, and how busy they are."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from google.protobuf import text_format

from bench.launch import server_process
from bench.server.api.null import canned_reply
from bench.server.textproto import SSLConfig
from tests.wire.native import build, missing, started


class Target(NamedTuple):
    address: str
    pid: int

    def cpu(self) -> float:
        """Processor seconds that the server has used until now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def cpp(folder: Path, cpu: int, tls: bool) -> Iterator[Target]:
    """A server on gRPC's C++ library; needs a compiler."""
    if (reason := missing("grpc++")) is not None:
        raise SystemExit(f"{reason}: use --server null")
    reply = folder / "reply"
    reply.write_bytes(canned_reply())
    command: list[str | Path] = [
        "taskset",
        "-c",
        str(cpu),
        build(),
        "0",
        reply,
        *([folder / "server.pem"] if tls else []),
    ]
    with started(command) as server:
        yield Target(f"127.0.0.1:{server.port}", server.pid)


@contextmanager
def null(folder: Path, cpu: int, tls: bool) -> Iterator[Target]:
    """The project's own, which is the faster one; with `tls` it has the certificate in `folder`."""
    arguments = ["--backend", "null"]
    if tls:
        pem = (folder / "server.pem").read_text()
        config = folder / "ssl.config"
        config.write_text(text_format.MessageToString(SSLConfig(server_key=pem, server_cert=pem)))
        arguments += ["--ssl_config_file", str(config)]
    with server_process.embedded(arguments, cpus=[cpu]) as server:
        yield Target(server.address, server.pid)


Opener = Callable[[Path, int, bool], AbstractContextManager[Target]]
SERVERS: dict[str, Opener] = {"c++": cpp, "null": null}


def default() -> str:
    """The C++ server where it can be built."""
    return "c++" if missing("grpc++") is None else "null"
