"""Peers that are not Python: a C++ gRPC server compiled on the spot, h2load, curl; and what is missing for them."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

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


def build(folder: Path, source: Path = SOURCE) -> Path:
    """Compile a C++ program, the server if none is named."""
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "grpc++"], check=True, capture_output=True, text=True
    ).stdout.split()
    program = folder / source.stem
    subprocess.run(
        ["g++", "-O2", "-std=c++17", str(source), "-o", str(program), *flags], check=True, timeout=150
    )
    return program


@contextmanager
def running(command: Sequence[str | Path]) -> Iterator[int]:
    """A server that prints its port and ends with its standard input; gives the port."""
    with subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
