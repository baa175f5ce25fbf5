"""Single requests of a finished run: `samples.parquet`.

It is ordered by `due`, with whole microseconds in the columns due, lag and service. sent = due + lag and done = sent +
service; the differences are null where nothing was sent. Packing reads the records of load processes in windows of time,
so that it holds some hundred thousand requests, not all of them. Files of schema 1 have nanoseconds and are read too.

Without pyarrow, which comes with the extra `[parquet]`, the samples of a run stay records (`bench.runs.samples`).
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import BenchError, extras
from bench.runs.columns import NEVER, STEP_NS, UNKNOWN
from bench.runs.files import MIB, open_file
from bench.runs.parquet_pages import unpacked_bytes
from bench.runs.sample import stored_per_second
from bench.runs.samples import LARGEST, Requests, Table, extents, merged, read_record, shards

WINDOW_ROWS: Final = 262_144
"""Requests in a row group of the file; packing holds about three times as many."""
MOST_GROUP_ROWS, MOST_GROUP_BYTES = 16 * WINDOW_ROWS, 512 * MIB
SPARE_ROWS, ROWS_PER_BYTE = 1_000_000, 8
"""Rows of a file that are read: so many, and so many for each of its bytes; a request takes about three bytes."""
SPARE_BYTES, MOST_ROW_BYTES = 64 * MIB, 64
"""What the pages of a file unpack to at most; a row takes some 50 bytes, and a column's dictionary up to a MB."""
_LIMITS: Final[dict[str, Any]] = {"thrift_string_size_limit": MIB, "thrift_container_size_limit": 1_000_000}


class _Record(NamedTuple):
    """The place of a record, and the span of due instants in it."""

    path: Path
    worker: int
    offset: int
    length: int
    rows: int
    first: int
    last: int


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


def read_packed(path: Path) -> Iterator[Requests]:
    """The requests of a Parquet file, a row group at a time. Raises BenchError."""
    extras.need("pyarrow", str(path))
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_file(path, LARGEST) as raw, pq.ParquetFile(raw, **_LIMITS) as file:
            _check_rows(file.metadata, os.fstat(raw.fileno()).st_size)
            _check_pages(raw, file.metadata)
            for group in range(file.num_row_groups):
                yield _requests(file.read_row_group(group))
    except (pa.ArrowException, OSError, LookupError, ValueError) as error:
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


def _check_pages(raw: BinaryIO, metadata: Any) -> None:
    """Raise ValueError where pages unpack to more than rows can take, whatever the file's end says."""
    most, unpacked = SPARE_BYTES + MOST_ROW_BYTES * metadata.num_rows, 0
    for number in range(metadata.num_row_groups):
        unpacked += unpacked_bytes(raw, metadata.row_group(number))
        if unpacked > most:
            rows = f"{metadata.num_rows:,} rows take {most:,} at most"
            raise ValueError(f"pages that unpack to {unpacked:,} bytes, {rows}")


def _index(folder: Path) -> list[_Record]:
    records = []
    for worker, path in shards(folder):
        with path.open("rb") as file:
            for offset, length in extents(file):
                due = read_record(file, offset, length, worker).columns.due
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
                table = read_record(file, record.offset, record.length, record.worker)
            inside = (table.columns.due >= first) & (table.columns.due < last)
            tables.append(table._replace(columns=table.columns.where(inside)))
    return tables


_ENCODING: Final[dict[str, Any]] = {
    "compression": "zstd",
    "compression_level": 13,  # below it, runs are looked for where there are none: 3 % more bytes in half the time
    "use_dictionary": ["name", "batch", "status", "version", "correct", "worker"],
    # durations split by bytes (BYTE_STREAM_SPLIT) take 5 to 10 % less room, and fastparquet cannot read them
    "column_encoding": dict.fromkeys(("due", "lag", "service"), "DELTA_BINARY_PACKED"),
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
            pa.field("message", pa.int32()),
            pa.field("worker", pa.int16(), nullable=False),
        ],
        metadata={"units": "microseconds; sent = due + lag, done = sent + service"},
    )


