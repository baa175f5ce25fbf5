"""The interval log: read by another implementation, and tolerant of a cut end only."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from bench import BenchError
from bench.runs import hlog
from bench.runs.chunk import Key
from bench.runs.histogram import Histogram

STARTED = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
FAST, SLOW = Key("Predict", 2, 1, "OK"), Key("two words", None, 32, "UNAVAILABLE")


def histogram(seed: int, median: float) -> Histogram:
    return Histogram.of(np.random.default_rng(seed).lognormal(np.log(median), 0.3, 500))


PARTS = [
    (FAST, "latency", 0, histogram(1, 0.002)),
    (SLOW, "latency", 0, histogram(2, 0.2)),
    (FAST, "latency", 1, histogram(3, 0.002)),
    (FAST, "service", 1, histogram(4, 0.001)),
    (FAST, "latency", 0, histogram(5, 0.02)),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "histograms.hlog"
    file.write_text(
        hlog.header(STARTED) + "".join(hlog.line(k, kind, s, h.sparse()) for k, kind, s, h in PARTS)
    )
    return file


def test_read_back(path: Path) -> None:
    log = hlog.IntervalLog.read(path)
    assert [interval[:3] for interval in log.intervals] == [part[:3] for part in PARTS]
    for (_, sparse), (*_, expected) in zip(log.decoded(), PARTS, strict=True):
        assert Histogram.sum([sparse]) == expected
    assert log.total() == Histogram.sum(part[-1] for part in PARTS)
    fast = log.select(lambda interval: interval.key == FAST and interval.kind == "latency")
    assert log.medians() == {
        second: Histogram.sum(h for *_, at, h in PARTS if at == second).percentile(50) for second in (0, 1)
    }
    assert dict(fast.by_second()) == {0: Histogram.sum([PARTS[0][-1], PARTS[4][-1]]), 1: PARTS[2][-1]}


def test_another_implementation_reads_it(path: Path) -> None:
    reader = HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000_000, 3))
    for key, kind, second, expected in PARTS:
        other = reader.get_next_interval_histogram()
        assert other.get_tag() == key.tag(kind)
        assert other.get_start_time_stamp() == pytest.approx((STARTED.timestamp() + second) * 1e3)
        assert other.get_end_time_stamp() - other.get_start_time_stamp() == pytest.approx(1000)
        assert np.array_equal(np.array(other.counts[:]), expected.counts)
    assert reader.get_next_interval_histogram() is None
    reader.close()


def test_a_log_of_another_implementation_is_read(tmp_path: Path) -> None:
    other = HdrHistogram(1, 3_600_000_000_000, 3)
    for value in (5_000_000, 7_000_000, 7_000_000):
        other.record_value(value)
    line = f"Tag={FAST.tag('latency')},3.127,1.007,7.000,{other.encode().decode()}\n"
    (tmp_path / "x.hlog").write_text("#[Histogram log format version 1.3]\n" + line)
    log = hlog.IntervalLog.read(tmp_path / "x.hlog")
    assert (log.intervals[0].key, log.intervals[0].second) == (FAST, 3)
    assert log.total() == Histogram.of([0.005, 0.007, 0.007])


def test_any_cut_leaves_the_whole_lines(path: Path) -> None:
    raw = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(raw) if byte == 0x0A]
    for cut in range(0, len(raw), 37):
        path.write_bytes(raw[:cut])
        whole = max(0, sum(end <= cut for end in ends) - 4)
        assert len(list(hlog.IntervalLog.read(path).decoded())) == whole


def test_damage_inside_is_named_with_its_line(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:5], "rubbish\n", *lines[5:]]))
    with pytest.raises(BenchError, match=r"histograms\.hlog:6: no interval"):
        hlog.IntervalLog.read(path)
    path.write_text("".join([*lines[:5], lines[5][:80] + "A" + lines[5][90:], *lines[6:]]))
    with pytest.raises(BenchError, match=r"histograms\.hlog: "):
        hlog.IntervalLog.read(path).total()


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    log = hlog.IntervalLog.read(tmp_path / "none.hlog")
    assert log.intervals == []
    assert log.total().count == 0


def test_sums_and_briefs_are_those_of_whole_histograms(path: Path) -> None:
    """Of one, of several and of no interval; a log that was selected from another shares what that has derived."""
    whole = hlog.IntervalLog.read(path)
    for keep in ({"latency", "service"}, {"latency"}, {"service"}, {"lag"}):
        log = whole.select(lambda interval, keep=keep: interval.kind in keep)  # type: ignore[misc]
        parts = [part for part in PARTS if part[1] in keep]
        assert Histogram.sum([log.sparse()]) == log.total() == Histogram.sum(h for *_, h in parts)
        for _ in range(2):
            briefs = log.by_second_briefly()
            for second in {second for _, _, second, _ in parts}:
                total = Histogram.sum(h for _, _, s, h in parts if s == second)
                assert briefs[second].median == total.percentile(50)
                assert briefs[second].quick == total.percentile(10)
            assert len(briefs) == len({second for _, _, second, _ in parts})
