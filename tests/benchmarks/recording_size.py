"""Measure the size of the record of an hour at 10,000/s. Run: python -m tests.benchmarks.recording_size [MINUTES]

Made-up requests (Poisson arrivals, log-normal lag and service time) go through the recorder in
the quarter seconds in which a load process hands them over; then the samples are packed. Prints, a line each tenth of
the time, megabytes on disk and in memory, and in the end the bytes of each file, by the hour.
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.runs.chunk import Chunk
from bench.runs.recording import RunWriter
from tests.benchmarks.arguments import parser
from tests.recorded import end

RATE, QUARTER = 10_000.0, 0.25


def chunks(seconds: float, *, keep_samples: bool) -> Iterator[Chunk]:
    rng = np.random.default_rng(1)
    for at in np.arange(0, seconds, QUARTER):
        count = rng.poisson(RATE * QUARTER)
        due = at + np.sort(rng.random(count)) * QUARTER
        sent = due + rng.lognormal(np.log(40e-6), 0.5, count)
        yield Chunk.of(
            names=["Predict"],
            name_codes=np.zeros(count, np.int32),
            batch=np.ones(count, np.int32),
            due=due,
            sent=sent,
            done=sent + rng.lognormal(np.log(300e-6), 0.4, count),
            status=np.zeros(count, np.int16),
            version=np.ones(count, np.int64),
            correct=(rng.random(count) < 0.98).astype(np.int32),
            keep_samples=keep_samples,
        )


def size(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}


def measure(root: Path, minutes: float, *, keep_samples: bool) -> None:
    writer = RunWriter.create(root, "size", None, {})
    seconds, requests, spent = minutes * 60, 0, 0.0
    step = seconds / 10
    for number, chunk in enumerate(chunks(seconds, keep_samples=keep_samples), 1):
        begun = time.process_time()
        writer.append(0, chunk)
        spent += time.process_time() - begun
        requests += len(chunk)
        if number * QUARTER % step < QUARTER:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            written = sum(size(writer.path).values())
            print(
                f"  {number * QUARTER / 60:5.1f} min {requests:>11,} requests {written / 1e6:8.1f} MB on disk "
                f"({written / requests:.2f} bytes each), {memory:.0f} MB of memory at the most",
                flush=True,
            )
    end(writer)
    files = size(writer.path)
    for name, length in sorted(files.items()):
        print(
            f"  {name:<16} {length / requests:8.3f} bytes/request {length / requests * RATE * 3600 / 1e6:8.1f} MB/h"
        )
    total = sum(files.values()) / requests * RATE * 3600 / 1e6
    print(f"  in all {total:.1f} MB/h; appending took {spent / requests * 1e6:.2f} us of CPU a request")


def main(minutes: float) -> None:
    for keep_samples in (False, True):
        print(f"{'with' if keep_samples else 'without'} samples")
        with tempfile.TemporaryDirectory() as root:
            measure(Path(root), minutes, keep_samples=keep_samples)


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("minutes", type=float, nargs="?", default=60.0)
    main(command.parse_args().minutes)
