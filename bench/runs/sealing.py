"""Checksums of what an experiment holds beside its runs, written when it ends, as `checksums` does for each run.

They stand in a file of another name: a folder with the checksums of a run would be taken for one.
"""

from functools import lru_cache
from pathlib import Path
from typing import Final

from bench.runs import checksums
from bench.runs.answers import ANSWERS, DIFFERENT
from bench.runs.capacity import CAPACITY
from bench.runs.interference import INTERFERENCE
from bench.runs.journal import DESCRIPTION, JOURNAL, RUNNING
from bench.runs.jsonl import read_json
from bench.runs.tuning import TUNING

SEAL: Final = "experiment.sha256"
SEALED: Final = (DESCRIPTION, JOURNAL, ANSWERS, DIFFERENT, INTERFERENCE, CAPACITY, TUNING)


def seal(folder: Path) -> None:
    """Write the checksums of an experiment that has ended. Raises OSError."""
    checksums.write(folder, {name for name in SEALED if (folder / name).is_file()}, SEAL)


def altered(folder: Path, *, expected: bool) -> list[str]:
    """What is not as it was when the experiment ended, such as `answers.json changed`; nothing of one that runs.

    expected: whether it is of a version that writes checksums, so that they were taken away if they are not there.
    """
    stamps = []
    for name in (*SEALED, SEAL):
        try:
            stat = (folder / name).stat()
            stamps.append((name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            stamps.append((name, 0, -1, 0))
    if stamps[-1][2] < 0 and not expected:
        return []
    return list(_altered(folder, tuple(stamps)))


@lru_cache(maxsize=64)  # each run of an experiment looks at it
def _altered(folder: Path, stamps: tuple[tuple[str, int, int, int], ...]) -> tuple[str, ...]:
    try:
        description = read_json(folder / DESCRIPTION)
        if isinstance(description, dict) and description.get("state") == RUNNING:
            return ()
    except (OSError, ValueError):
        pass  # then it is no more what it was
    return tuple(checksums.altered(folder, SEALED, SEAL))
