"""Pages of a Parquet file that unpack to more than its end says are never unpacked."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import BenchError
from bench.runs import parquet, samples
from bench.runs.chunk import Chunk
from bench.runs.parquet import SPARE_BYTES
from bench.runs.parquet_pages import unpacked_bytes
from tests.recorded import requests

ROWS = 1000


def written(**encoding: Any) -> bytes:
    table = samples.Table(["Predict"], Chunk.of(**requests(1, count=ROWS)).columns, 0)  # type: ignore[arg-type]
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, parquet._schema(), **(parquet._ENCODING | encoding)) as writer:
        writer.write_table(parquet._arrow([table]))
    return sink.getvalue()


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def integer(value: int) -> bytes:
    return varint((value << 1) ^ (value >> 63))


def page(unpacked: int, packed: bytes, head: bytes = b"") -> bytes:
    """A data page of plain values; head: further fields of its header."""
    sizes = b"\x15\0" + b"\x15" + integer(unpacked) + b"\x15" + integer(len(packed))
    values = b"\x2c\x15" + integer(ROWS) + b"\x15\0\x15\x06\x15\x06\0"
    return sizes + values + head + b"\0" + packed


def with_last_page(content: bytes) -> bytes:
    """A file whose last column has this page; of its sizes only the one on disk is told, so that it is found."""
    raw = written(use_dictionary=False)
    column = pq.ParquetFile(io.BytesIO(raw)).metadata.row_group(0).column(10)
    length = int.from_bytes(raw[-8:-4], "little")
    footer, old = raw[-8 - length : -8], b"\x16" + integer(column.total_compressed_size)
    for at in range(len(footer)):
        if footer.startswith(old, at):
            changed = footer[:at] + b"\x16" + integer(len(content)) + footer[at + len(old) :]
            made = raw[: column.data_page_offset] + content + changed
            made += len(changed).to_bytes(4, "little") + b"PAR1"
            try:
                found = pq.ParquetFile(io.BytesIO(made)).metadata.row_group(0).column(10)
            except (OSError, pa.ArrowException):
                continue
            if found.total_compressed_size == len(content):
                return made
    raise AssertionError("the size is nowhere")


def zeros(size: int) -> bytes:
    return bytes(pa.compress(bytes(size), codec="zstd", asbytes=True))


PAGES: dict[str, tuple[bytes, str | None]] = {
    "honest": (page(4 * ROWS, zeros(4 * ROWS)), None),
    "more than is used": (page(1 << 20, zeros(1 << 20)), None),
    "a hundred MB of zeros": (page(100 << 20, zeros(100 << 20)), "unpack to "),
    "many of them": (page(20 << 20, zeros(20 << 20)) * 4, "unpack to "),
    "a claim": (page(2**31 - 1, zeros(4)), "unpack to "),
    "less than nothing": (page(-1, zeros(4)), "unpack to -1"),
    "a size on disk below nothing": (b"\x15\0\x15\x02\x15\x03\0" + bytes(50), "a page of -2 bytes"),
    "no header": (b"\xff" * 100, "a page"),
    "nested without end": (b"\x1c" * 200, "nested too deep"),
    "an endless number": (b"\x15" + b"\x80" * 100, "endless number"),
    "a list": (b"\x19" * 100, "with a list"),
    "a header that does not end": (b"\x18\xff\xff\xff\x07" + bytes(100), "without a readable header"),
    "a header without sizes": (b"\0" * 100, "without a readable header"),
    "fields that nobody knows": (
        page(4 * ROWS, zeros(4 * ROWS), b"\x88\x05hello\x11\x12\x13\x07\x17" + bytes(8) + b"\x1c\x15\x02\0"),
        None,
    ),
}


@pytest.mark.parametrize(("content", "problem"), PAGES.values(), ids=PAGES)
def test_pages_are_measured_before_they_are_unpacked(
    tmp_path: Path, content: bytes, problem: str | None
) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(with_last_page(content))
    allocated = pa.default_memory_pool()
    before = allocated.max_memory()
    if problem is None:
        assert sum(len(part.due) for part in parquet.read_packed(path)) == ROWS
        return
    with pytest.raises(BenchError, match=problem) as raised:
        list(parquet.read_packed(path))
    assert "\n" not in str(raised.value)
    assert allocated.max_memory() - before < SPARE_BYTES


def test_the_pages_of_a_run_are_measured_to_the_byte() -> None:
    raw = written()
    group = pq.ParquetFile(io.BytesIO(raw)).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    heads = sum(each.total_uncompressed_size for each in columns) - unpacked_bytes(io.BytesIO(raw), group)
    assert 0 < heads < 200 * len(columns), "what the file's end says holds the headers too"
