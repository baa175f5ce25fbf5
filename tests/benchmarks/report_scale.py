"""Measure time and memory of large reports. Run: python -m tests.benchmarks.report_scale [RUNS] [SAMPLES]

Makes that many runs of 30 s, and one run of that many samples, with the writer that load processes use; then reports
them in each form in a process of its own. The promises: 1,000 runs in 20 s and 1 GB, 10,000,000 samples in 10 s.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.runs.chunk import Chunk
from bench.runs.run import RunWriter
from tests.benchmarks.arguments import parser
from tests.recorded import end, requests, write

SECONDS = 30
RATE = 400
PER_CHUNK = 100_000
FORMS = (["--json"], ["--csv"], ["--markdown"], [], ["--html", os.devnull])


def many(root: Path, count: int) -> None:
    """Runs of four batch sizes in blocks of an experiment. All have the same chunks: only reading is measured."""
    for batch in (1, 8, 32, 128):
        chunks = [
            Chunk.of(
                **requests(batch + i, count=RATE, rate=RATE, start=float(i), batch=batch), keep_samples=False
            )
            for i in range(SECONDS)
        ]
        for number in range(count // 4):
            cell = {"server": "embedded", "build": "cpu", "model": "mnist", "version": 2, "batch": batch}
            experiment = {"name": "scale", "cell": cell, "block": number, "trial": number}
            write(root, chunks, note=f"b{number}-{batch}", experiment=experiment)


def large(root: Path, samples: int) -> None:
    """One run that keeps every sample, at 20,000/s."""
    writer = RunWriter.create(root, "mnist", None, {"load": {"kind": "closed", "users": 64}})
    for number in range(samples // PER_CHUNK):
        part = requests(number, count=PER_CHUNK, rate=20_000.0, start=5.0 * number)
        writer.append(0, Chunk.of(**part))
    end(writer, counts={"sent": samples, "unsent": 0, "recorded": samples})


def measured(root: Path, form: list[str]) -> tuple[float, float]:
    """Seconds and the most memory in MB of `bench report`."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "report", str(root), *form],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"bench report {root} {form}: exit code {process.returncode}")
    return time.perf_counter() - began, used.ru_maxrss / 1024


def main(runs: int = 1000, samples: int = 10_000_000) -> None:
    """Print a line for each form."""
    with tempfile.TemporaryDirectory() as place:
        for title, make, count in (("runs", many, runs), ("samples in a run", large, samples)):
            if not count:
                continue
            root = Path(place) / title.split()[0]
            began = time.perf_counter()
            make(root, count)
            size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 1e6
            print(
                f"{count:,} {title}: {size:,.0f} MB, written in {time.perf_counter() - began:.1f} s",
                flush=True,
            )
            for form in FORMS:
                seconds, memory = measured(root, form)
                print(f"  bench report {' '.join(form):18} {seconds:6.1f} s {memory:6.0f} MB", flush=True)


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("runs", type=int, nargs="?", default=1000)
    command.add_argument("samples", type=int, nargs="?", default=10_000_000)
    given = command.parse_args()
    main(given.runs, given.samples)
