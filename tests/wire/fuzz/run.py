"""Fuzz both ends, guided by coverage:

    python -m tests.wire.fuzz.seeds unpack /tmp/corpus
    python -m tests.wire.fuzz.run /tmp/corpus -max_total_time=600

Needs the package atheris, which is no dependency of the project; all options are libFuzzer's. Every test run replays
what has been kept (test_fuzz.py).
"""

import sys

import atheris

with atheris.instrument_imports(include=["bench.wire", "hpack"]):
    from tests.wire.fuzz.harness import attack

if __name__ == "__main__":
    atheris.Setup(sys.argv, attack)
    atheris.Fuzz()
