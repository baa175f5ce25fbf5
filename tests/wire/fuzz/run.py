"""Fuzz both ends, guided by coverage: python -m tests.wire.fuzz.run CORPUS_FOLDER -max_total_time=600

Needs the package atheris, which is no dependency of the project; all options are libFuzzer's. What it finds goes into
tests/wire/fuzz/corpus, whose files every test run replays.
"""

import sys

import atheris

with atheris.instrument_imports(include=["bench.wire", "hpack"]):
    from tests.wire.fuzz.harness import attack

if __name__ == "__main__":
    atheris.Setup(sys.argv, attack)
    atheris.Fuzz()
