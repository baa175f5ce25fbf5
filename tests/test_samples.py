"""Samples on disk: packed in windows of time, small, and refused when damaged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench import BenchError, samples
from bench.chunk import Chunk
from tests.recorded import requests


def write_shards(folder: Path, parts: list[tuple[int, Chunk]]) -> None:
    folder.mkdir()
    for worker, chunk in parts:
        with (folder / f"{worker}.rows").open("ab") as file:
            file.write(samples.record_bytes(chunk))


def read(path: Path) -> pd.DataFrame:
    return pd.concat(list(samples.read_packed(path)), ignore_index=True)


def test_windows_cover_every_request_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "WINDOW_ROWS", 700)
    parts = [
        (i % 3, Chunk.of(**requests(i, count=250, rate=500, start=0.25 * (i // 3), names=("a", f"b{i % 2}"))))
        for i in range(30)
    ]
    # answered very late: its record spans the whole run
    late = requests(99, count=50, rate=8)
    parts.append((1, Chunk.of(**late)))
    write_shards(tmp_path / "samples", parts)
    before = pd.concat([samples.frame(table) for table in samples.read_shards(tmp_path / "samples")])
    assert samples.pack(tmp_path / "samples", tmp_path / "samples.parquet") == 30 * 250 + 50
    packed = read(tmp_path / "samples.parquet")
    with pq.ParquetFile(tmp_path / "samples.parquet") as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert len(sizes) > 5
    assert max(sizes) < 3 * 700
    assert packed["due"].is_monotonic_increasing
    by = ["due", "sent", "worker"]
    before, packed = (t.astype({"name": str}).sort_values(by, ignore_index=True) for t in (before, packed))
    pd.testing.assert_frame_equal(packed, before)
    assert not (tmp_path / "samples").exists()


def test_requests_of_one_instant_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "WINDOW_ROWS", 10)
    part = requests(1, count=100) | {"due": np.full(100, 1.0)}
    part |= {"sent": part["due"] + 1e-4, "done": part["due"] + 1e-3}
    write_shards(tmp_path / "samples", [(0, Chunk.of(**part)), (1, Chunk.of(**part))])
    assert samples.pack(tmp_path / "samples", tmp_path / "x.parquet") == 200


def test_no_requests_make_an_empty_file(tmp_path: Path) -> None:
    write_shards(tmp_path / "samples", [])
    assert samples.pack(tmp_path / "samples", tmp_path / "x.parquet") == 0
    assert list(samples.read_packed(tmp_path / "x.parquet")) == []


def test_a_request_takes_few_bytes(tmp_path: Path) -> None:
    count = 100_000
    open_loop = requests(1, count=count, rate=10_000, lag=2e-5, service=0.002)
    closed = open_loop | {"sent": open_loop["due"]}
    for name, rows, limit in (("open", open_loop, 8.2), ("closed", closed, 6.2)):
        write_shards(tmp_path / name, [(0, Chunk.of(**rows))])
        target = tmp_path / f"{name}.parquet"
        samples.pack(tmp_path / name, target)
        assert target.stat().st_size / count < limit


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
