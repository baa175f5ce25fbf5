"""A client from its wheel: size, time to install, and the way from there to a verdict, held to their limits.

Builds the wheel, installs it with its dependencies and no extra into a fresh environment below FOLDER, and works there as a
user without a checkout: `bench init`, its experiment, its gate, and `bench ab` between two versions of a model with two
inputs (a string and 8 floats), which this environment (with `[server]`) exports and serves on the loopback interface.
Limits, of which one that is broken ends it with code 1: MOST_BYTES of the environment, MOST_SECONDS from the first of at most
MOST_COMMANDS commands to the verdict of `bench ab`. What importing the messages takes is printed for the client, and beside it
for what a client had to import without them (the messages of tensorflow-serving-api, and TensorFlow with them).
Needs a package index. `python -m tests.benchmarks.client_install FOLDER`
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.launch import server_process
from tests.benchmarks.arguments import parser
from tests.test_installed import copied

MODEL = """
import sys
import tensorflow as tf

for version, layers in ((1, 1), (2, 40)):
    module = tf.Module()
    weights = tf.random.stateless_uniform((8, 8), (1, 2)) / 4

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="user"), tf.TensorSpec([None, 8], tf.float32, name="features")])
    def rank(user, features):
        hidden = features
        for _ in range(layers):
            hidden = tf.tanh(hidden @ weights)
        share = tf.cast(tf.strings.to_hash_bucket_fast(user, 1000), tf.float32) / 1000
        return {"score": tf.reduce_sum(hidden, axis=1) + share}

    module.rank = rank
    tf.saved_model.save(module, f"{sys.argv[1]}/ranker/{version}", signatures={"serving_default": rank})
"""
SIZES = """
import importlib.metadata, json, os, sys
site = next(path for path in sys.path if path.endswith("site-packages"))
def blocks(distribution):
    paths = (os.path.join(site, str(file)) for file in distribution.files or ())
    return sum(os.stat(path).st_blocks * 512 for path in paths if os.path.isfile(path))
print(json.dumps({each.metadata["Name"]: blocks(each) for each in importlib.metadata.distributions()}))
"""


MOST_BYTES = 450e6
MOST_SECONDS = 300.0
MOST_COMMANDS = 3
IMPORT = """
import resource, sys, time
began = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
BEFORE, AFTER = "tensorflow_serving.apis.prediction_service_pb2", "bench.wire.messages"
TIMES = 5
SPENT: dict[str, float] = {}
"""Seconds by the title of each step that was timed."""


def timed(title: str, *command: Any, codes: tuple[int, ...] = (0,), **options: Any) -> str:
    """What a command prints, its wall time and its processor time printed; ends the program where it fails."""
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [str(each) for each in command],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        **options,
    )
    after = os.times()
    SPENT[title] = time.perf_counter() - began
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{title}: {SPENT[title]:.0f} s, {spent:.0f} s of processors, code {done.returncode}")
    if done.returncode not in codes:
        sys.exit(done.stdout)
    return done.stdout


def installed(folder: Path) -> Path:
    """The fresh environment's programs."""
    source = copied(folder / "source")
    timed("build the wheel", sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source)
    (wheel,) = folder.glob("*.whl")
    timed("make an environment", sys.executable, "-m", "venv", folder / "venv")
    programs = folder / "venv/bin"
    timed("pip install", programs / "pip", "install", "-q", wheel)
    return programs


def show_size(programs: Path) -> float:
    """Megabytes of 10^6 bytes on disk, of the environment and of its largest distributions; gives the bytes of all."""
    told = subprocess.run(
        [programs / "python", "-c", SIZES], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    sizes: dict[str, int] = json.loads(told)
    whole = sum(path.lstat().st_blocks * 512 for path in programs.parent.rglob("*"))
    print(
        f"environment: {whole / 1e6:.0f} MB in {len(sizes)} distributions; tensorflow: {'tensorflow' in sizes}"
    )
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:12]:
        print(f"  {name}: {size / 1e6:.1f} MB")
    return float(whole)


def show_imports(programs: Path) -> None:
    """What importing the messages takes: the least of several processes, since others only add to it."""
    for title, python, module in (
        ("before", Path(sys.executable), BEFORE),
        ("after", programs / "python", AFTER),
    ):
        runs = []
        for _ in range(TIMES):
            command = [python, "-c", IMPORT, module]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            runs.append([float(each) for each in done.stdout.split()[-2:]])
        seconds, memory = (min(values) for values in zip(*runs, strict=True))
        print(f"import of the messages {title} ({module}): {seconds:.2f} s, {memory / 1e6:.0f} MB of memory")


def verdict(size: float, ways: Sequence[str]) -> int:
    """Compare with the limits; gives the exit code. ways: titles of the commands from `pip install` to the verdict."""
    seconds = sum(SPENT[title] for title in ways)
    found = [
        (size <= MOST_BYTES, f"environment of {size / 1e6:.0f} MB, at most {MOST_BYTES / 1e6:.0f}"),
        (seconds <= MOST_SECONDS, f"{seconds:.0f} s to the verdict, at most {MOST_SECONDS:.0f}"),
        (len(ways) <= MOST_COMMANDS, f"{len(ways)} commands ({', '.join(ways)}), at most {MOST_COMMANDS}"),
    ]
    for kept, text in found:
        print(f"{'pass' if kept else 'FAIL'}  {text}")
    return 0 if all(kept for kept, _ in found) else 1


def main(folder: Path) -> int:
    """Print sizes and times; gives the exit code."""
    shutil.rmtree(folder, ignore_errors=True)
    programs = installed(folder)
    size = show_size(programs)
    show_imports(programs)
    elsewhere = {
        "cwd": folder,
        "env": os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "110"},
    }
    timed("bench init", "bench", "init", "tests", **elsewhere)
    timed("bench run", "bench", "run", "tests/experiment.toml", **elsewhere)
    print(timed("bench report", "bench", "report", "results", **elsewhere))
    print(timed("gate.sh", "sh", "tests/gate.sh", codes=(0, 1, 3), **elsewhere))
    timed("export", sys.executable, "-c", MODEL, folder)
    rows = [{"user": f"u{each}", "features": [each / 100] * 8} for each in range(100)]
    (folder / "sample.jsonl").write_text("".join(json.dumps({"inputs": row}) + "\n" for row in rows))
    served = f'model_config_list {{ config {{ name: "ranker" base_path: "{folder}/ranker" model_platform: "tensorflow" model_version_policy {{ all {{}} }} }} }}'
    (folder / "models.config").write_text(served)
    with server_process.embedded(["--model_config_file", str(folder / "models.config")]) as server:
        ab = ["bench", "ab", server.address, "--model", "ranker", "--versions", "1,2"]
        print(
            timed("bench ab", *ab, "--requests", "sample.jsonl", "--time", "2m", codes=(0, 1, 3), **elsewhere)
        )
    return verdict(size, ("make an environment", "pip install", "bench ab"))


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("folder", type=Path, help="where it is installed; what lies there is deleted")
    sys.exit(main(command.parse_args().folder.resolve()))
