"""Writes a run folder as fast as it can, a dot for each chunk: `python -m tests.runs.killed_writer FOLDER CHUNKS`."""

import sys
from pathlib import Path

from bench.runs.chunk import Chunk
from bench.runs.run import RunWriter
from tests.recorded import end, requests


def main(root: Path, turns: int) -> None:
    writer = RunWriter.create(root, "killed", None, {"seed": 1})
    chunks = [Chunk.of(**requests(i, count=300, start=0.3 * i)) for i in range(20)]
    print("ready", flush=True)
    for turn in range(turns):
        writer.append(turn % 3, chunks[turn % 20])
        sys.stdout.write(".")
        sys.stdout.flush()
    end(writer)
    print("finished", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
