"""Samples on disk: packed in windows of time, small, and refused when damaged."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bench import BenchError, extras
from bench.runs import parquet, samples
from bench.runs.chunk import Chunk
from bench.runs.columns import SLOWEST
from tests.recorded import KEPT, requests, write


def write_shards(folder: Path, parts: list[tuple[int, Chunk]]) -> None:
    folder.mkdir(exist_ok=True)
    for worker, chunk in parts:
        with (folder / f"{worker}.rows").open("ab") as file:
            file.write(samples.record_bytes(chunk))


def read(path: Path) -> pd.DataFrame:
    return samples.frame(samples.joined(list(parquet.read_packed(path))))


def test_windows_cover_every_request_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "WINDOW_ROWS", 700)
    parts = [
        (i % 3, Chunk.of(**requests(i, count=250, rate=500, start=0.25 * (i // 3), names=("a", f"ä{i % 2}"))))
        for i in range(30)
    ]
    # answered very late: its record spans the whole run
    late = requests(99, count=50, rate=8)
    parts.append((1, Chunk.of(**late)))
    write_shards(tmp_path / "samples", parts)
    tables = samples.read_shards(tmp_path / "samples")
    before = samples.frame(samples.joined([samples.requests_of(table) for table in tables]))
    assert parquet.pack(tmp_path / "samples", tmp_path / "samples.parquet") == 30 * 250 + 50
    packed = read(tmp_path / "samples.parquet")
    with pq.ParquetFile(tmp_path / "samples.parquet") as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert len(sizes) > 5
    assert max(sizes) < 3 * 700
    assert packed["due"].is_monotonic_increasing
    by = ["due", "sent", "done", "worker"]
    before, packed = (t.astype({"name": str}).sort_values(by, ignore_index=True) for t in (before, packed))
    pd.testing.assert_frame_equal(packed, before)
    assert not (tmp_path / "samples").exists()


def test_packing_and_reading_does_without_pandas(tmp_path: Path) -> None:
    write_shards(tmp_path / "samples", [(0, Chunk.of(**requests(1, count=10)))])
    program = (
        "import sys; from pathlib import Path; from bench.runs import parquet\n"
        "packed = parquet.pack(*map(Path, sys.argv[1:]))\n"
        "(part,) = parquet.read_packed(Path(sys.argv[2]))\n"
        "print(packed, len(part.done), 'pandas' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "samples"), str(tmp_path / "x.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "10 10 False\n"


def test_requests_of_one_instant_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "WINDOW_ROWS", 10)
    part = requests(1, count=100) | {"due": np.full(100, 1.0)}
    part |= {"sent": part["due"] + 1e-4, "done": part["due"] + 1e-3}
    write_shards(tmp_path / "samples", [(0, Chunk.of(**part)), (1, Chunk.of(**part))])
    assert parquet.pack(tmp_path / "samples", tmp_path / "x.parquet") == 200


def test_no_requests_make_an_empty_file(tmp_path: Path) -> None:
    write_shards(tmp_path / "samples", [])
    assert parquet.pack(tmp_path / "samples", tmp_path / "x.parquet") == 0
    assert list(parquet.read_packed(tmp_path / "x.parquet")) == []


def test_a_request_takes_few_bytes(tmp_path: Path) -> None:
    count = 100_000
    open_loop = requests(1, count=count, rate=10_000, lag=2e-5, service=0.002)
    closed = open_loop | {"sent": open_loop["due"]}
    told = closed | {"message": np.random.default_rng(1).integers(0, 10_000, count)}
    for name, rows, limit in (("open", open_loop, 3.9), ("closed", closed, 2.95), ("told", told, 3.15)):
        parts = [
            Chunk.of(**{k: v if k == "names" else v[at : at + 2500] for k, v in rows.items()})
            for at in range(0, count, 2500)
        ]
        write_shards(tmp_path / name, [(0, part) for part in parts])
        assert (tmp_path / name / "0.rows").stat().st_size / count < limit
        target = tmp_path / f"{name}.parquet"
        parquet.pack(tmp_path / name, target)
        assert target.stat().st_size / count < limit


def test_the_slowest_requests_and_those_that_failed_have_their_message(tmp_path: Path) -> None:
    count = 3200
    rows = requests(1, count=count, errors=0.005) | {"message": np.arange(count)}
    write_shards(tmp_path / "samples", [(0, Chunk.of(**rows))])
    parquet.pack(tmp_path / "samples", tmp_path / "samples.parquet")
    table = read(tmp_path / "samples.parquet")
    known = table["message"].notna()
    assert known.sum() == count // SLOWEST
    assert known[table["status"] != 0].all()
    answered = table[table["status"] == 0]
    latency, slowest = answered["done"] - answered["due"], known[table["status"] == 0]
    assert latency[slowest].min() > latency[~slowest].max() - 2 * KEPT
    assert (table["message"][known] == np.flatnonzero(known)).all()


@pytest.mark.parametrize("reader", ["pandas", "polars", "duckdb", "fastparquet"])
def test_other_programs_read_the_same_requests(tmp_path: Path, reader: str) -> None:
    library = pytest.importorskip(reader, reason=f"{reader} is not installed")
    part = Chunk.of(
        **requests(1, count=500, errors=0.1, unsent=0.1, names=("a", "b")), message=np.arange(500)
    )
    write_shards(tmp_path / "samples", [(3, part)])
    path = tmp_path / "samples.parquet"
    parquet.pack(tmp_path / "samples", path)
    table = {
        "pandas": lambda: library.read_parquet(path),
        "polars": lambda: library.read_parquet(path).to_pandas(),
        "duckdb": lambda: library.read_parquet(str(path)).df(),
        "fastparquet": lambda: library.ParquetFile(str(path)).to_pandas(),
    }[reader]()
    expected = pq.read_table(path).to_pylist()
    for name in expected[0]:
        found = [None if pd.isna(value) else value for value in table[name]]
        assert found == [row[name] for row in expected], name


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(b"PAR1 rubbish PAR1")
    with pytest.raises(BenchError, match=r"samples\.parquet: .*damaged"):
        read(path)


def test_a_record_with_a_wrong_checksum_ends_the_reading(tmp_path: Path) -> None:
    chunks = [(0, Chunk.of(**requests(i, count=10))) for i in range(3)]
    write_shards(tmp_path / "samples", chunks)
    path = tmp_path / "samples" / "0.rows"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3 + 100] ^= 1
    path.write_bytes(raw)
    assert len(list(samples.read_shards(path.parent))) == 1


def test_files_of_schema_1_are_read_in_their_nanoseconds(tmp_path: Path) -> None:
    write_shards(tmp_path / "samples", [(0, Chunk.of(**requests(1, count=500, lag=1e-5, unsent=0.1)))])
    parquet.pack(tmp_path / "samples", tmp_path / "new.parquet")
    table = pq.read_table(tmp_path / "new.parquet")
    for name in ("due", "lag", "service"):
        place = table.schema.get_field_index(name)
        field = table.schema.field(name)
        table = table.set_column(place, field, pc.multiply(table[name], 1000))
    old = table.replace_schema_metadata({"units": "nanoseconds; sent = due + lag, done = sent + service"})
    pq.write_table(old, tmp_path / "old.parquet")
    pd.testing.assert_frame_equal(read(tmp_path / "old.parquet"), read(tmp_path / "new.parquet"))


def test_a_file_that_does_not_name_its_units_is_refused_in_one_line(tmp_path: Path) -> None:
    write_shards(tmp_path / "samples", [(0, Chunk.of(**requests(1, count=10)))])
    path = tmp_path / "samples.parquet"
    parquet.pack(tmp_path / "samples", path)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(BenchError, match=r"samples\.parquet: .*lack the unit.*delete it") as raised:
        read(path)
    assert "\n" not in str(raised.value)


def test_records_of_schema_2_are_read(tmp_path: Path) -> None:
    write_shards(tmp_path, [(0, Chunk.of(**requests(1, count=10)))])
    path = tmp_path / "0.rows"
    body = b"BCK2" + path.read_bytes()[12:]
    path.write_bytes(len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body)
    (table,) = samples.read_shards(tmp_path)
    assert len(table.columns.due) == 10


def test_records_of_schema_1_are_refused_in_one_line(tmp_path: Path) -> None:
    write_shards(tmp_path, [(0, Chunk.of(**requests(1, count=10)))])
    path = tmp_path / "0.rows"
    body = b"BCK1" + path.read_bytes()[12:]
    path.write_bytes(len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body)
    with pytest.raises(BenchError, match=r"0\.rows: .*another version of serving-bench wrote it") as raised:
        list(samples.read_shards(tmp_path))
    assert "\n" not in str(raised.value)


def test_without_pyarrow_samples_stay_records_and_packed_ones_name_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chunks = [Chunk.of(**requests(seed, count=100)) for seed in range(2)]
    packed = write(tmp_path / "packed", chunks)
    before = packed.samples
    caplog.set_level("INFO", "bench")
    remedy = "pyarrow is not installed"
    monkeypatch.setattr(extras, "lacking", {"pyarrow": remedy}.get)
    unpacked = write(tmp_path / "unpacked", chunks)
    assert sorted(path.name for path in (unpacked.path / "samples").iterdir()) == ["0.rows", "1.rows"]
    assert "samples/0.rows" in (unpacked.path / "SHA256SUMS").read_text()
    assert caplog.messages == [f"the samples stay in samples/, not packed into samples.parquet: {remedy}"]
    pd.testing.assert_frame_equal(unpacked.samples.astype({"name": str}), before.astype({"name": str}))
    with pytest.raises(BenchError) as error:
        _ = packed.samples
    assert str(error.value) == f"{packed.path / 'samples.parquet'}: {remedy}"
