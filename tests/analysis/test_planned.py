"""What was sent is compared with the arrivals that this schedule drew, not with its mean rate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.reading.load_generator import CHECKS
from bench.analysis.reading.planned import planned
from bench.runs.chunk import Chunk
from bench.runs.run import Run
from bench.schedule import Schedule, open_sequence, parse
from tests.recorded import write

BEGIN = 0.31


def record(
    root: Path,
    schedule: Schedule,
    seed: int,
    changes: list[tuple[float, int]],
    *,
    lost: float = 0.0,
    invented: float = 0.0,
) -> Run:
    """Every arrival of a schedule is answered in a millisecond, but for a share that is never even noted.

    invented: a share that no schedule made.
    """
    sequence = open_sequence(schedule, seed, "User")  # type: ignore[arg-type]
    ends = [at for at, _ in changes[1:]] + [10.0 - BEGIN]
    parts = []
    for (at, users), until in zip(changes, ends, strict=True):
        sequence.set_users(at, users)
        parts.append(sequence.before(until))
    due = np.concatenate(parts) + BEGIN
    due = due[np.random.default_rng(1).random(len(due)) >= lost]
    due = np.concatenate([due, due[np.random.default_rng(2).random(len(due)) < invented]])
    count = len(due)
    chunk = Chunk.of(
        names=["Predict"], name_codes=np.zeros(count, int), batch=np.ones(count, int), due=due, sent=due,
        done=due + 0.001, status=np.zeros(count, int), version=np.ones(count, int), correct=np.ones(count, int),
        keep_samples=False,
    )  # fmt: skip
    said: dict[str, Any] = {
        "load": {
            "kind": schedule.kind,
            "schedule": schedule.to_dict(),
            "users": changes[-1][1],
            "user_classes": ["User"],
        },
        "arrivals": {"User": {"begin": BEGIN, "users": [list(change) for change in changes]}},
        "seed": seed,
        "stopped": 10.0,
    }
    return write(root, [chunk], **said)


def warned(run: Run) -> set[str]:
    return {warning.check for check in CHECKS for warning in check(run)}


def not_achieved(run: Run) -> bool:
    return "not achieved" in warned(run)


@pytest.mark.parametrize("schedule", ["constant:500", "poisson:500", "steps:200,600/3s"])
def test_requests_that_no_schedule_made_are_named(tmp_path: Path, schedule: str) -> None:
    made = parse(schedule)
    assert "more than planned" not in warned(record(tmp_path, made, 7, [(0.0, 1)], invented=0.005))
    run = record(tmp_path, made, 7, [(0.0, 1)], invented=0.2)
    assert "more than planned" in warned(run)


def test_chance_is_no_fault(tmp_path: Path) -> None:
    """100/s for 10 s: the mean rate called 36 of 100 seeds a failure of the generator."""
    fewer = 0
    for seed in range(20):
        run = record(tmp_path, parse("poisson:100"), seed, [(0.0, 1)])
        requests = sum(tally.requests for tally in run.tallies.values())
        assert planned(run) == requests
        fewer += requests < 0.99 * 100 * (10 - BEGIN)
        assert not not_achieved(run)
    assert fewer > 3, "seeds that the mean rate would have blamed"


@pytest.mark.parametrize(
    "schedule",
    [
        "constant:40",
        "poisson:40",
        "steps:20,60/3s",
        "ramp:10..90/8s",
        "spike:30x4@2s+2s",
        "sine:20..60/4s",
        "burst:15@0.7s",
    ],
)
def test_every_kind_of_schedule_is_drawn_again(tmp_path: Path, schedule: str) -> None:
    changes = [(0.0, 1), (2.5, 3), (6.0, 2)]
    run = record(tmp_path, parse(schedule), 7, changes)
    requests = sum(tally.requests for tally in run.tallies.values())
    assert planned(run) == requests > 200
    assert not not_achieved(run)
    assert not_achieved(record(tmp_path, parse(schedule), 7, changes, lost=0.04))
