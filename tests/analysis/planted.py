"""Run folders of which it is known where each request spent its time: what explanations of a verdict are held against."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.analysis.reading.reconciliation import Stage
from bench.runs.chunk import Chunk
from bench.runs.run import Run
from tests.recorded import write

USUAL: Final = {
    Stage.CLIENT_QUEUE: 20e-6,
    Stage.WIRE: 300e-6,
    Stage.SERVER: 100e-6,
    Stage.BATCHING_QUEUE: 200e-6,
    Stage.RUNTIME: 1.4e-3,
}
"""Mean seconds in each stage."""
LATENCY: Final = sum(USUAL.values())
SPREAD: Final = 0.3
"""Of the logarithm of a request's time in a stage."""
MESSAGES, SLOW = 100, (3, 41)
"""Of the pool, and those of them that may take longer."""
COMMIT_BEFORE, COMMIT_AFTER = "a" * 40, "b" * 40


def stage_times(
    rng: np.random.Generator, count: int, delays: Mapping[Stage, float], noise: float
) -> dict[Stage, Any]:
    """Seconds of each request in each stage. delays: what is added to the mean; noise: between trials, common and own."""
    common = np.exp(noise * rng.standard_normal())
    return {
        stage: (usual * common * np.exp(noise * rng.standard_normal()))
        * np.exp(SPREAD * rng.standard_normal(count) - SPREAD**2 / 2)
        + delays.get(stage, 0.0)
        for stage, usual in USUAL.items()
    }


def planted(
    root: Path,
    seed: int,
    *,
    delays: Mapping[Stage, float] | None = None,
    count: int = 1500,
    rate: float = 150.0,
    noise: float = 0.01,
    stall: tuple[float, float] | None = None,
    pauses: tuple[float, float] | None = None,
    candidate: bool = False,
    counted: bool = True,
    errors: float = 0.0,
    wrong: float = 0.0,
    slow_worker: float = 0.0,
    slow_messages: float = 0.0,
    keep: bool = False,
    **manifest: Any,
) -> Run:
    """A run with these delays in its stages.

    stall: instant and length of a time in which the model held all answers back; pauses: how often that happens, and how long; errors, wrong: shares of the requests;
    slow_worker: seconds that requests of load process 1 take longer; slow_messages: that those of SLOW do; counted: whether the server's counters are known;
    keep: whether single requests are.
    """
    rng = np.random.default_rng(seed)
    times = stage_times(rng, count, delays or {}, noise)
    due = np.cumsum(rng.exponential(1 / rate, count))
    stalls = [] if stall is None else [stall]
    if pauses is not None:
        stalls += [(at, pauses[1]) for at in np.arange(pauses[0] / 2, due[-1], pauses[0])]
    for at, lasting in stalls:
        done = due + sum(times.values())
        held = (done > at) & (done < at + lasting)
        times[Stage.RUNTIME] = times[Stage.RUNTIME] + np.where(held, at + lasting - done, 0.0)
    worker = np.arange(count) % 2
    times[Stage.WIRE] = times[Stage.WIRE] + np.where(worker == 1, slow_worker, 0.0)
    message = (
        np.random.default_rng([seed, 1]).permutation(count) % MESSAGES
    )  # apart: the rest stays as it was
    times[Stage.RUNTIME] = times[Stage.RUNTIME] + np.where(np.isin(message, SLOW), slow_messages, 0.0)
    sent = due + times[Stage.CLIENT_QUEUE]
    done = due + sum(times.values())
    status = np.where(rng.random(count) < errors, 8, 0)
    right = rng.random(count) >= wrong
    rows: dict[str, Any] = {
        "name_codes": np.zeros(count, dtype=int),
        "batch": np.ones(count, dtype=int),
        "due": due,
        "sent": sent,
        "done": done,
        "status": status,
        "version": np.where(status == 0, 2, -1),
        "correct": np.where(status == 0, right.astype(int), -1),
        "mismatched": np.zeros(count, dtype=bool),
        "message": message,
    }
    chunks = [
        Chunk.of(
            names=["Predict"],
            keep_samples=keep,
            **{name: values[worker == number] for name, values in rows.items()},
        )
        for number in (0, 1)
    ]
    described: dict[str, Any] = {
        "git": {"commit": COMMIT_AFTER if candidate else COMMIT_BEFORE, "dirty": False},
        "load": {"kind": "open", "schedule": {"kind": "poisson", "rate": rate}, "users": 1},
        "warmup": {"seconds": 0.0},
        "command": ["locust", "-f", "scenarios/mnist_open.py", "--headless"],
        "workers": [{"worker": 0}, {"worker": 1}],
        "payload": {"Predict": {"sha256": "1" * 64, "messages": MESSAGES, "batch": 1}},
    }
    if counted:
        described["server_counters"] = _counters({stage: of[status == 0] for stage, of in times.items()})
    return write(root, chunks, **described | manifest)


def _counters(times: Mapping[Stage, Any]) -> dict[str, Any]:
    count = float(len(times[Stage.RUNTIME]))
    sums = {stage: float(of.sum()) for stage, of in times.items()}
    queue, runtime = sums[Stage.BATCHING_QUEUE], sums[Stage.BATCHING_QUEUE] + sums[Stage.RUNTIME]
    names = ("request", "runtime", "queue")
    nothing = {"ok": 0.0} | {f"{name}_{of}": 0.0 for name in names for of in ("count", "seconds")}
    seconds = dict(zip(names, (runtime + sums[Stage.SERVER], runtime, queue), strict=True))
    after = {"ok": count} | {f"{name}_count": count for name in names}
    after |= {f"{name}_seconds": value for name, value in seconds.items()}
    return {"model": "mnist", "before": nothing, "after": after}