def _arrow(tables: list[Table]) -> Any:
    """Requests in the order of their due instants, as an Arrow table of the schema above."""
    import pyarrow as pa

    names, codes, columns, workers = merged(tables)

    def known(values: Any, missing: int, step: int = 1) -> Any:
        return _array(values if step == 1 else values // step, values != missing)

    return pa.Table.from_arrays(
        [
            pa.DictionaryArray.from_arrays(_array(codes), _texts(names)),
            _array(columns.batch),
            _array(columns.due // STEP_NS),
            known(columns.lag, NEVER, STEP_NS),
            known(columns.service, NEVER, STEP_NS),
            known(columns.status, UNKNOWN),
            known(columns.version, UNKNOWN),
            known(columns.correct, UNKNOWN),
            _array(columns.mismatched),
            known(columns.message, UNKNOWN),
            _array(workers),
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


def _requests(table: Any) -> Requests:
    """The requests of an Arrow table. Raises ValueError."""
    per_second = stored_per_second(table.schema.metadata)
    if per_second is None:
        raise ValueError("its metadata lack the unit of instants")
    names, codes = _named(table["name"])
    due = _values(table, "due", np.int64)
    lag, service = (_values(table, name, np.int64, NEVER) for name in ("lag", "service"))
    sent = np.where(lag == NEVER, np.nan, due + lag)
    done = np.where(service == NEVER, np.nan, sent + service)
    return Requests(
        names,
        codes,
        _values(table, "batch", np.int32),
        due / per_second,
        sent / per_second,
        done / per_second,
        _values(table, "status", np.int16, UNKNOWN),
        _values(table, "version", np.int64, UNKNOWN),
        _values(table, "correct", np.int32, UNKNOWN),
        _values(table, "mismatched", np.bool_),
        # earlier files have none
        _values(table, "message", np.int32, UNKNOWN)
        if "message" in table.column_names
        else np.full(len(due), UNKNOWN, np.int32),
        _values(table, "worker", np.int16),
    )


def _named(column: Any) -> tuple[list[str], NDArray[np.int32]]:
    """The distinct texts of a column, and which of them each row has. Raises ValueError."""
    import pyarrow as pa

    if not column.num_chunks:
        return [], np.empty(0, np.int32)
    whole = column.combine_chunks()
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    texts = whole.dictionary.to_pylist()
    if whole.null_count or not all(isinstance(text, str) for text in texts):
        raise ValueError("requests without a name")
    indices = whole.indices if whole.indices.type == pa.int32() else whole.indices.cast(pa.int32())
    codes = _plain([indices], np.dtype(np.int32), None)
    names = sorted(set(texts))
    place = {name: at for at, name in enumerate(names)}
    return names, np.array([place[text] for text in texts], np.int32)[codes]


def _values(table: Any, name: str, kind: Any, missing: int | None = None) -> NDArray[Any]:
    """A column; `missing` stands for null, of which there is none where that is None. Raises ValueError."""
    import pyarrow as pa

    dtype, column = np.dtype(kind), table[name]
    if column.type != pa.from_numpy_dtype(dtype):
        column = column.cast(pa.from_numpy_dtype(dtype))
    if missing is None and column.null_count:
        raise ValueError(f"{name}: {column.null_count:,} rows without a value")
    return _plain(column.chunks, dtype, missing)


def _plain(chunks: Sequence[Any], dtype: "np.dtype[Any]", missing: int | None) -> NDArray[Any]:
    """The NumPy array of Arrow arrays of numbers. Arrow's own `to_numpy` imports pandas."""
    parts = [np.empty(0, dtype)]
    for chunk in chunks:
        end = chunk.offset + len(chunk)
        validity, data = chunk.buffers()
        if data is None or end == chunk.offset:
            continue
        values = _bits(data, end) if dtype == np.bool_ else np.frombuffer(data, dtype, end)
        if chunk.null_count and missing is not None:
            values = np.where(_bits(validity, end), values, dtype.type(missing))
        parts.append(values[chunk.offset :])
    return np.concatenate(parts)


def _bits(buffer: Any, count: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(buffer, np.uint8), count=count, bitorder="little").view(np.bool_)
