"""Chunks: requests counted as a plain loop would, and the same after the journey to the master."""

import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest

from bench.runs.chunk import KINDS, Chunk, Key, Span, Tally
from bench.runs.columns import NEVER, Columns
from bench.runs.histogram import Histogram
from bench.runs.sample import outcome
from tests.recorded import requests

MIXED = requests(
    7,
    count=5000,
    lag=1e-4,
    errors=0.05,
    unsent=0.02,
    batch=8,
    mismatched=0.01,
    names=("Predict", "Predict, twice | 50 %"),
)
MIXED["version"] = np.where(MIXED["version"] < 0, -1, np.random.default_rng(8).integers(1, 4, 5000))


def plain_loop(
    rows: dict[str, object],
) -> tuple[dict[tuple[Key, int], Tally], dict[tuple[Key, int, str], list[int]]]:
    tallies: dict[tuple[Key, int], Tally] = defaultdict(lambda: Tally(0, 0, 0, 0, 0))
    durations: dict[tuple[Key, int, str], list[int]] = defaultdict(list)
    columns = [
        rows[c]
        for c in ("name_codes", "batch", "due", "sent", "done", "status", "version", "correct", "mismatched")
    ]
    for name, batch, due, sent, done, status, version, correct, wrong in zip(*columns, strict=True):  # type: ignore[call-overload]
        never = np.isnan(sent)
        key = Key(
            rows["names"][name],  # type: ignore[index]
            None if version < 0 else int(version),
            int(batch),
            outcome(None if never else int(status)),
        )
        second = int(due)
        checked = batch if correct >= 0 else 0
        more = Tally(1, int(batch), int(checked), max(int(correct), 0), int(wrong))
        tallies[key, second] = tallies[key, second].plus(more)
        if not never:
            instants = [round(float(t) * 1e9) for t in (due, sent, done)]
            durations[key, second, "latency"].append(instants[2] - instants[0])
            durations[key, second, "service"].append(instants[2] - instants[1])
            durations[key, second, "lag"].append(instants[1] - instants[0])
            if wrong:
                durations[key, second, "mismatched"].append(instants[2] - instants[0])
    return dict(tallies), durations


def test_counts_and_histograms_are_those_of_a_plain_loop() -> None:
    chunk = Chunk.of(**MIXED)
    tallies, durations = plain_loop(MIXED)
    assert chunk.tallies == tallies
    assert len({key.outcome for key, _ in tallies}) == 3
    found = {
        (key, second, kind): Histogram.sum([sparse])
        for (key, second), of_kinds in chunk.histograms.items()
        for kind, sparse in zip(KINDS, of_kinds, strict=True)
        if len(sparse.indices)
    }
    assert set(found) == set(durations)
    for cell, values in durations.items():
        expected = Histogram()
        expected.record_ns(np.array(values))
        assert found[cell] == expected


def test_the_journey_changes_nothing() -> None:
    for keep in (True, False):
        chunk = Chunk.of(**MIXED, keep_samples=keep)
        raw = chunk.to_bytes()
        arrived = Chunk.from_bytes(raw)
        assert arrived.names == chunk.names
        assert arrived.tallies == chunk.tallies
        assert arrived.span == chunk.span
        assert len(arrived) == len(chunk) == 5000
        assert arrived.to_bytes() == raw
        assert (arrived.columns is None) == (not keep)
    kept, counted = (len(Chunk.of(**MIXED, keep_samples=keep).to_bytes()) for keep in (True, False))
    assert 3 < (kept - counted) / 5000 < 6


def test_requests_come_back_in_order_and_to_half_a_microsecond() -> None:
    shuffled = np.random.default_rng(3).permutation(5000)
    rows = {key: value if key == "names" else value[shuffled] for key, value in MIXED.items()}
    chunk = Chunk.of(**rows)
    before = chunk.columns
    assert isinstance(before, Columns)
    before = before.where(np.argsort(before.due, kind="stable"))
    after = Chunk.from_bytes(chunk.to_bytes()).columns
    assert isinstance(after, Columns)
    sent = ~np.isnan(MIXED["sent"][np.argsort(MIXED["due"], kind="stable")])
    assert (after.service == NEVER).tolist() == (~sent).tolist()
    assert np.array_equal(after.lag == NEVER, after.service == NEVER)
    assert np.abs(after.due - before.due).max() <= 500
    assert np.abs(after.lag - before.lag)[sent].max() <= 500
    assert np.abs(after.service - before.service)[sent].max() <= 500
    for name in ("name", "batch", "status", "version", "correct", "mismatched"):
        assert np.array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype


