"""A client from its wheel: size, time to install, and the way from there to a verdict.

Builds the wheel, installs it with its dependencies and no extra into a fresh environment below FOLDER, and works there as a
user without a checkout: `bench init`, its experiment, its gate, and `bench ab` between two versions of a model with two
inputs (a string and 8 floats), which this environment (with `[server]`) exports and serves on the loopback interface.
Needs a package index. `python -m tests.benchmarks.client_install FOLDER`
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.launch import server_process
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
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    print(
        f"{title}: {time.perf_counter() - began:.0f} s, {spent:.0f} s of processors, code {done.returncode}"
    )
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


def show_size(programs: Path) -> None:
    """Megabytes of 10^6 bytes on disk, of the environment and of its largest distributions."""
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


def main(folder: Path) -> None:
    """Print sizes and times."""
    shutil.rmtree(folder, ignore_errors=True)
    programs = installed(folder)
    show_size(programs)
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


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
