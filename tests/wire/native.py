"""Peers that are not Python: a C++ gRPC server compiled on the spot, h2load, curl; and what is missing for them."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("null_server.cc")
PACKAGES = {
    "g++": "g++",
    "pkg-config": "pkg-config",
    "h2load": "nghttp2-client",
    "curl": "curl",
    "grpc++": "libgrpc++-dev",
}


@cache
def missing(tool: str) -> str | None:
    """Why a tool or the library grpc++ cannot be used, with the Debian package that brings it; None: it can."""
    if tool == "grpc++":
        for needed in ("g++", "pkg-config"):
            if (reason := missing(needed)) is not None:
                return reason
        there = subprocess.run(["pkg-config", "--exists", "grpc++"], check=False).returncode == 0
    else:
        there = shutil.which(tool) is not None
    return None if there else f"{tool} is not installed (Debian package {PACKAGES[tool]})"


def build(source: Path = SOURCE, libraries: Sequence[str] = ("grpc++",)) -> Path:
    """Compile a C++ program, the server if none is named; one that was compiled before is used again."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serving-bench" / "native"
    program = cache / f"{source.stem}-{digest}"
    if not program.exists():
        flags: list[str] = []
        if libraries:
            told = ["pkg-config", "--cflags", "--libs", *libraries]
            flags = subprocess.run(told, check=True, capture_output=True, text=True).stdout.split()
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            made = Path(folder) / source.stem
            command = ["g++", "-O2", "-std=c++17", str(source), "-o", str(made), *flags]
            subprocess.run(command, check=True, timeout=150)
            made.replace(program)  # whole or not at all, also where two compile at once
    return program


class Started(NamedTuple):
    port: int
    pid: int


@contextmanager
def started(command: Sequence[str | Path]) -> Iterator[Started]:
    """A server that prints its port and ends with its standard input."""
    with subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield Started(int(process.stdout.readline()), process.pid)
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@contextmanager
def running(command: Sequence[str | Path]) -> Iterator[int]:
    """As `started`; gives the port alone."""
    with started(command) as server:
        yield server.port
