"""Run libFuzzer on one target, with the arguments of this process.

Needs the package atheris, which is no dependency of the project. `python -m tests.fuzz` calls this.
"""

import hashlib
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bench", "hpack", "h11", "tomllib", "google.protobuf.text_format"]):
    from tests.fuzz.targets import TARGETS


def run(target: str) -> None:
    """Fuzz, or whatever the arguments say; ends the process."""
    warnings.simplefilter("error")  # as in the tests: a user would see it
    place = next((each.partition("=")[2] for each in sys.argv if each.startswith("-artifact_prefix=")), None)

    def attack(data: bytes) -> None:
        try:
            TARGETS[target].attack(data)
        except Exception:
            if place is not None:  # atheris 3 leaves it out where Python has raised
                Path(place, f"raised-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            raise

    atheris.Setup(sys.argv, attack)
    atheris.Fuzz()
