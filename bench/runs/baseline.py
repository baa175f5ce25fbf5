"""The baseline: runs that later ones are compared with, kept in the repository.

A baseline is a folder of run folders without their samples: small enough to be committed beside the code.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.runs import checksums
from bench.runs.jsonl import json_text
from bench.runs.manifest import Manifest
from bench.runs.recording import COUNTS, EVENTS, HISTOGRAMS, MANIFEST, TELEMETRY
from bench.runs.run import Run

FOLDER: Final = Path("results/baseline")
KEPT: Final = (MANIFEST, HISTOGRAMS, COUNTS, EVENTS, TELEMETRY)


def put(run: Path, folder: Path) -> Path:
    """Copy a run into a baseline folder; it appears there as a whole. Raises BenchError."""
    target = _place(run, folder)
    temporary = folder / f".{target.name}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            for name in KEPT:
                if (run / name).is_file():
                    shutil.copyfile(run / name, temporary / name)
            _adapt(temporary / MANIFEST, Run.open(run).altered)
            checksums.seal(temporary)
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise BenchError(f"{target}: {error.strerror}; the baseline is as it was") from error
    return target


def _place(run: Path, folder: Path) -> Path:
    """The run's name, unless another run has it there: two machines may start runs in the same second."""
    number, target = 1, folder / run.resolve().name
    while target.exists() and _started(target) != _started(run):
        number += 1
        target = folder / f"{run.resolve().name}-{number}"
    return target


def _started(run: Path) -> str:
    return Manifest.read(run).started


def remove(runs: Iterable[Path]) -> None:
    """Take runs out of a baseline. Raises BenchError."""
    for run in runs:
        try:
            shutil.rmtree(run)
        except OSError as error:
            raise BenchError(f"{run}: {error.strerror}; remove it by hand") from error


def _adapt(manifest: Path, altered: list[str]) -> None:
    """Take out the user's folders, since a baseline is published with the code, and keep what was wrong with the files.

    The copy gets checksums of its own: what was altered before would no longer show.
    """
    content = dict(Manifest.read(manifest.parent).raw)
    model = content.get("model")
    if isinstance(model, dict):
        content["model"] = {name: value for name, value in model.items() if name != "path"}
    content.pop("command", None)
    if altered:
        reason = f"files were not as they were when the run ended: {', '.join(altered)}"
        noted = {"check": "files changed", "reason": reason, "remedy": "run it again"}
        content["doubts"] = [*(content.get("doubts") or []), noted]
    manifest.write_text(json_text(content) + "\n")
