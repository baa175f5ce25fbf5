"""`bench export` that gets Ctrl-C at the first step of its training: `python -m tests.cli.interrupted_export MODELS`."""

import os
import signal
import sys
from typing import Any

import bench.cli
import bench.cli.export as verb

train = verb.export_digits


def interrupted(*arguments: Any, **more: Any) -> Any:
    return train(*arguments, **{**more, "progress": lambda step: os.kill(os.getpid(), signal.SIGINT)})


if __name__ == "__main__":
    verb.export_digits = interrupted
    bench.cli.main(["export", sys.argv[1], "--version", "1", "--steps", "1000"])
