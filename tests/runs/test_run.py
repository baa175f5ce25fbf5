"""Run folders: what is written is read again, whatever ended the writer."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import BenchError
from bench.runs.chunk import Chunk
from bench.runs.conclusion import conclude
from bench.runs.histogram import Histogram, nearest_rank
from bench.runs.run import Run, RunWriter, Unreadable, find_runs
from bench.runs.sample import CANCELLED_BY_CLIENT, CANCELLED_STATUS, MOST_VERSIONS
from tests.recorded import KEPT, requests, write

PARTS = [
    requests(i, count=500, start=0.5 * i, lag=5e-5, errors=0.02, unsent=0.01, version=1 + i // 5)
    for i in range(10)
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write(tmp_path_factory.mktemp("results"), [Chunk.of(**part) for part in PARTS], note="a")


def joined(column: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """A column of all requests by due instant, those of one microsecond as they were sent."""
    due, sent, values = (np.concatenate([p[name] for p in PARTS]) for name in ("due", "sent", column))
    due_us, lag_us = (np.rint(np.rint(seconds * 1e9) / 1e3) for seconds in (due, sent - due))
    order = np.lexsort((np.nan_to_num(lag_us, nan=-np.inf), due_us))
    return values[order].astype(np.float64)


def test_every_request_is_kept_as_it_happened(run: Run) -> None:
    table = run.samples
    assert len(table) == 5000
    due, sent, done = (joined(column) for column in ("due", "sent", "done"))
    np.testing.assert_allclose(table["due"], due, atol=KEPT, rtol=0)
    np.testing.assert_allclose(table["sent"] - table["due"], sent - due, atol=KEPT, rtol=0)
    np.testing.assert_allclose(table["done"] - table["sent"], done - sent, atol=KEPT, rtol=0)
    never = np.isnan(joined("sent"))
    status = np.where(never, -1, joined("status"))
    assert np.array_equal(table["status"].fillna(-1).to_numpy(), status)
    assert np.array_equal(table["version"].fillna(-1).to_numpy(), joined("version"))
    assert np.array_equal(table["correct"].fillna(-1).to_numpy(), joined("correct"))
    assert set(table["worker"]) == {0, 1}
    assert set(table["name"]) == {"Predict"}
    assert not (run.path / "samples").exists()


def durations(kind: str, keep: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Histogram:
    begin, end = {"latency": ("due", "done"), "service": ("sent", "done"), "lag": ("due", "sent")}[kind]
    histogram = Histogram()
    first, last = (np.rint(joined(column)[keep] * 1e9).astype(np.int64) for column in (begin, end))
    histogram.record_ns(last - first)
    return histogram


def answered() -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return (joined("status") == 0) & ~np.isnan(joined("sent"))


def test_histograms_are_exact_although_samples_are_rounded(run: Run) -> None:
    for kind in ("latency", "service", "lag"):
        assert run.histogram(kind) == durations(kind, answered())
        assert run.histogram(kind, lambda key: key.outcome == "OK" and key.version == 1) == durations(
            kind, answered() & (joined("version") == 1)
        )


def test_histograms_are_those_of_the_samples_to_a_microsecond(run: Run) -> None:
    table = run.samples
    table = table[table["status"] == 0]
    for kind, values, most in (
        ("latency", table["done"] - table["due"], 2 * KEPT),
        ("service", table["done"] - table["sent"], KEPT),
        ("lag", table["sent"] - table["due"], KEPT),
    ):
        ordered = np.sort(values)
        for q in (1, 50, 90, 99, 99.9):
            assert run.histogram(kind).percentile(q) == pytest.approx(
                ordered[nearest_rank(q, len(ordered)) - 1], rel=0.001, abs=most
            )


def test_counts_are_those_of_the_samples(run: Run) -> None:
    table = run.samples
    counts = run.counts
    assert counts["requests"].sum() == len(table)
    assert counts.loc[counts["outcome"] == "UNSENT", "requests"].sum() == table["sent"].isna().sum()
    assert counts["correct"].sum() == table["correct"].sum()
    assert counts["checked"].sum() == table["correct"].notna().sum()
    by_second = counts.groupby("second")["requests"].sum()
    expected = table.groupby(table["due"].astype(int)).size()
    assert by_second.to_dict() == expected.to_dict()


def test_cancelled_calls_keep_an_outcome_and_their_time_in_every_file(tmp_path: Path) -> None:
    part = requests(7, count=500, errors=0.1, unsent=0.1, cancelled=0.2)
    run = write(tmp_path, [Chunk.from_bytes(Chunk.of(**part).to_bytes())])
    cancelled = (part["status"] == CANCELLED_STATUS) & ~np.isnan(part["sent"])
    table = run.samples
    assert (table["status"] == -2).sum() == cancelled.sum() > 50
    rows = table[(table["status"] == -2).fillna(False)]
    waited = part["done"][cancelled] - part["due"][cancelled]
    np.testing.assert_allclose(rows["done"] - rows["due"], waited, atol=2 * KEPT, rtol=0)
    counts = run.counts
    assert counts.loc[counts["outcome"] == CANCELLED_BY_CLIENT, "requests"].sum() == cancelled.sum()
    kept = run.histogram("latency", lambda key: key.outcome == CANCELLED_BY_CLIENT)
    assert kept.count == cancelled.sum()
    assert kept.percentile(100) == pytest.approx(waited.max(), rel=0.001)


def test_the_first_texts_of_failures_are_kept_with_counts_also_by_a_killed_run(tmp_path: Path) -> None:
    def chunk(**failures: int) -> Chunk:
        made = Chunk.of(**requests(7, count=10))
        made.failures = {("Predict", "INVALID_ARGUMENT", text): times for text, times in failures.items()}
        return Chunk.from_bytes(made.to_bytes())

    many = {f"text{number}": 1 for number in range(30)}
    for finish in (True, False):
        run = write(tmp_path, [chunk(one=2), chunk(one=3, two=9), chunk(**many)], finish=finish)
        counted = {row["text"]: row["count"] for row in run.errors}
        assert {row["outcome"] for row in run.errors} == {"INVALID_ARGUMENT"}
        assert counted["text0"] == 1
        assert len(counted) == 21
        if finish:
            assert counted["one"] == 5
            assert counted["two"] == 9
            assert counted["(other texts)"] == 12
            assert run.errors[0]["text"] == "(other texts)", "the most frequent first"
    assert write(tmp_path, [Chunk.of(**requests(7, count=10))]).errors == []


def test_a_window_holds_its_seconds_only(run: Run) -> None:
    inside = (joined("due") >= 2) & (joined("due") < 4) & answered()
    part = run.within(2, 4)
    assert part.histogram("service") == durations("service", inside)
    assert part.seconds == (2, 4)
    assert [second for second, _ in part.series("latency")] == [2, 3]
    assert run.seconds[0] == 0
    assert part.within(0, 1).seconds == (0, 1)


def test_the_manifest_says_what_it_was(run: Run) -> None:
    assert run.finished
    assert run.manifest.raw["schema"] == 3
    assert run.manifest.raw["counts"]["recorded"] == 5000
    assert run.manifest.raw["span"]["last_due"] == pytest.approx(joined("due").max())
    assert run.name.endswith("Z-mnist-a")


def test_without_samples_all_numbers_of_the_report_are_there(tmp_path: Path, run: Run) -> None:
    bare = write(tmp_path, [Chunk.of(**part, keep_samples=False) for part in PARTS])
    assert bare.histogram("latency") == run.histogram("latency")
    assert bare.tallies == run.tallies
    assert len(bare.samples) == 0
    assert list(bare.samples.columns) == list(run.samples.columns)
    assert not (bare.path / "samples.parquet").exists()


def test_late_answers_add_to_the_second_in_which_they_were_due(tmp_path: Path) -> None:
    order = [0, 4, 1, 9, 2, 3, 5, 6, 8, 7]
    run = write(tmp_path, [Chunk.of(**PARTS[i]) for i in order])
    whole = write(tmp_path, [Chunk.of(**part) for part in PARTS])
    assert run.tallies == whole.tallies
    assert list(run.series("lag")) == list(whole.series("lag"))
    pd.testing.assert_frame_equal(run.samples.drop(columns="worker"), whole.samples.drop(columns="worker"))


def test_two_runs_of_one_second_do_not_share_a_folder(tmp_path: Path) -> None:
    paths = {RunWriter.create(tmp_path, "mnist", None, {}).path for _ in range(5)}
    assert len(paths) == 5


def test_events_and_telemetry(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "mnist", None, {})
    writer.event(1.5, "version", "3 is served")
    writer.telemetry(2.0, server_cpu=0.7, worker="0")
    run = Run.open(writer.path)
    assert run.events == [{"time": 1.5, "kind": "version", "text": "3 is served"}]
    assert run.telemetry == [{"time": 2.0, "server_cpu": 0.7, "worker": "0"}]


@pytest.mark.parametrize("obstacle", [None, "packing", "reader"])
def test_who_reads_a_run_that_has_ended_packs_and_seals_it(tmp_path: Path, obstacle: str | None) -> None:
    writer = RunWriter.create(tmp_path, "mnist", None, {})
    writer.append(0, Chunk.of(**requests(1, count=100)))
    writer.finish()
    assert not (writer.path / "SHA256SUMS").exists()
    assert Run.open(writer.path).finished
    if obstacle == "packing":
        (writer.path / "samples.parquet").mkdir()  # in the way
    unpacked = conclude(writer.path) if obstacle != "reader" else None  # where it was killed
    assert (unpacked is None) == (obstacle != "packing")
    assert "stay unpacked" in (unpacked or "stay unpacked")
    writer.concluded()
    writer.update(note="later")
    run = Run.open(writer.path)
    assert run.altered == []
    assert len(run.samples) == 100
    assert (writer.path / "samples.parquet").is_file() == (obstacle is None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "no schema"),
        ("{}", "no schema"),
        ('{"schema": 99}', "schema 99, 3 is known; use a newer"),
        (None, r"no manifest\.json"),
    ],
)
def test_unreadable_manifests_are_named_with_a_remedy(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    folder = tmp_path / "20260301T120000Z-mnist"
    folder.mkdir()
    (folder / "counts.jsonl").touch()
    if content is not None:
        (folder / "manifest.json").write_text(content)
    with pytest.raises(BenchError, match=reason):
        Run.open(folder)
    (found,) = find_runs([tmp_path])
    assert isinstance(found, Unreadable)
    assert str(folder) in found.reason
    assert "\n" not in found.reason


def test_runs_are_found_in_folders_and_by_name(tmp_path: Path, run: Run) -> None:
    (tmp_path / "notes.txt").touch()
    baseline = tmp_path / "baseline"
    for apart, reason in (
        (None, f"{tmp_path}: no run in it; record one with: bench scenario mnist"),
        (None, f"{baseline}: an empty folder: its contents are lost; restore or remove it"),
        (baseline, f"{tmp_path}: no run in it; record one with: bench scenario mnist"),
    ):
        (nothing,) = find_runs([tmp_path], apart)
        assert isinstance(nothing, Unreadable)
        assert nothing.reason == reason
        baseline.mkdir(exist_ok=True)
    assert [found.path for found in find_runs([run.path, run.path.parent])] == [run.path], "each once"
    (missing,) = find_runs([tmp_path / "nowhere"])
    assert isinstance(missing, Unreadable)
    assert missing.reason.endswith("does not exist")
    (file,) = find_runs([tmp_path / "notes.txt"])
    assert isinstance(file, Unreadable)
    assert file.reason == f"{file.path}: a file; give the folder of a run, or a folder of runs"


def test_missing_counts_are_named_with_a_remedy(tmp_path: Path) -> None:
    found = write(tmp_path, [Chunk.of(**PARTS[0])])
    (found.path / "counts.jsonl").unlink()
    with pytest.raises(BenchError, match=r"counts\.jsonl: missing, .*restore the file, or delete the run"):
        _ = Run.open(found.path).tallies


def test_a_results_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match=r"file: .*name another folder"):
        RunWriter.create(tmp_path / "file", "mnist", None, {})
    with pytest.raises(BenchError, match=r"below: .*name another folder"):
        RunWriter.check_root(tmp_path / "file" / "below")


def test_a_full_disk_is_one_line() -> None:
    writer = RunWriter(Path("/dev/full").parent, {})
    writer._files["counts.jsonl"] = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(BenchError, match=r"counts\.jsonl: No space left"):
        writer._append("counts.jsonl", b"x")


def test_damaged_counts_are_named(tmp_path: Path) -> None:
    run = write(tmp_path, [Chunk.of(**requests(1, count=10))])
    path = run.path / "counts.jsonl"
    path.write_text('{"second":0}\n' + path.read_text())
    with pytest.raises(BenchError, match=r"counts\.jsonl:1: name: missing"):
        _ = Run.open(run.path).tallies
    path.write_text("no\n" + path.read_text())
    with pytest.raises(BenchError, match=r"counts\.jsonl:1: not valid JSON"):
        _ = Run.open(run.path).tallies


def test_the_duration_is_that_of_the_load(tmp_path: Path) -> None:
    part = requests(1, count=3001, rate=1000) | {"due": 0.25 + np.arange(3001) / 1000}
    part |= {"sent": part["due"], "done": part["due"] + 0.002}
    run = write(tmp_path, [Chunk.of(**part)])
    assert run.duration == pytest.approx(3.002, abs=1e-6)
    assert run.within(1, 3).duration == pytest.approx(2.0)
    assert run.within(3, 4).duration == pytest.approx(0.252, abs=1e-6)
    # the load lasted on while the server did not answer any more
    hanging = write(tmp_path, [Chunk.of(**part)], stopped=10.0)
    assert hanging.seconds == (0, 10)
    assert hanging.duration == pytest.approx(9.75)
    assert hanging.rate_and_latency()[0] == [750, 1000, 1000, 251] + 6 * [0]
    assert Run.open(write(tmp_path, []).path).duration == 0.0


def test_seconds_without_an_answer_have_rate_zero(tmp_path: Path) -> None:
    parts = [Chunk.of(**requests(i, count=100, rate=200, start=float(i))) for i in (0, 1, 2, 5, 6)]
    rates, latencies = write(tmp_path, parts, stopped=7.0).rate_and_latency()
    assert rates == [100, 100, 100, 0, 0, 100, 100]
    assert latencies[3] == latencies[4] == latencies[2]


def test_versions_that_each_load_process_has_seen_alone_are_told_apart_up_to_a_number(tmp_path: Path) -> None:
    """A server names a new one in each answer: a dozen load processes have met ten times as many as one."""
    writer = RunWriter.create(tmp_path, "mnist", None, {"target": {}})
    for worker in range(12):
        part = requests(worker, count=100, rate=1000)
        part["version"] = np.arange(100) + 100 * worker
        writer.append(worker, Chunk.of(**part))
    writer.finish()
    run = Run.open(writer.path)
    versions = {key.version for key, _ in run.tallies}
    assert len(versions) == MOST_VERSIONS + 1
    assert sum(tally.requests for tally in run.tallies.values()) == 1200
    assert run.histogram("latency", lambda _: True).count == 1200
    assert run.samples["version"].nunique() == 1200
