"""Run libFuzzer on one target, with the arguments of this process.

Needs the package atheris, which is no dependency of the project. `python -m tests.fuzz` calls this.
"""

import sys
import warnings

import atheris

with atheris.instrument_imports(include=["bench", "hpack", "h11", "tomllib", "google.protobuf.text_format"]):
    from tests.fuzz.targets import TARGETS


def run(target: str) -> None:
    """Fuzz, or whatever the arguments say; ends the process."""
    warnings.simplefilter("error")  # as in the tests: a user would see it
    atheris.Setup(sys.argv, TARGETS[target].attack)
    atheris.Fuzz()
