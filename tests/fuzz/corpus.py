"""The inputs that fuzzing has kept: one file for each target, one input a line, in base64."""

import base64
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).with_name("corpora")


def read(target: str) -> list[bytes]:
    """Inputs of a target, each of which reaches code that no other does or has once found a defect."""
    path = FOLDER / f"{target}.txt"
    return [base64.b64decode(line) for line in path.read_text().split()] if path.exists() else []


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Replace the inputs of a target."""
    ordered = sorted(set(inputs), key=lambda one: (len(one), one))
    lines = "".join(base64.b64encode(one).decode() + "\n" for one in ordered)
    (FOLDER / f"{target}.txt").write_text(lines)
