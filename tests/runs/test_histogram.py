"""Histograms: error bound, percentiles, merging, and the same file format as other implementations."""

import base64
import math
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runs.histogram import (
    BUCKETS,
    HIGHEST_NS,
    LOWEST_NS,
    Histogram,
    Sparse,
    bucket,
    decode,
    encode,
    highest_ns,
    middle_ns,
    nearest_rank,
)

durations = st.lists(st.integers(0, HIGHEST_NS), min_size=1, max_size=200)


def of_ns(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record_ns(np.array(values, dtype=np.int64))
    return histogram


def theirs(values: list[int]) -> HdrHistogram:
    other = HdrHistogram(LOWEST_NS, HIGHEST_NS, 3)
    for value in values:
        assert other.record_value(value)
    return other


@given(st.integers(1, HIGHEST_NS))
def test_a_bucket_is_at_most_a_thousandth_wide(ns: int) -> None:
    at = bucket(np.array([ns]))
    low = int(highest_ns(at - 1)[0]) + 1
    high = int(highest_ns(at)[0])
    assert low <= ns <= high
    assert (high - low) / ns <= 0.001
    assert abs(middle_ns(at)[0] - ns) <= 0.0005 * ns


def test_buckets_follow_each_other_without_gap_or_overlap() -> None:
    ends = highest_ns(np.arange(BUCKETS))
    assert (bucket(ends[:-1]) == np.arange(BUCKETS - 1))[ends[:-1] <= HIGHEST_NS].all()
    starts = ends[:-1] + 1
    inside = starts <= HIGHEST_NS
    assert (bucket(starts[inside]) == np.arange(1, BUCKETS)[inside]).all()


@given(durations)
def test_counts_are_those_of_another_implementation(values: list[int]) -> None:
    other = theirs(values)
    assert other.counts_len == BUCKETS
    assert np.array_equal(np.array(other.counts[:]), of_ns(values).counts)


@given(durations, st.sampled_from([1.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentile_is_the_nearest_rank_of_the_values(values: list[int], q: float) -> None:
    exact = sorted(values)[nearest_rank(q, len(values)) - 1]
    assert of_ns(values).percentile(q) * 1e9 == pytest.approx(exact, rel=0.001, abs=0.5)
    assert of_ns(values).percentile(q) * 1e9 >= exact * (1 - 1e-12)


@given(durations)
def test_the_median_of_another_implementation_is_ours(values: list[int]) -> None:
    # they round the rank half up where nearest rank rounds up: equal for an odd count
    values = values if len(values) % 2 else values[1:] or [7]
    assert of_ns(values).percentile(50) * 1e9 == pytest.approx(
        theirs(values).get_value_at_percentile(50), abs=0.5
    )


@pytest.mark.parametrize(
    ("q", "count", "rank"),
    [
        (99.9, 1000, 999),
        (99, 100, 99),
        (50, 1, 1),
        (50, 2, 1),
        (0, 5, 1),
        (100, 5, 5),
        (99.99, 10**7, 9_999_000),
    ],
)
def test_nearest_rank_does_not_suffer_from_binary_fractions(q: float, count: int, rank: int) -> None:
    assert nearest_rank(q, count) == rank
    assert Fraction(rank, count) >= Fraction(repr(float(q))) / 100


@settings(max_examples=50)
@given(st.data(), st.lists(st.integers(0, HIGHEST_NS), max_size=2000))
def test_any_partition_merges_to_the_same_counts_in_any_order(data: st.DataObject, values: list[int]) -> None:
    workers = data.draw(st.integers(1, 16))
    owner = data.draw(st.lists(st.integers(0, workers - 1), min_size=len(values), max_size=len(values)))
    parts = [of_ns([v for v, o in zip(values, owner, strict=True) if o == w]) for w in range(workers)]
    order = data.draw(st.permutations(range(workers)))
    whole = of_ns(values)
    assert Histogram.sum(parts[w] for w in order) == whole
    assert Histogram.sum(parts[w].sparse() for w in order) == whole
    # associative: any grouping
    half = workers // 2
    assert Histogram.sum([Histogram.sum(parts[:half]), Histogram.sum(parts[half:])]) == whole
    assert Histogram.sum(parts).encode() == whole.encode()


@given(durations)
def test_what_is_encoded_here_is_decoded_there(values: list[int]) -> None:
    ours = of_ns(values)
    other = HdrHistogram.decode(ours.encode())
    assert np.array_equal(np.array(other.counts[:]), ours.counts)
    assert other.get_total_count() == len(values)


@given(durations)
def test_what_is_encoded_there_is_decoded_here(values: list[int]) -> None:
    assert Histogram.decode(theirs(values).encode()) == of_ns(values)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        # what the implementations in Java and C write for these values (range 1 to 2,048, 3 digits)
        ("HISTFAAAACB4nJNpmSzMwMDAzAABMJoRQnEw2H+AsP7LMwEARZgDpQ==", [2048]),
        # what the one in Vala writes (range 1 to 300, 3 digits)
        ("HISTFAAAACV4nJNpmSzMwMDAwQABzFCaEUrp2H+AsI4zMh1lZEpkAgBdIQSk", [100, 200, 250]),
    ],
)
def test_what_other_languages_wrote_is_decoded(text: str, values: list[int]) -> None:
    assert Histogram.decode(text) == of_ns(values)


def test_large_counts_survive_and_too_large_ones_are_refused() -> None:
    big = Sparse(np.array([3, 5, 6, 700]), np.array([1, 2**20, 2**54, 2**33]))
    assert Histogram.sum(decode([encode(big)])) == Histogram.sum([big])
    with pytest.raises(OverflowError, match="2\\*\\*55"):
        encode(Sparse(np.array([3]), np.array([2**55])))


@pytest.mark.parametrize("text", ["", "HISTFAAAAB54", "!", base64.b64encode(b"x" * 60).decode()])
def test_what_is_no_histogram_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HdrHistogram|digits"):
        Histogram.decode(text)


@given(st.data())
def test_a_damaged_histogram_is_refused_or_still_one(data: st.DataObject) -> None:
    raw = bytearray(base64.b64decode(of_ns([5, 70, 70, 123_456_789]).encode()))
    inner = bytearray(zlib.decompress(bytes(raw[8:])))
    at = data.draw(st.integers(0, len(inner) - 1))
    inner[at] ^= data.draw(st.integers(1, 255))
    packed = zlib.compress(bytes(inner))
    text = base64.b64encode(bytes(raw[:4]) + len(packed).to_bytes(4, "big") + packed)
    try:
        histogram = Histogram.decode(text)
    except ValueError:
        return
    assert (histogram.counts >= 0).all()


def test_many_are_decoded_as_each_alone() -> None:
    rng = np.random.default_rng(5)
    parts = [Histogram.of(rng.lognormal(-7, 1, n)) for n in (0, 1, 5, 1000, 0, 3)]
    together = decode([part.encode() for part in parts])
    assert [Histogram.sum([sparse]) for sparse in together] == parts
    assert decode([]) == []


def test_range_ends() -> None:
    histogram = Histogram.of([-1.0, 0.0, 3600.0, 1e6, math.inf])
    assert histogram.count == 5
    assert histogram.percentile(1) == 0.0
    assert histogram.percentile(100) == pytest.approx(3600.0, rel=0.001)
    with pytest.raises(ValueError, match="nan"):
        histogram.record([1.0, math.nan])
    assert histogram.count == 5


def test_an_empty_histogram_has_no_numbers() -> None:
    empty = Histogram()
    assert math.isnan(empty.percentile(50))
    assert math.isnan(empty.mean)
    assert empty.count == 0
    assert Histogram.decode(empty.encode()) == empty
    with pytest.raises(ValueError, match="percentile 101"):
        Histogram.of([1.0]).percentile(101)


def test_mean_and_exceedances() -> None:
    rng = np.random.default_rng(3)
    values = rng.lognormal(-6, 0.5, 20_000)
    histogram = Histogram.of(values)
    assert histogram.mean == pytest.approx(values.mean(), rel=0.0005)
    limit = 0.004
    assert histogram.above(limit) == pytest.approx((values > limit).sum(), abs=30)
    assert histogram.above(0.0) == len(values)
    assert histogram.above(3600.0) == 0
