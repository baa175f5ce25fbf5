"""Runs with known contents, written with the real writer: what the tests of reading and judging runs start from."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.runs import checksums
from bench.runs.chunk import Chunk
from bench.runs.conclusion import conclude
from bench.runs.run import Run, RunWriter
from bench.runs.sample import CANCELLED_STATUS, UNSENT

PIDS = itertools.count(1000)
"""Each run has started its own server, and so is a session of its own."""
KEPT = 0.501e-6
"""Seconds by which due, lag and service of a sample may differ from what was: they are whole microseconds."""


def requests(
    seed: int = 1,
    *,
    count: int = 1000,
    rate: float = 1000.0,
    start: float = 0.0,
    service: float = 0.002,
    spread: float = 0.3,
    lag: float = 0.0,
    errors: float = 0.0,
    unsent: float = 0.0,
    cancelled: float = 0.0,
    batch: int = 1,
    version: int = 2,
    accuracy: float = 0.9,
    mismatched: float = 0.0,
    names: tuple[str, ...] = ("Predict",),
) -> dict[str, Any]:
    """Arguments of `Chunk.of`: Poisson arrivals, log-normal service times with the median given."""
    rng = np.random.default_rng(seed)
    due = start + np.cumsum(rng.exponential(1 / rate, count))
    sent = due + (rng.exponential(lag, count) if lag else 0.0)
    done = sent + service * np.exp(rng.normal(0.0, spread, count))
    status = np.where(rng.random(count) < errors, 14, 0)
    never = rng.random(count) < unsent
    if cancelled:
        status = np.where(rng.random(count) < cancelled, CANCELLED_STATUS, status)
    return {
        "names": list(names),
        "name_codes": rng.integers(0, len(names), count),
        "batch": np.full(count, batch),
        "due": due,
        "sent": np.where(never, np.nan, sent),
        "done": np.where(never, np.nan, done),
        "status": status,
        "version": np.where((status == 0) & ~never, version, -1),
        "correct": np.where((status == 0) & ~never, rng.binomial(batch, accuracy, count), -1),
        "mismatched": rng.random(count) < mismatched,
    }


def seconds(*parts: dict[str, Any]) -> list[Chunk]:
    """One chunk for each argument."""
    return [Chunk.of(**part) for part in parts]


def write(
    root: Path,
    chunks: list[Chunk],
    *,
    scenario: str = "mnist",
    note: str | None = None,
    finish: bool = True,
    **manifest: Any,
) -> Run:
    """A run folder in `root`, its chunks sent by workers 0 and 1 in turn."""
    described: dict[str, Any] = {
        "target": {
            "address": "127.0.0.1:8500",
            "kind": "embedded",
            "model": "mnist",
            "version": 2,
            "pid": next(PIDS),
        },
        "load": {"kind": "closed", "users": 16, "batch": 1, "processes": 1},
        "seed": 1,
    }
    writer = RunWriter.create(root, scenario, note, described | manifest)
    for turn, chunk in enumerate(chunks):
        writer.append(turn % 2, chunk)
    if finish:
        end(writer, counts=counts_of(chunks))
    return Run.open(writer.path)


def end(writer: RunWriter, **fields: Any) -> None:
    """Finish, pack and seal a run."""
    writer.finish(**fields)
    conclude(writer.path)
    writer.concluded()


def counts_of(chunks: list[Chunk]) -> dict[str, int]:
    """What the load processes would have counted."""
    recorded = sum(len(chunk) for chunk in chunks)
    tallies = [item for chunk in chunks for item in chunk.tallies.items()]
    unsent = sum(tally.requests for (key, _), tally in tallies if key.outcome == UNSENT)
    return {"sent": recorded - unsent, "unsent": unsent, "recorded": recorded}


def edit(run: Path, **fields: Any) -> None:
    """Write other things into a run's manifest, as if it had been recorded so; None takes a key out."""
    manifest = json.loads((run / "manifest.json").read_text()) | fields
    kept = {name: value for name, value in manifest.items() if value is not None}
    (run / "manifest.json").write_text(json.dumps(kept))
    if (run / checksums.FILE).exists():
        checksums.seal(run, ["manifest.json"])
