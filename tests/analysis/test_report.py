"""Reports of run folders: every run is in them, with the numbers of its files."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading.cells import cells
from bench.analysis.showing.remarks import warnings_of_runs
from bench.analysis.showing.report import labels, plain, report
from bench.analysis.showing.table import as_csv, markdown, parts_table, table
from bench.runs.chunk import Chunk
from bench.runs.run import Run, find_runs
from tests.recorded import requests, write


def seconds_of_load(seed: int, length: int = 12, **changed: object) -> list[Chunk]:
    return [
        Chunk.of(
            **requests(100 * seed + i, count=400, rate=400, start=float(i), **changed), keep_samples=False
        )
        for i in range(length)
    ]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write(tmp_path, seconds_of_load(1, version=1, accuracy=0.6), note="one")
    write(tmp_path, seconds_of_load(2, version=2, batch=8, errors=0.002), note="two")
    write(tmp_path, seconds_of_load(3, length=1), note="cut", finish=False)
    write(tmp_path, [], note="empty")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    damaged = write(tmp_path, seconds_of_load(4, length=1), note="damaged")
    log = damaged.path / "histograms.hlog"
    log.write_text(log.read_text() + "rubbish\n")
    return tmp_path


def test_no_run_is_left_out_in_silence(results: Path) -> None:
    found = report(find_runs([results]))
    assert [run.note for run in found.runs] == ["one", "two", "cut", "empty"]
    assert sorted(each.path.name for each in found.unreadable if "damaged" not in each.path.name) == [
        "broken"
    ]
    assert any("histograms.hlog" in each.reason for each in found.unreadable)
    assert found.runs[2].warnings[0].check == "unfinished"
    assert found.runs[3].lines == []


def test_how_requests_reached_the_server_is_told_where_it_is_not_plain(tmp_path: Path) -> None:
    counts = {"sent": 400, "unsent": 0, "recorded": 400, "retries": 3, "addresses": {"10.0.0.1:1": 400}}
    plain_one = write(tmp_path / "plain", seconds_of_load(1, length=1), counts=counts | {"retries": 0})
    assert (
        table(report([plain_one])).notes
        == table(report([write(tmp_path / "x", seconds_of_load(1, length=1))])).notes
    )
    told = {
        "addresses": {"10.0.0.1:1": 300, "10.0.0.2:1": 100},
        "waited": {"stream": 40, "window": 2},
        "most_streams": 8,
    }
    run = write(tmp_path / "told", seconds_of_load(1, length=1), finish=False, counts=counts | told)
    assert table(report([run])).notes[-3:] == [
        "3 times the transport sent a request again that the server had given back; the latency includes it",
        "40 requests waited for a stream: the server allows 8 calls at once on a connection; the latency includes it",
        "requests by address: 10.0.0.1:1 300, 10.0.0.2:1 100",
    ]


def test_programs_get_every_number_unrounded(results: Path) -> None:
    run = Run.open(next(p for p in results.iterdir() if p.name.endswith("-two")))
    (cell,) = cells(run)
    told = json.loads(json.dumps(plain(report(find_runs([run.path])))))
    (line,) = told["runs"][0]["lines"]
    for name, metric in METRICS.items():
        value = metric.of(cell)
        assert line[name] == (value if math.isfinite(value) else None), name
    assert line["outcomes"] == cell.outcomes
    assert (line["version"], line["batch"]) == (2, 8)
    assert told["runs"][0]["finished"] is True


def test_the_table_names_what_all_rows_share_once(results: Path) -> None:
    drawn = table(report(find_runs([results])))
    assert dict(drawn.shared) == {
        "scenario": "mnist",
        "server": "embedded",
        "request": "Predict",
        "load": "16 users",
    }
    assert [column.title for column in drawn.columns] == [
        "run", "version", "batch", "req/s", "inf/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms", "errors", "accuracy", "warnings",
    ]  # fmt: skip
    by_title = {column.title: column for column in drawn.columns}
    assert by_title["run"].texts == ["one", "two", "cut", "empty"]
    assert by_title["warnings"].texts[:2] == ["none", "none"]
    assert by_title["warnings"].alarms == [False, False, True, True]
    assert by_title["errors"].alarms == [False, True, False, False]
    assert by_title["p99 ms"].texts[3] == "–"
    assert by_title["p99.9 ms"].texts[2] == "–"
    (unanswered,) = drawn.notes
    assert unanswered.startswith("two: not reached: 0.1")


def test_the_parts_of_latency_have_their_table(results: Path, tmp_path: Path) -> None:
    """Of a single run a row each; of several few enough columns for a page and for paper."""
    drawn = parts_table(report(find_runs([results])))
    assert [column.title for column in drawn.columns] == [
        "run", "mean ms", "std ms", "min ms",
        "service time p50 ms", "service time p99 ms", "send delay p50 ms", "send delay p99 ms",
    ]  # fmt: skip
    assert len({len(column.texts) for column in drawn.columns}) == 1
    write(tmp_path / "alone", seconds_of_load(1))
    of_one = {
        column.title: column.texts for column in parts_table(report(find_runs([tmp_path / "alone"]))).columns
    }
    assert of_one.pop("part") == [
        "latency, of answered requests",
        "service time, of sent requests",
        "send delay, of sent requests",
    ]
    assert list(of_one) == ["p50", "p90", "p95", "p99", "p99.9", "mean", "std", "min", "max"]
    assert of_one["mean"][1:] == ["", ""]
    assert all(texts[0] for texts in of_one.values())


def test_runs_have_short_names_that_tell_them_apart(tmp_path: Path) -> None:
    for note in ("a", "b", "b", None):
        write(tmp_path, [], note=note)
    found = report(find_runs([tmp_path])).runs
    names = labels(found)
    assert len(set(names)) == 4
    assert "a" in names
    assert all(run.name.startswith("20") for run in found)


def test_markdown_is_a_table_and_escapes_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path, seconds_of_load(1, names=("a|b <c>",)), note="x_y")
    write(tmp_path, seconds_of_load(2, length=2))
    text = markdown(report(find_runs([tmp_path])))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    unescaped = [row.replace("\\|", "").count("|") for row in rows]
    assert len(set(unescaped)) == 1
    assert "a\\|b \\<c\\>" in text
    assert "x\\_y" in text
    assert "steady part lasts" in text


def test_csv_has_a_row_for_each_line(results: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(report(find_runs([results]))))))
    assert [row["note"] for row in rows] == ["one", "two", "cut", "empty"]
    assert float(rows[0]["accuracy"]) == pytest.approx(0.6, abs=0.02)
    assert rows[0]["cpu_per_request"] == ""
    assert set(METRICS) <= set(rows[0])


def test_a_run_of_two_versions_has_two_lines(tmp_path: Path) -> None:
    write(tmp_path, [*seconds_of_load(1, version=1), *seconds_of_load(2, version=2)])
    (run,) = report(find_runs([tmp_path])).runs
    assert [line.version for line in run.lines] == [1, 2]
    assert "version" in [column.title for column in parts_table(report(find_runs([tmp_path]))).columns]


def test_requests_without_an_answer_have_a_line_where_several_versions_answered(tmp_path: Path) -> None:
    """Nobody knows which version would have answered: they belong to no version's line."""
    parts = [seconds_of_load(seed, version=version, errors=0.05) for seed, version in ((1, 1), (2, 2))]
    write(tmp_path, [*parts[0], *parts[1]])
    found = report(find_runs([tmp_path]))
    (run,) = found.runs
    assert [(line.version, line.answered > 0) for line in run.lines] == [(1, True), (2, True), (None, False)]
    (version,) = [column for column in table(found).columns if column.title == "version"]
    assert version.texts == ["1", "2", "no answer"]
    assert "| no answer |" in markdown(found)
    alone = tmp_path / "alone"
    write(alone, parts[0])
    (line,) = report(find_runs([alone])).runs[0].lines
    assert (line.version, line.requests > line.answered) == (1, True), "those of the only version are its own"


def test_a_warning_that_many_runs_share_is_shown_once(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path, seconds_of_load(number, length=2), note=f"n{number}")
    write(tmp_path, seconds_of_load(9, errors=0.5), note="bad")
    told = warnings_of_runs(report(find_runs([tmp_path])))
    assert [(name, warning.check) for name, warning in told] == [
        ("n0 and 3 more runs", "short"),
        ("bad", "errors"),
    ]


def test_csv_says_inf_where_a_percentile_was_not_reached(tmp_path: Path) -> None:
    """An empty cell would be passed over by a mean; one for want of samples stays empty."""
    part = requests(1, count=2000)
    part["status"] = np.where(np.arange(2000) % 20 == 0, 14, 0)
    (row,) = csv.DictReader(io.StringIO(as_csv(report([write(tmp_path, [Chunk.of(**part)])]))))
    assert (float(row["p99"]), row["p999"]) == (math.inf, "")
    assert 0 < float(row["p90"]) < float(row["answered_p99"]) < math.inf
