"""bench.schedule.trace: recorded traffic from CSV and Parquet files."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from bench import BenchError
from bench.runs.chunk import Chunk
from bench.schedule import Kind, Trace, from_dict, parse
from tests.recorded import KEPT, requests, write


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_rows_in_any_order_with_what_each_asks_for(tmp_path: Path) -> None:
    text = "time,model,version,batch,user\n12.5,mnist,2,1,a\n10,mnist,,32,b\n\n11,,,,c\n10.25,mnist,2,1,d\n"
    trace = Trace.read(written(tmp_path, text))
    assert trace.instants.tolist() == [0.0, 0.25, 1.0, 2.5]
    kinds = [trace.kinds[code] for code in trace.codes]
    assert kinds == [
        Kind("mnist", None, 32),
        Kind("mnist", 2, 1),
        Kind(None, None, None),
        Kind("mnist", 2, 1),
    ]
    assert len(trace.kinds) == 3
    assert trace.duration == 2.5


def test_dates_and_times(tmp_path: Path) -> None:
    text = "time\n2024-05-01T12:00:00.250Z\n2024-05-01T11:59:59Z\n2024-05-01T14:00:01.000001+02:00\n"
    assert Trace.read(written(tmp_path, text)).instants.tolist() == [0.0, 1.25, 2.000001]


def test_parquet_with_numbers_or_times_and_gaps(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    columns = {
        "due": [3.0, 1.0, 2.0],
        "batch": [1, None, 8],
        "version": pyarrow.array([2, 2, None], type=pyarrow.int64()),
        "name": ["Predict"] * 3,
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    trace = Trace.read(path, speed=2)
    assert trace.instants.tolist() == [0.0, 0.5, 1.0]
    assert [trace.kinds[code] for code in trace.codes] == [
        Kind(None, 2, None),
        Kind(None, None, 8),
        Kind(None, 2, 1),
    ]
    instants = np.array(["2024-05-01T12:00:00.5", "2024-05-01T12:00:00"], dtype="datetime64[us]")
    pyarrow.parquet.write_table(pyarrow.table({"time": instants}), path)
    assert Trace.read(path).instants.tolist() == [0.0, 0.5]


def test_the_samples_of_a_run_are_replayed_in_their_own_time(tmp_path: Path) -> None:
    rows = requests(1, count=300, rate=100, start=2.0)
    run = write(tmp_path, [Chunk.of(**rows)])
    trace = Trace.read(run.path / "samples.parquet")
    assert np.allclose(trace.instants, rows["due"] - rows["due"][0], rtol=0, atol=2 * KEPT)


def test_parquet_columns_that_hold_no_instants(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"time": [b"x", b"y"]}), path)
    with pytest.raises(BenchError, match="time"):
        Trace.read(path)
    pyarrow.parquet.write_table(
        pyarrow.table({"time": pyarrow.array([1, 2], type=pyarrow.time64("us"))}), path
    )
    with pytest.raises(BenchError, match="such columns"):
        Trace.read(path)
    pyarrow.parquet.write_table(pyarrow.table({"time": [1.0, None]}), path)
    with pytest.raises(BenchError, match="time of row 2 is None"):
        Trace.read(path)
    pyarrow.parquet.write_table(pyarrow.table({"time": [1.0, 2.0], "version": [[1], [2]]}), path)
    with pytest.raises(BenchError, match=r"version of row 1 is \[1\]; expected an integer"):
        Trace.read(path)


def test_manifest_and_text_name_the_same_trace(trace: Trace) -> None:
    said = json.loads(json.dumps(trace.to_dict()))
    assert said["arrivals"] == 200
    assert from_dict(said) == trace
    assert parse(str(trace)) == trace
    fast = parse(f"trace:{trace.path}@2.5x")
    assert isinstance(fast, Trace)
    assert fast.duration == pytest.approx(trace.duration / 2.5)
    assert parse(str(fast)) == fast
    assert fast != trace


def test_a_file_that_changed_is_not_the_trace_of_the_manifest(trace: Trace) -> None:
    said = trace.to_dict()
    trace.path.write_text("time\n1\n2\n")
    with pytest.raises(BenchError, match="has changed since"):
        from_dict(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("time\n", "no rows"),
        ("when,batch\n1,2\n", "no column 'time'; it has when, batch"),
        ("time\n1\nsoon\n", "seconds or times"),
        ("time\n1\nnan\n", "time of row 2 is 'nan'"),
        ("time\nnat\nNaT\n", "time of row 1 is 'nat'"),
        ("time,batch\n1,2\n2\n", "row 3 has 1 fields, the header has 2"),
        ("time,batch\n1,0\n", "batch of row 1 is '0'; expected an integer >= 1"),
        ("time,batch\n1,1\n1,2.5\n", "batch of row 2 is '2.5'"),
        ("time,version\n1,latest\n", "version of row 1 is 'latest'"),
    ],
)
def test_files_that_are_no_traces(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BenchError) as caught:
        Trace.read(written(tmp_path, text))
    assert said in str(caught.value)
    assert "trace.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="No such file"):
        parse(f"trace:{tmp_path / 'missing.csv'}")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 no parquet")
    with pytest.raises(BenchError, match="not a Parquet file"):
        Trace.read(broken)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00time")
    with pytest.raises(BenchError, match="not a CSV file"):
        Trace.read(binary)
    with pytest.raises(BenchError, match="speed 0"):
        Trace.read(binary, speed=0)
    with pytest.raises(BenchError, match="is the form"):
        parse("trace:")
