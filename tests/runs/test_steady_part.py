"""The steady part of a run: what is warm-up and what is not."""

from pathlib import Path

import numpy as np
import pytest

from bench.runs.chunk import Chunk
from tests.recorded import requests, write


def settling(length: int = 40, warm: int = 6, **manifest: object) -> list[Chunk]:
    """One chunk a second; the first `warm` seconds answer ten times slower."""
    return [
        Chunk.of(**requests(i, count=300, rate=400, start=float(i), service=0.02 if i < warm else 0.002))
        for i in range(length)
    ]


def test_the_steady_part_leaves_out_the_warm_up_by_rule(tmp_path: Path) -> None:
    run = write(tmp_path, settling())
    assert run.warm_up == ("transient at the start", 6, True)
    steady = run.steady
    assert steady.seconds[0] == run.warm_up.seconds
    assert steady.histogram("latency").percentile(99) < 0.01 < run.histogram("latency").percentile(90)
    assert steady.duration == pytest.approx(40 - run.warm_up.seconds, abs=0.5)
    assert run.cut.seconds == (0, 6)
    assert run.cut.histogram("latency").count == 6 * 300


@pytest.mark.parametrize("second", [0, 1, 10, 23])
def test_a_stall_is_no_warm_up(tmp_path: Path, second: int) -> None:
    """At 300/s all replies of 0.7 s are held until their end."""
    parts = []
    for at in range(24):
        rows = requests(at, count=300, rate=300, start=float(at), service=0.005)
        due = at + np.arange(300) / 300
        done = due + (rows["done"] - rows["due"])
        if at == second:
            done = np.where(due < second + 0.7, np.maximum(done, second + 0.7), done)
        parts.append(Chunk.of(**rows | {"due": due, "sent": due, "done": done}, keep_samples=False))
    run = write(tmp_path, parts, load={"kind": "constant", "rate": 300.0, "users": 1})
    assert run.warm_up.seconds == 0
    assert run.steady.histogram("latency").percentile(99) > 0.4


def test_users_that_arrive_are_warm_up_and_a_stall_is_not(tmp_path: Path) -> None:
    def closed(stall: int | None) -> list[Chunk]:
        parts = []
        for at in range(40):
            users = min(8, 1 + at)
            start = at + np.tile(np.arange(0, 1, 0.02), users)
            done = start + 0.019
            if at == stall:
                start, done = np.full(users, float(at)), np.full(users, at + 0.99)
            count = len(start)
            rows = requests(at, count=count) | {"due": start, "sent": start, "done": done}
            parts.append(Chunk.of(**rows, keep_samples=False))
        return parts

    assert write(tmp_path, closed(None)).warm_up == ("transient at the start", 7, True)
    assert write(tmp_path, closed(0)).warm_up.seconds == 7, "one user: the rate alone cannot tell"
    late = [*closed(None)[8:], *closed(None)[8:]]
    assert write(tmp_path, late).warm_up.seconds == 0


@pytest.mark.parametrize(
    ("manifest", "seconds", "rule"),
    [
        ({"warmup": {"rule": "seconds", "seconds": 3}}, 3, "seconds"),
        ({"warmup": {"rule": "none"}}, 0, "none"),
        ({"warmup": {"rule": "requests", "seconds": 2.4}}, 2.4, "requests"),
        ({"load": {"kind": "steps"}}, 0, "none: the load changes by plan"),
        ({"load": {"kind": "closed", "shape": "StagesShape"}}, 0, "none: the load changes by plan"),
    ],
)
def test_the_manifest_decides_on_the_warm_up(
    tmp_path: Path, manifest: dict[str, object], seconds: float, rule: str
) -> None:
    run = write(tmp_path, settling(10), **manifest)
    assert (run.warm_up.seconds, run.warm_up.rule) == (seconds, rule)
    assert run.steady.seconds[0] == np.ceil(seconds)


@pytest.mark.parametrize(
    ("length", "cut", "settled"), [(2, 0, True), (4, 0, True), (5, 1, True), (9, 1, True), (10, 2, True)]
)
def test_a_fifth_of_a_run_is_the_most(tmp_path: Path, length: int, cut: int, settled: bool) -> None:
    run = write(tmp_path, settling(length, warm=cut), stopped=float(length))
    assert run.warm_up == ("transient at the start", cut, settled)
    assert run.steady.seconds == (cut, length)
    longer = write(tmp_path, settling(10, warm=3), stopped=10.0)
    assert longer.warm_up == ("transient at the start", 2, False)
