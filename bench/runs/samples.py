"""Single requests of a run on disk, while it lasts and afterwards.

Instants and durations are whole microseconds: what lies below is mostly chance, which takes half of the space and no
method packs. Whatever is reported was counted before the rounding; due, lag and service are each within 0.5 us.

While it lasts: one file of records per load process, `samples/<worker>.rows`. A record is its length and CRC-32
(two little-endian 32-bit numbers) and the bytes of a `Chunk` without counts, its requests packed as
`bench.runs.packing` describes; a load process flushes one at least each second. Each is appended with one write, so
whatever kills the process leaves all records but the last readable.

Afterwards: `samples.parquet`, ordered by `due`, with whole microseconds in the columns due, lag and service.
sent = due + lag and done = sent + service; the differences are null where nothing was sent. At 10,000/s Poisson a
request takes about three bytes in either form. Packing reads the records in windows of time, so that it holds
some hundred thousand requests, not all of them.

Both forms had nanoseconds in run folders of schema 1. Such Parquet files are read; such records are refused.
"""

import contextlib
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import BenchError
from bench.runs.chunk import Chunk
from bench.runs.columns import NEVER, STEP_NS, UNKNOWN, Columns
from bench.runs.files import MIB, open_file
from bench.runs.sample import LONGEST_RUN, stored_per_second

if TYPE_CHECKING:
    import pandas as pd

WINDOW_ROWS: Final = 262_144
"""Requests in a row group of the Parquet file; packing holds about three times as many."""
ROWS_SUFFIX: Final = ".rows"
LARGEST: Final = 8192 * MIB
"""Bytes of a Parquet file or of a load process's records."""
LARGEST_RECORD: Final = 64 * MIB
"""Of a record, which a load process writes at least each second."""
MOST_GROUP_ROWS, MOST_GROUP_BYTES = 16 * WINDOW_ROWS, 512 * MIB
SPARE_ROWS, ROWS_PER_BYTE = 1_000_000, 8
"""Rows of a Parquet file that are read: so many, and so many for each of its bytes; a request takes about three bytes."""
_NUMBER: Final = re.compile("[0-9]{1,4}")
_LIMITS: Final[dict[str, Any]] = {"thrift_string_size_limit": MIB, "thrift_container_size_limit": 1_000_000}


class Table(NamedTuple):
    """Some requests: their columns, the names that the column `name` points into, and who sent them."""

    names: list[str]
    columns: Columns
    worker: int


class _Record(NamedTuple):
    """Where a record lies, and the span of due instants in it."""

    path: Path
    worker: int
    offset: int
    length: int
    rows: int
    first: int
    last: int


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
            for offset, length in _extents(file):
                yield _read(file, offset, length, worker)


def shards(folder: Path) -> list[tuple[int, Path]]:
    """Number and file of each load process whose records are not packed yet."""
    return sorted(
        (int(path.stem), path) for path in folder.glob("*" + ROWS_SUFFIX) if _NUMBER.fullmatch(path.stem)
    )


def pack(folder: Path, target: Path) -> int:
    """Turn the records in a folder into one Parquet file, and remove them; gives the number of requests.

    The file appears under its name only when it is whole.
    """
    import pyarrow.parquet as pq

    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    records = _index(folder)
    rows = 0
    try:
        with pq.ParquetWriter(temporary, _schema(), **_ENCODING) as writer:
            for first, last in _windows(records):
                table = _arrow(_window(records, first, last))
                rows += table.num_rows
                writer.write_table(table)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    shutil.rmtree(folder)
    return rows


def read_packed(path: Path) -> Iterator["pd.DataFrame"]:
    """The requests of a Parquet file, a row group at a time, as `frame` lays them out. Raises BenchError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_file(path, LARGEST) as raw, pq.ParquetFile(raw, **_LIMITS) as file:
            _check_rows(file.metadata, os.fstat(raw.fileno()).st_size)
            for group in range(file.num_row_groups):
                yield _frame(file.read_row_group(group))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:300]
        raise BenchError(
            f"{path}: {reason}; the file was damaged: delete it to use the histograms alone"
        ) from error


def _check_rows(metadata: Any, size: int) -> None:
    """Raise ValueError for what no run wrote: its rows would need more memory than a file of this size stands for."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    most = SPARE_ROWS + ROWS_PER_BYTE * size
    if metadata.num_rows > most or any(group.num_rows > MOST_GROUP_ROWS for group in groups):
        raise ValueError(f"{metadata.num_rows:,} rows in {size:,} bytes, at most {most:,} of them are read")
    if any(group.total_byte_size > MOST_GROUP_BYTES for group in groups):
        raise ValueError(f"a row group that unpacks to more than {MOST_GROUP_BYTES:,} bytes")


def frame(table: Table) -> "pd.DataFrame":
    """One record's requests: name, batch, due, sent, done (seconds), status, version, correct, mismatched, worker.

    Missing values: nan in sent and done, <NA> in the nullable integers status, version and correct.
    """
    return _frame(_arrow([table]))


def empty_frame() -> "pd.DataFrame":
    """The columns of `frame` without a row."""
    return _frame(_schema().empty_table())


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


def _extents(file: BinaryIO) -> Iterator[tuple[int, int]]:
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


def _read(file: BinaryIO, offset: int, length: int, worker: int) -> Table:
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


