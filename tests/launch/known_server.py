"""Triton and MLServer for tests: their flags and variables, around a double that counts as Triton does.

It serves `digits` where its repository has such a folder. Run: python -m tests.launch.known_server triton|mlserver ...
"""

import os
import signal
import sys
from pathlib import Path

from tests.protocol.oip_server import serving
from tests.protocol.triton_double import Counting, page_of


def main(name: str, arguments: list[str]) -> int:
    if name == "mlserver":
        start, repository = arguments
        assert start == "start"
        grpc, metrics = (int(os.environ[f"MLSERVER_{each}_PORT"]) for each in ("GRPC", "METRICS"))
    else:
        flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)
        repository, grpc, metrics = (
            flags["model-repository"],
            int(flags["grpc-port"]),
            int(flags["metrics-port"]),
        )
    if not (Path(repository) / "digits").is_dir():
        print("failed to load all models", flush=True)
        return 1
    double = Counting()
    with serving(double, grpc), page_of(double.page, metrics):
        signal.sigwait([signal.SIGTERM])
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    sys.exit(main(sys.argv[1], sys.argv[2:]))
