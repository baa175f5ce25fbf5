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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import BenchError
from bench.runs.chunk import Chunk
from bench.runs.columns import NEVER, STEP_NS, UNKNOWN, Columns, no_columns
from bench.runs.files import MIB, open_file
from bench.runs.histogram import Floats, Ints
from bench.runs.sample import LONGEST_RUN

if TYPE_CHECKING:
    import pandas as pd

ROWS_SUFFIX: Final = ".rows"
LARGEST: Final = 8192 * MIB
"""Bytes of a load process's records, or of all as a Parquet file."""
LARGEST_RECORD: Final = 64 * MIB
"""Of a record, which a load process writes at least each second."""
PER_SECOND: Final = 1_000_000_000 // STEP_NS
NOT_KEPT: Final = "single requests were not kept; measure without --no-samples (in an experiment: samples = true), or use latency_histogram()"
"""Told where they are needed."""
_NUMBER: Final = re.compile("[0-9]{1,4}")


class Table(NamedTuple):
    """Some requests: their columns, the names that the column `name` points into, and who sent them."""

    names: list[str]
    columns: Columns
    worker: int


class Requests(NamedTuple):
    """Single requests as they are read: arrays of equal length, and the names that one of them points into."""

    names: list[str]
    name: NDArray[np.int32]
    batch: NDArray[np.int32]
    due: Floats
    """Seconds of the run, as the next two."""
    sent: Floats
    """nan: never sent."""
    done: Floats
    """nan: never sent."""
    status: NDArray[np.int16]
    """gRPC status code, or `bench.runs.sample.CANCELLED_STATUS`; UNKNOWN: never sent."""
    version: Ints
    """UNKNOWN: the answer named none."""
    correct: NDArray[np.int32]
    """UNKNOWN: not checked."""
    mismatched: NDArray[np.bool_]
    message: NDArray[np.int32]
    """Number in its pool, of the slowest requests (`Columns.message`); UNKNOWN of the others."""
    worker: NDArray[np.int16]

    def where(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Requests":
        """Some of them, by mask or by position."""
        arrays: tuple[NDArray[Any], ...] = self[1:]
        return Requests(self.names, *(array[rows] for array in arrays))


def joined(parts: Sequence[Requests]) -> Requests:
    """The requests of all parts, one after the other; at least one part."""
    names = sorted({name for part in parts for name in part.names})
    place = {name: at for at, name in enumerate(names)}
    codes = [np.array([place[name] for name in part.names], np.int32)[part.name] for part in parts]
    columns: list[tuple[NDArray[Any], ...]] = list(zip(*(part[2:] for part in parts), strict=True))
    return Requests(names, np.concatenate(codes), *map(np.concatenate, columns))


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


def requests_of(table: Table) -> Requests:
    """One record's requests, in the order of their due instants."""
    names, codes, columns, workers = merged([table])
    due = columns.due // STEP_NS
    sent = np.where(columns.lag == NEVER, np.nan, due + columns.lag // STEP_NS)
    done = np.where(columns.service == NEVER, np.nan, sent + columns.service // STEP_NS)
    return Requests(
        names,
        codes,
        columns.batch,
        due / PER_SECOND,
        sent / PER_SECOND,
        done / PER_SECOND,
        columns.status,
        columns.version,
        columns.correct,
        columns.mismatched,
        columns.message,
        workers,
    )


_NULLABLE: Final = ("status", "version", "correct", "message")


def frame(requests: Requests) -> "pd.DataFrame":
    """Requests as a table: name, batch, due, sent, done (seconds), status, version, correct, mismatched, message, worker.

    Missing values: nan in sent and done, <NA> in the nullable integers status, version, correct and message.
    """
    import pandas as pd  # as long an import as everything else that a report needs

    def known(values: NDArray[Any]) -> Any:
        return pd.arrays.IntegerArray(values, values == UNKNOWN)

    columns: dict[str, Any] = requests._asdict()
    names = pd.Index(columns.pop("names"), dtype="str")
    columns["name"] = pd.Categorical.from_codes(requests.name, names)
    return pd.DataFrame(columns | {each: known(columns[each]) for each in _NULLABLE})


def no_requests() -> Requests:
    """Not one."""
    return requests_of(Table([], no_columns(), 0))


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
