"""A `tensorflow_model_server` for tests: its flags, its words and its exit codes around the embedded server.

MODEL_SERVER_FAULT makes it misbehave: crash, port, never-ready, ignore-term, die:FILE.
"""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.server.options import ServerFlags

VERSION = "TensorFlow ModelServer: 2.19.1-rc0+test\nTensorFlow Library: 2.19.1"
WITHOUT_EFFECT_HERE = {"xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled"}


def main(arguments: list[str]) -> int:
    fault = os.environ.get("MODEL_SERVER_FAULT", "")
    if "--version" in arguments:
        print(VERSION)
        return 0
    known = {each.name for each in dataclasses.fields(ServerFlags)} - WITHOUT_EFFECT_HERE
    flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)
    for name in flags:
        if name not in known | WITHOUT_EFFECT_HERE:
            print(f"unknown argument: --{name}", flush=True)
    if fault == "crash":
        print(
            "Failed to start server. Error: INVALID_ARGUMENT: Expected model mnist to have an absolute path"
        )
        return 255
    if fault == "port":
        # somebody was quicker, the first time
        marker = Path(os.environ["MODEL_SERVER_MARKER"])
        if not marker.exists():
            marker.touch()
            print("Failed to start server. Error: UNKNOWN: Failed to BuildAndStart gRPC server", flush=True)
            return 255
    if fault == "never-ready":
        print("No versions of servable mnist found under base path", file=sys.stderr, flush=True)
        with socket.socket() as sock:  # takes its port and never answers
            sock.bind(("127.0.0.1", int(flags["port"])))
            signal.pause()
    kept = [f"--{name}={value}" for name, value in flags.items() if name in known]
    command = [sys.executable, "-m", "bench", "serve", *kept]
    if fault == "ignore-term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        process = subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_parent)  # noqa: PLW1509
        return process.wait()
    if fault.startswith("die:"):
        process = subprocess.Popen(command)

        def die() -> None:
            wanted = Path(fault.partition(":")[2])
            while not wanted.exists():
                time.sleep(0.05)
            print("Segmentation fault", file=sys.stderr, flush=True)
            process.kill()

        threading.Thread(target=die, daemon=True).start()
        process.wait()
        return 139
    os.execv(command[0], command)  # noqa: S606 - as the original: one process
    raise AssertionError("unreachable")


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
