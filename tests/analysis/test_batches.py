"""The batch size that pays: rates by turns, the knee, and what cannot be told."""

from pathlib import Path

import numpy as np
import pytest

from bench.analysis.answers.batches import knee_of
from bench.analysis.answers.questions import answers
from tests.recorded import requests, seconds, write


def test_batches_are_judged_by_the_seconds_of_their_turns(tmp_path: Path) -> None:
    """Turns of 3 s: 100/s of batch 1, 50/s of batch 32; the first second of each turn is slow and counts as warm-up."""
    parts = []
    for turn in range(4):
        batch, rate, name = ((1, 100.0, "batch 1"), (32, 50.0, "batch 32"))[turn % 2]
        for second in range(3):
            begin = 3.0 * turn + second
            part = requests(
                turn * 3 + second, count=int(rate), rate=rate, batch=batch, service=0.001, names=(name,)
            )
            due = begin + np.arange(int(rate)) / rate
            lasting = 0.5 if second == 0 else 0.001
            parts.append(part | {"due": due, "sent": due, "done": due + lasting})
    load = {"kind": "closed", "users": 4, "turns": {"names": ["batch 1", "batch 32"], "seconds": 3}}
    run = write(tmp_path, seconds(*parts), question="batches", load=load, stopped=12.0)
    (answer,) = answers(run)
    assert answer.values["best_batch"] == 32
    assert answer.values["best_inferences_per_second"] == pytest.approx(1600)
    assert answer.values["knee_batch"] is None  # throughput was still rising at the largest batch


def test_no_multiple_is_told_of_what_is_not_told_apart(tmp_path: Path) -> None:
    """Batch 1 is answered 100 times each second; batch 32 twice or 12 times, 224 examples on average."""
    parts = []
    for second in range(12):
        batch = 32 if second // 3 % 2 else 1
        count = 100 if batch == 1 else (2, 12)[second % 2]
        part = requests(second, count=count, rate=float(count), batch=batch, names=(f"batch {batch}",))
        due = second + np.arange(count) / count
        parts.append(part | {"due": due, "sent": due, "done": due + 0.001})
    load = {"kind": "closed", "users": 4, "turns": {"names": ["batch 1", "batch 32"], "seconds": 3}}
    (answer,) = answers(write(tmp_path, seconds(*parts), question="batches", load=load, stopped=12.0))
    assert "at batch 32 (not significantly different from batch 1); " in answer.text


@pytest.mark.parametrize(
    ("reaches", "knee"),
    [
        ({1: False, 8: False, 64: True}, None),  # the best is the largest
        ({1: False, 8: False, 60: True, 64: True}, None),  # 60 and 64 are no doubling
        ({1: False, 8: False, 32: True, 64: True}, 32),
        ({1: False, 8: True, 32: True, 64: False}, 8),
        ({1: False, 8: None, 32: True, 64: True}, 32),  # of 8 it is not certain
        ({1: True, 2: True}, 1),
    ],
)
def test_a_knee_is_told_only_where_throughput_was_seen_to_level_off(
    reaches: dict[int, bool | None], knee: int | None
) -> None:
    assert knee_of(reaches) == knee


def test_batches_that_were_never_sent_leave_the_knee_open(tmp_path: Path) -> None:
    """Planned are 1 to 512; the run ends before 128."""
    parts = []
    for number, batch in enumerate((1, 32, 64)):
        part = requests(number, count=300, rate=100.0, batch=batch, names=(f"batch {batch}",))
        due = 3.0 * number + np.arange(300) / 100.0
        parts.append(part | {"due": due, "sent": due, "done": due + 0.001})
    names = [f"batch {batch}" for batch in (1, 32, 64, 128, 512)]
    load = {"kind": "closed", "users": 4, "turns": {"names": names, "seconds": 3}}
    run = write(tmp_path, seconds(*parts), question="batches", load=load, stopped=9.0)
    (answer,) = answers(run)
    assert answer.values["knee_batch"] is None
    assert "batch 128, batch 512" in answer.text
