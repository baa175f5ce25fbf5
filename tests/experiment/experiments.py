"""Small experiments that really run, on servers that are up without loading TensorFlow, and leave the processor to others."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.experiment.folder import Folder

ROOT = Path(__file__).parents[2]
SERVERS = """
[servers.quick]
kind = "embedded"
build = "synthetic"
price_per_hour = 0.5
flags = { backend = "synthetic", service_time = "constant(4ms)" }

[servers.other]
kind = "embedded"
flags = { backend = "synthetic", service_time = "constant(12ms)" }

[servers.pair]
kind = "embedded"
flags = { backend = "synthetic", service_time = "constant(4ms)", processes = 2 }

[servers.broken]
kind = "binary"
path = "/bin/false"

[servers.nowhere]
kind = "binary"
path = "no_such_executable"
"""


def write(folder: Path, text: str = "", servers: str = '["quick", "other"]') -> Path:
    """An experiment file with its servers and its model; the scenario's own `seconds` are 1."""
    for version in ("1", "2"):
        (folder / "models" / "mnist" / version).mkdir(parents=True)
        (folder / "models" / "mnist" / version / "weights").write_text(version)
    (folder / "servers.toml").write_text(SERVERS)
    path = folder / "small.toml"
    path.write_text(
        f'scenario = "{ROOT}/scenarios/mnist.py"\nservers = {servers}\nloads = [{{ users = 2 }}]\nseconds = 1\n'
        f'trials = 2\n{text}\n[models.mnist]\npath = "models/mnist"\nversions = [1]\n'
    )
    return path


def command(path: Path, *arguments: str) -> list[str]:
    results = path if path.is_dir() else path.parent / "results"
    where = [] if path.is_dir() else ["--results", str(results)]
    return [sys.executable, "-m", "bench", "run", str(path), *where, *arguments]


def bench_run(path: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(path, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def only_folder(path: Path) -> Folder:
    (folder,) = (path.parent / "results").iterdir()
    return Folder.open(folder)


def manifests(folder: Folder) -> list[dict[str, Any]]:
    """Of the trials' run folders, in the order of the plan."""
    said = [json.loads(path.read_text()) for path in folder.path.glob("*/manifest.json")]
    return sorted(said, key=lambda manifest: manifest["experiment"]["trial"])


def processes_with(text: str) -> list[int]:
    """Processes on whose command line a text stands."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if text in line and state != "Z":
                found.append(int(entry.name))
    return found