def _index(folder: Path) -> list[_Record]:
    records = []
    for worker, path in shards(folder):
        with path.open("rb") as file:
            for offset, length in _extents(file):
                due = _read(file, offset, length, worker).columns.due
                if len(due):
                    records.append(
                        _Record(path, worker, offset, length, len(due), int(due.min()), int(due.max()))
                    )
    return records


def _windows(records: list[_Record]) -> Iterator[tuple[int, int]]:
    """Spans of due instants, each with about WINDOW_ROWS requests (at a steady rate within each record)."""
    if not records:
        return
    ordered = sorted(records, key=lambda record: record.last)
    start, rows = min(record.first for record in records), 0
    for record in ordered:
        rows += record.rows
        if rows >= WINDOW_ROWS and record.last > start:
            yield start, record.last
            start, rows = record.last, 0
    yield start, ordered[-1].last + 1


def _window(records: list[_Record], first: int, last: int) -> list[Table]:
    """The requests that were due from `first` to before `last`."""
    tables = []
    for record in records:
        if record.last >= first and record.first < last:
            with record.path.open("rb") as file:
                table = _read(file, record.offset, record.length, record.worker)
            inside = (table.columns.due >= first) & (table.columns.due < last)
            tables.append(table._replace(columns=table.columns.where(inside)))
    return tables


_ENCODING: Final[dict[str, Any]] = {
    "compression": "zstd",
    "compression_level": 13,  # below it, runs are looked for where there are none: 3 % more bytes in half the time
    "use_dictionary": ["name", "batch", "status", "version", "correct", "worker"],
    # arrivals ascend; durations jump, so their differences are no smaller than they are: by bytes zstd packs them better
    "column_encoding": {
        "due": "DELTA_BINARY_PACKED",
        "lag": "BYTE_STREAM_SPLIT",
        "service": "BYTE_STREAM_SPLIT",
    },
}


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("name", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("batch", pa.int32(), nullable=False),
            pa.field("due", pa.int64(), nullable=False),
            pa.field("lag", pa.int64()),
            pa.field("service", pa.int64()),
            pa.field("status", pa.int16()),
            pa.field("version", pa.int64()),
            pa.field("correct", pa.int32()),
            pa.field("mismatched", pa.bool_(), nullable=False),
            pa.field("worker", pa.int16(), nullable=False),
        ],
        metadata={"units": "microseconds; sent = due + lag, done = sent + service"},
    )


def _arrow(tables: list[Table]) -> Any:
    """Requests in the order of their due instants, as an Arrow table of the schema above.

    Those of one microsecond come in the order in which they were sent.
    """
    import pyarrow as pa

    names = sorted({name for table in tables for name in table.names})
    place = {name: at for at, name in enumerate(names)}
    code = [np.array([place[n] for n in t.names], dtype=np.int32)[t.columns.name] for t in tables]
    worker = [np.full(len(t.columns.due), t.worker, dtype=np.int16) for t in tables]
    columns = Columns.concatenated([table.columns for table in tables])
    order = np.lexsort((columns.lag, columns.due))
    columns = columns.where(order)

    def known(values: Any, missing: int, step: int = 1) -> Any:
        return _array(values if step == 1 else values // step, values != missing)

    return pa.Table.from_arrays(
        [
            pa.DictionaryArray.from_arrays(_array(np.concatenate(code)[order]), _texts(names)),
            _array(columns.batch),
            _array(columns.due // STEP_NS),
            known(columns.lag, NEVER, STEP_NS),
            known(columns.service, NEVER, STEP_NS),
            known(columns.status, UNKNOWN),
            known(columns.version, UNKNOWN),
            known(columns.correct, UNKNOWN),
            _array(columns.mismatched),
            _array(np.concatenate(worker)[order]),
        ],
        schema=_schema(),
    )


def _array(values: NDArray[Any], known: NDArray[np.bool_] | None = None) -> Any:
    """The Arrow array of a NumPy array; null where it is not known.

    `pyarrow.array` imports pandas to find out that it was given no Series: half of the packing of a short run.
    """
    import pyarrow as pa

    def bits(flags: NDArray[np.bool_]) -> Any:
        return pa.py_buffer(np.packbits(flags, bitorder="little"))

    data = bits(values) if values.dtype == np.bool_ else pa.py_buffer(np.ascontiguousarray(values))
    validity = None if known is None else bits(known)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [validity, data])


def _texts(texts: list[str]) -> Any:
    """The Arrow array of texts, without pandas too."""
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    parts = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), parts)


def _frame(table: Any) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa

    per_second = stored_per_second(table.schema.metadata)
    if per_second is None:
        raise pa.ArrowInvalid("its metadata lack the unit of instants")
    due = table["due"].to_numpy()
    lag, service = (table[name].to_numpy().astype(np.float64) for name in ("lag", "service"))  # null: nan
    nullable = {pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    rest = table.select(["status", "version", "correct"]).to_pandas(types_mapper=nullable.get)
    return pd.DataFrame(
        {
            "name": table["name"].to_pandas(),
            "batch": table["batch"].to_numpy(),
            "due": due / per_second,
            "sent": (due + lag) / per_second,
            "done": (due + lag + service) / per_second,
            **rest,
            "mismatched": table["mismatched"].to_numpy(),
            "worker": table["worker"].to_numpy(),
        }
    )


if (
    __name__ == "__main__"
):  # bench.runs.run packs in a process of its own: python -m bench.runs.samples FOLDER FILE
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
