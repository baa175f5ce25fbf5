"""Run folders whose writer was killed, whose files were cut, or that could not be packed."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runs.chunk import Chunk
from bench.runs.histogram import Histogram
from bench.runs.run import Run, find_runs
from tests.recorded import requests, write

ROOT = Path(__file__).parents[2]


def start_writer(root: Path, turns: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.runs.killed_writer", str(root), str(turns)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_writer_leaves_a_readable_folder_that_says_so(tmp_path: Path, seed: int) -> None:
    """Killed while it writes as fast as it can: the kill falls anywhere between and within its writes."""
    process = start_writer(tmp_path, 1_000_000)
    assert process.stdout is not None
    appended = len(process.stdout.read(random.Random(seed).randint(1, 400)))
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    appended += len(rest)
    assert process.returncode == -signal.SIGKILL
    (run,) = find_runs([tmp_path])
    assert isinstance(run, Run)
    assert not run.finished
    # an append may be whole before its dot is printed; the dot is never printed before
    kept = len(run.samples)
    assert 300 * appended <= kept <= 300 * (appended + 1)
    assert kept % 300 == 0
    # counts and histograms are behind by up to two seconds; they are counted anew from the samples
    assert sum(tally.requests for tally in run.tallies.values()) == kept
    answered = run.samples[run.samples["status"] == 0]
    assert run.histogram("latency") == Histogram.of(answered["done"] - answered["due"])


@pytest.mark.parametrize("delay_files", [0, 1])
def test_a_writer_killed_while_it_finishes_loses_nothing(tmp_path: Path, delay_files: int) -> None:
    process = start_writer(tmp_path, 400)
    (folder,) = tmp_path.iterdir()

    def moment() -> bool:
        if delay_files:
            return any(folder.glob(".samples.parquet*"))
        return json.loads((folder / "manifest.json").read_bytes())["state"] == "finished"

    while not moment() and process.poll() is None:
        pass
    process.kill()
    process.communicate()
    run = Run.open(folder)
    assert run.finished
    assert sum(tally.requests for tally in run.tallies.values()) == 120_000
    # the samples are whole before, during and after it
    assert len(run.samples) == 120_000


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_of_any_file_leaves_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("cut")
    run = write(root, [Chunk.of(**requests(1, count=60, rate=20))], finish=False)
    writer_files = sorted(p for p in run.path.rglob("*") if p.is_file() and p.name != "manifest.json")
    path = data.draw(st.sampled_from(writer_files))
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size)))
    again = Run.open(run.path)
    assert len(again.samples) in {0, 60}
    assert again.histogram("latency").count <= 60
    assert sum(tally.requests for tally in again.tallies.values()) <= 60
