"""The models that tests serve, by one process, for TensorFlow's start is most of an export: `python -m tests.models DIR`.

| folder | what is in it |
|---|---|
| exported | MNIST versions 1 (one training step) and 2 (a thousand), a flat MNIST and a small VGG16, by `bench export` |
| saved | those of tests.server.saved_models |
| conformance | those of tests.conformance.models |
"""

import fcntl
import shutil
from pathlib import Path

from bench.cli.export import export
from tests.benchmarks.arguments import parser
from tests.conformance import models as conformance
from tests.server import saved_models

EXPORTS = (
    "--model mnist --pair",
    "--model flat --version 5 --steps 200 --flat",
    "--keras vgg16 --model vgg --version 3 --image-size 32 --width 0.02",
)


def main(folder: Path) -> None:
    """Write all of them, unless they are there; another one that does so is waited for."""
    made = folder.with_suffix(".made")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that was broken off
            write(folder)
            made.touch()


def write(folder: Path) -> None:
    """Write all of them."""
    for arguments in EXPORTS:
        export.main([str(folder / "exported"), *arguments.split()], standalone_mode=False)
    saved_models.main(folder / "saved")
    # trained already, it is kept
    shutil.copytree(folder / "exported" / "mnist", folder / "conformance" / "mnist")
    conformance.main(folder / "conformance")


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("folder", type=Path)
    main(command.parse_args().folder.resolve())
