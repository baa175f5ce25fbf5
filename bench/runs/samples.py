"""Single requests of a run on disk, as they are recorded.

Instants and durations are whole microseconds: what lies below is mostly chance, which takes half of the space and no
method packs. Whatever is reported was counted before the rounding; due, lag and service are each within 0.5 us.

One file of records per load process, `samples/<worker>.rows`. A record is its length and CRC-32 (two little-endian 32-bit
numbers) and the bytes of a `Chunk` without counts, its requests packed as `bench.runs.packing` describes; a load process
flushes one at least each second. Each is appended with one write, so whatever kills the process leaves all records but the
last readable. At 10,000/s Poisson a request takes about three bytes. After the run `bench.runs.parquet` packs them.

Records of run folders of schema 1, with nanoseconds, are refused.
"""

import contextlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import BenchError
from bench.runs.chunk import Chunk
from bench.runs.columns import NEVER, STEP_NS, UNKNOWN, Columns, no_columns
from bench.runs.files import MIB, open_file
from bench.runs.sample import LONGEST_RUN

if TYPE_CHECKING:
    import pandas as pd

ROWS_SUFFIX: Final = ".rows"
LARGEST: Final = 8192 * MIB
"""Bytes of a load process's records, or of all as a Parquet file."""
LARGEST_RECORD: Final = 64 * MIB
"""Of a record, which a load process writes at least each second."""
PER_SECOND: Final = 1_000_000_000 // STEP_NS
_NUMBER: Final = re.compile("[0-9]{1,4}")


class Table(NamedTuple):
    """Some requests: their columns, the names that the column `name` points into, and who sent them."""

    names: list[str]
    columns: Columns
    worker: int


def record_bytes(chunk: Chunk) -> bytes:
    """The record of a chunk's requests: length, CRC-32, names and packed columns."""
    body = Chunk(chunk.names, chunk.packed(), chunk.rows).to_bytes()
    return len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body


def read_shards(folder: Path) -> Iterator[Table]:
    """The records of all load processes, each up to its last whole one.

    Raises FileNotFoundError, before the first record, when the packing removes the files just now, and BenchError
    on records of an older version.
    """
    with contextlib.ExitStack() as stack:
        # all are opened first: what is open can be read even after it was removed
        files = [(worker, stack.enter_context(_opened(path))) for worker, path in shards(folder)]
        for worker, file in files:
            for offset, length in extents(file):
                yield read_record(file, offset, length, worker)


def shards(folder: Path) -> list[tuple[int, Path]]:
    """Number and file of each load process whose records are not packed yet."""
    return sorted(
        (int(path.stem), path) for path in folder.glob("*" + ROWS_SUFFIX) if _NUMBER.fullmatch(path.stem)
    )


def frame(table: Table) -> "pd.DataFrame":
    """One record's requests: name, batch, due, sent, done (seconds), status, version, correct, mismatched, worker.

    Missing values: nan in sent and done, <NA> in the nullable integers status, version and correct.
    """
    import pandas as pd

    names, codes, columns, workers = merged([table])
    unsent, unanswered = columns.lag == NEVER, columns.service == NEVER
    due = columns.due // STEP_NS
    sent = np.where(unsent, np.nan, due + columns.lag // STEP_NS)
    done = np.where(unanswered, np.nan, sent + columns.service // STEP_NS)

    def known(values: NDArray[Any]) -> Any:
        return pd.arrays.IntegerArray(values, values == UNKNOWN)

    return pd.DataFrame(
        {
            "name": pd.Categorical.from_codes(codes, pd.Index(names, dtype="str")),
            "batch": columns.batch,
            "due": due / PER_SECOND,
            "sent": sent / PER_SECOND,
            "done": done / PER_SECOND,
            "status": known(columns.status),
            "version": known(columns.version),
            "correct": known(columns.correct),
            "mismatched": columns.mismatched,
            "worker": workers,
        }
    )


def empty_frame() -> "pd.DataFrame":
    """The columns of `frame` without a row."""
    return frame(Table([], no_columns(), 0))


def merged(tables: list[Table]) -> tuple[list[str], NDArray[np.int32], Columns, NDArray[np.int16]]:
    """Names, what name each request has, its columns and its worker, in the order of the due instants.

    Those of one microsecond come in the order in which they were sent.
    """
    names = sorted({name for table in tables for name in table.names})
    place = {name: at for at, name in enumerate(names)}
    codes = [np.array([place[n] for n in t.names], dtype=np.int32)[t.columns.name] for t in tables]
    workers = [np.full(len(t.columns.due), t.worker, dtype=np.int16) for t in tables]
    columns = Columns.concatenated([table.columns for table in tables])
    order = np.lexsort((columns.lag, columns.due))
    return names, np.concatenate(codes)[order], columns.where(order), np.concatenate(workers)[order]


def _opened(path: Path) -> BinaryIO:
    """Raises FileNotFoundError, and BenchError where it is no file that can be read."""
    try:
        return open_file(path, LARGEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BenchError(
            f"{path}: {error.strerror}; delete the folder to use the histograms alone"
        ) from error


def extents(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where the whole records of a file lie."""
    offset = 0
    while True:
        file.seek(offset)
        head = file.read(8)
        length = int.from_bytes(head[:4], "little")
        body = file.read(length) if length <= LARGEST_RECORD else b""
        if len(head) < 8 or len(body) < length or zlib.crc32(body) != int.from_bytes(head[4:], "little"):
            return
        yield offset + 8, length
        offset += 8 + length


def read_record(file: BinaryIO, offset: int, length: int, worker: int) -> Table:
    """The requests of one record of a load process. Raises BenchError where it is damaged."""
    file.seek(offset)
    try:
        chunk = Chunk.from_bytes(file.read(length))
        columns = chunk.columns
        if columns is None or not _sound(chunk.names, columns):
            raise ValueError("a record that no load process has written")
    except (
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:  # its bytes are those that were written: the checksum says so
        raise BenchError(
            f"{file.name}: {error}; another version of serving-bench wrote it: use that, or delete the folder "
            "to use the histograms alone"
        ) from error
    return Table(chunk.names, columns, worker)


def _sound(names: Any, columns: Columns) -> bool:
    """Whether all rows have a name and an instant of a run."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    if not len(columns.due):
        return True
    known = 0 <= columns.name.min() <= columns.name.max() < len(names)
    span = LONGEST_RUN * 1_000_000_000
    return bool(known and -span <= columns.due.min() <= columns.due.max() <= span)