def test_unsent_and_early_requests_come_back() -> None:
    rows = requests(1, count=4)
    rows |= {"due": [-0.0000015, 0.2, 0.1, 0.1], "sent": [-0.0000015, np.nan, 0.09, 0.1]}
    rows |= {"done": [3000.0, np.nan, 0.2, 0.3]}
    columns = Chunk.from_bytes(Chunk.of(**rows).to_bytes()).columns
    assert isinstance(columns, Columns)
    assert columns.due.tolist() == [-1000, 100_000_000, 100_000_000, 200_000_000]
    assert columns.lag.tolist() == [0, -10_000_000, 0, NEVER]
    assert columns.service.tolist() == [3_000_000_002_000, 110_000_000, 200_000_000, NEVER]


def test_chunks_of_two_halves_add_up_to_the_whole() -> None:
    def half(of: slice) -> Chunk:
        return Chunk.of(**{k: v if k == "names" else v[of] for k, v in MIXED.items()})

    first, second, whole = half(slice(0, 2000)), half(slice(2000, None)), Chunk.of(**MIXED)
    for cell, tally in whole.tallies.items():
        parts = [chunk.tallies[cell] for chunk in (first, second) if cell in chunk.tallies]
        assert tally == (parts[0] if len(parts) == 1 else parts[0].plus(parts[1]))
    for cell, of_kinds in whole.histograms.items():
        for kind, sparse in enumerate(of_kinds):
            sides = [chunk.histograms[cell][kind] for chunk in (first, second) if cell in chunk.histograms]
            assert Histogram.sum(sides) == Histogram.sum([sparse])
    assert first.span is not None
    assert first.span.with_(second.span) == whole.span


@pytest.mark.parametrize("name", ["Predict", "a|b,c d\n%2C|", "größe", "/tensorflow.serving/Predict", ""])
def test_a_tag_holds_any_name_and_none_of_what_it_may_not(name: str) -> None:
    for version in (None, 0, 17, 2**62):
        key = Key(name, version, 32, "OK")
        tag = key.tag("service")
        assert not set(tag) & set(', \n"#')
        assert Key.of_tag(tag) == (key, "service")
    with pytest.raises(ValueError, match="kind"):
        Key.of_tag("Predict|1|1|OK|speed")


def test_nothing_but_whole_chunks_is_read() -> None:
    raw = Chunk.of(**requests(1, count=50)).to_bytes()
    for damaged in (b"", raw[:-1], raw + b"x", b"PK" + raw[2:], raw[:6], b"BCK2" + raw[4:]):
        with pytest.raises(ValueError, match="chunk"):
            Chunk.from_bytes(damaged)


def test_no_requests_and_only_unsent_ones() -> None:
    nothing = Chunk.from_bytes(Chunk.of(**requests(1, count=0)).to_bytes())
    assert (len(nothing), nothing.tallies, nothing.span) == (0, {}, None)
    unsent = Chunk.of(**requests(1, count=10, unsent=1.0))
    assert unsent.histograms == {}
    assert {key.outcome for key, _ in unsent.tallies} == {"UNSENT"}
    assert unsent.span is not None
    assert unsent.span.last_done is None


def test_what_was_due_before_the_start_belongs_to_the_first_second() -> None:
    early = requests(1, count=1)
    early |= {"due": [-0.0001], "sent": [-0.0001], "done": [0.001]}
    assert {second for _, second in Chunk.of(**early).tallies} == {0}


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        Chunk.of(**requests(1, count=5) | {"version": np.array([1, 2])})


def test_a_load_process_needs_numpy_only() -> None:
    heavy = "{'pandas', 'pyarrow', 'scipy', 'matplotlib'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, bench.runs.run; print({heavy})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


def test_spans() -> None:
    assert Span(1.0, 2.0, None).with_(Span(0.5, 1.0, 3.0)) == Span(0.5, 2.0, 3.0)
    assert Span(1.0, 2.0, 4.0).with_(None) == Span(1.0, 2.0, 4.0)
