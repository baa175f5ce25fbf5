"""Fuzz one target, guided by coverage, and keep the inputs that reach new code.

    pip install atheris
    python -m tests.fuzz TARGET --seconds 600

At the end the target's corpus (tests/fuzz/corpora/TARGET.txt) is replaced by the smallest set of inputs that reaches
what all of them reach, the old ones included. An input that breaks the target stops the run, is added to the corpus and
named: mend the code, then go on. Every test run replays all corpora (test_fuzz.py).
"""

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS, Target

MEMORY = 2048
"""MiB that the fuzzer's process may take."""
SLOWEST = 20
"""Seconds that one input may take."""


def main() -> int:
    """Parse, fuzz, keep."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one target.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed; pip install atheris")
    with tempfile.TemporaryDirectory() as place:
        return fuzz(options.target, TARGETS[options.target], options.seconds, Path(place))


def fuzz(name: str, target: Target, seconds: int, place: Path) -> int:
    """Fuzz a target for so long. Gives libFuzzer's exit code."""
    inputs, crashes, smallest = (place / kind for kind in ("inputs", "crashes", "smallest"))
    for folder in (inputs, crashes, smallest):
        folder.mkdir()
    for one in [*target.seeds(), *corpus.read(name)]:
        (inputs / hashlib.sha256(one).hexdigest()[:16]).write_bytes(one)
    limits = [
        f"-timeout={SLOWEST}",
        f"-rss_limit_mb={MEMORY}",
        f"-max_len={target.longest}",
        "-len_control=0",
    ]
    command = [sys.executable, str(_program(name, place)), *limits]
    done = subprocess.run(
        [*command, f"-max_total_time={seconds}", f"-artifact_prefix={crashes}/", str(inputs)], check=False
    )
    if broken := [path.read_bytes() for path in crashes.iterdir()]:
        corpus.write(name, [*corpus.read(name), *broken])
        for one in broken:
            sys.stderr.write(f"broken by {one!r}; it is in the corpus now\n")
        return done.returncode or 1
    subprocess.run([*command, "-set_cover_merge=1", str(smallest), str(inputs)], check=True)
    kept = [path.read_bytes() for path in smallest.iterdir()]
    if not kept:
        raise RuntimeError("libFuzzer has kept no input; see what it printed")
    corpus.write(name, kept)
    return done.returncode


def _program(name: str, place: Path) -> Path:
    """A file that runs libFuzzer on a target: for a merge libFuzzer starts its own program anew."""
    path = place / "fuzzer"
    root = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {root!r})\nfrom tests.fuzz.libfuzzer import run; run({name!r})\n"
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(0o700)
    return path


if __name__ == "__main__":
    sys.exit(main())
