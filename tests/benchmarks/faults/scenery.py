"""What faults act on: a server that can be killed, a proxy before it, a disk that can be filled, a clock to be stepped."""

import ctypes
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from bench.launch import server_process
from bench.launch.kinds import launched
from bench.launch.ready import wait_available
from bench.launch.running import Running, Served
from bench.launch.servers_file import read_servers
from bench.wire import frames
from bench.wire.messages import PredictResponse
from tests.load.falsifier import Falsifier, _received
from tests.load.locust_runs import ROOT
from tests.ports import free_port

DISK: Final = 64 << 20
"""Bytes of the disk that can be filled."""
STEPPED: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, now), pid = 0;
  FILE *file = id == CLOCK_REALTIME ? fopen(getenv("STEPPED"), "r") : NULL;
  if (file) {
    if (fscanf(file, "%d", &pid) == 1 && pid == getpid()) now->tv_sec += 3600;
    fclose(file);
  }
  return result;
}
"""
"""The wall clock of the process whose number is in the file STEPPED is an hour ahead."""
_UNSPECIFIED: Final = (ctypes.c_char * 16)()


class Between(Falsifier):
    """A proxy that passes everything on until a fault is switched on."""

    def __init__(self, target: str) -> None:
        super().__init__(target, 1, ("flip",))
        self.falsify: str | None = None
        self.asked = threading.Event()
        """Set when a request has been passed on since it was cleared."""

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            server.sendall(data)
            if len(data) > 1000:  # the preface of a connection is shorter
                self.asked.set()
        server.close()

    def _falsify(self, out: bytearray, place: slice, waiting: slice | None) -> slice | None:
        if self.falsify == "flip":
            return super()._falsify(out, place, waiting)
        if self.falsify == "stale":
            response = PredictResponse.FromString(bytes(out[place.start + 5 : place.stop]))
            response.model_spec.version.value = 1
            message = response.SerializeToString()
            out[place.start + 5 : place.stop] = message
        return None

    def drain(self) -> None:
        """Let clients finish what they have begun, and go on over another connection (GOAWAY without an error)."""
        for client in self._sockets[1::2]:
            with suppress(OSError):
                client.sendall(frames.goaway(2**31 - 1, frames.NO_ERROR))
        del self._sockets[1:]

    def end(self, manner: str) -> None:
        """End all connections of clients: reset (TCP RST), goaway (and hang up), cut (in the middle of a frame)."""
        for client in self._sockets[1::2]:
            with suppress(OSError):
                if manner == "reset":  # close() would wait for the thread that reads
                    ctypes.CDLL(None).connect(client.fileno(), _UNSPECIFIED, len(_UNSPECIFIED))
                    continue
                client.sendall(
                    frames.goaway(2**31 - 1, 11) if manner == "goaway" else b"\0\0\x40\0\0\0\0\0\1half"
                )
                client.shutdown(socket.SHUT_RDWR)
        del self._sockets[1:]


class Target:
    """A server that can be killed and started anew at the same address."""

    def __init__(self, kind: str, folder: Path, stack: ExitStack) -> None:
        self._kind, self.folder, self._stack = kind, folder, stack
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        (folder / "mnist" / "2").mkdir(parents=True)
        self.pid = 0
        self._again: list[str] = []
        """How the executable was started."""
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        if self._kind == "embedded":
            flags = ["--backend=synthetic", "--service-time=constant(20ms)", f"--port={self._port}"]
            flags += ["--model_name=mnist", f"--model_base_path={self.folder / 'mnist'}"]
            self.pid = self._stack.enter_context(server_process.embedded(flags)).pid
        elif self._again:  # the launcher refuses a port that the dead one's connections still have
            self._start_again()
        else:
            self._launch()

    def _start_again(self) -> None:
        process = subprocess.Popen(self._again)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        running = Running(self.address, lambda: None if process.poll() is None else "ended", str)
        wait_available(running, [Served("mnist", self.folder / "mnist", (2,))], 60)

    def _launch(self) -> None:
        program, declared = self.folder / "tensorflow_model_server", self.folder / "servers.toml"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from tests.launch.model_server import main\nsys.exit(main(sys.argv[1:]))\n"
        )
        program.chmod(0o755)
        declared.write_text(
            f'[servers.it]\nkind = "binary"\npath = "{program}"\nport = {self._port}\n'
            'flags = { backend = "synthetic", service_time = "constant(20ms)" }\n'
        )
        running = launched(
            read_servers(declared)["it"],
            [Served("mnist", self.folder / "mnist", (2,))],
            self.folder / "place",
        )
        server = self._stack.enter_context(running)
        assert server.pid is not None
        self.pid = server.pid
        self._again = [str(program), *server.facts["arguments"]]


class Scene(NamedTuple):
    """What a fault can act on."""

    server: Target
    proxy: Between
    load: "subprocess.Popen[str]"
    run: Path

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.load.pid).children()


@contextmanager
def scenery(kind: str) -> Iterator[tuple[Target, Between]]:
    """A server and a proxy before it."""
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        target = Target(kind, Path(made), stack)
        proxy = Between(target.address)
        stack.callback(proxy.close)
        yield target, proxy


@contextmanager
def small_disk() -> Iterator[Path]:
    """A folder on a disk of its own, which holds DISK bytes; takes the rights to mount one."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "faults", place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def fill(folder: Path) -> None:
    """Leave no byte on a disk."""
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 20))


def steppable(folder: Path) -> dict[str, str]:
    """The environment of processes whose wall clock can be stepped."""
    (folder / "stepped.c").write_text(STEPPED)
    library = folder / "stepped.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "stepped.c", "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library), "STEPPED": str(folder / "stepped")}
