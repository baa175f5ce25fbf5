"""bench.schedule.sequence: one global order of arrivals, however it is divided and cut."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.schedule import Burst, Constant, Poisson, Sine, Trace, held, message_indices, open_sequence, times
from bench.schedule.rates import Floats
from bench.schedule.schedules import Rated
from bench.schedule.sequence import BLOCK
from tests.schedule.examples import RATED, bursts, rated


def all_of(
    schedule: Rated, until: float, seed: int, stream: int = 0, streams: int = 1, users: int = 1
) -> Floats:
    return np.concatenate([np.empty(0), *times(schedule, stream, streams, until, seed=seed, users=users)])


@given(rated | bursts, st.integers(0, 2**70), st.integers(2, 16), st.integers(1, 5), st.floats(0.01, 12))
@settings(max_examples=60, deadline=None)
def test_any_division_has_the_same_union_to_the_bit(
    schedule: Rated, seed: int, streams: int, users: int, until: float
) -> None:
    whole = all_of(schedule, until, seed, users=users)
    divided = np.full(len(whole), np.nan)
    for stream in range(streams):
        part = all_of(schedule, until, seed, stream, streams, users)
        assert len(part) == len(range(stream, len(whole), streams))
        divided[stream::streams] = part
    assert np.array_equal(divided, whole)


@given(rated | bursts, st.lists(st.floats(0.001, 8), max_size=8), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_pieces_of_any_length_give_the_same_instants_to_the_bit(
    schedule: Rated, cuts: list[float], seed: int
) -> None:
    sequence = open_sequence(schedule, seed)
    sequence.set_users(0.0, 1)
    pieces = [sequence.before(cut) for cut in [*sorted(cuts), 8.5]]
    assert np.array_equal(np.concatenate(pieces), all_of(schedule, 8.5, seed))
    assert sequence.count == sum(map(len, pieces))


@given(
    rated | bursts,
    st.lists(st.tuples(st.floats(0, 6), st.integers(0, 7)), min_size=1, max_size=5),
    st.lists(st.floats(0.001, 6.5), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_processes_that_cut_differently_agree_while_users_come_and_go(
    schedule: Rated, plan: list[tuple[float, int]], cuts: list[float]
) -> None:
    plan = sorted(plan, key=lambda change: change[0])

    def instants(cuts: list[float]) -> Floats:
        sequence, parts = open_sequence(schedule, 3), []
        for at, users in plan:
            parts += [sequence.before(cut) for cut in cuts if cut < at] + [sequence.before(at)]
            sequence.set_users(at, users)
            cuts = [cut for cut in cuts if cut >= at]
        return np.concatenate([*parts, *(sequence.before(cut) for cut in cuts), sequence.before(7.0)])

    assert np.array_equal(instants(sorted(cuts)), instants([]))


def test_the_rate_follows_the_number_of_users_from_the_instant_on_at_which_it_changes() -> None:
    sequence = open_sequence(Constant(100), 1)
    assert len(sequence.before(1.0)) == 0
    sequence.set_users(1.0, 2)
    two = sequence.before(3.0)
    sequence.set_users(3.0, 5)
    five = sequence.before(4.0)
    sequence.set_users(4.0, 0)
    none = sequence.before(9.0)
    assert np.allclose(two, 1 + np.arange(400) / 200)
    assert np.allclose(five, 3 + np.arange(500) / 500)
    assert len(none) == 0
    with pytest.raises(ValueError, match="generated until 9"):
        sequence.set_users(8.0, 1)


def test_bursts_are_due_at_one_instant_and_grow_with_the_users() -> None:
    sequence = open_sequence(Burst(200, 0.1), 1)
    sequence.set_users(0.0, 3)
    three = sequence.before(0.1 * 3)
    sequence.set_users(0.1 * 3, 1)
    one = sequence.before(0.6)
    assert np.unique(three, return_counts=True)[1].tolist() == [600] * 3
    assert np.unique(one)[:3].tolist() == [0.1 * 3, 0.4, 0.5]
    assert len(one) == 600


@pytest.mark.parametrize(("schedule", "count"), [(Burst(10_000, 0.5), 30_000), (Burst(3, 0.25), 15)])
def test_bursts_of_any_size_are_generated(schedule: Rated, count: int) -> None:
    assert len(all_of(schedule, 1.2, seed=1)) == count


def test_a_trace_of_whole_seconds_is_generated_to_its_end(tmp_path: Path) -> None:
    """As logs have them: with more requests in a second than are generated at once, the load process stood still."""
    (tmp_path / "trace.csv").write_text("time\n" + "0\n" * (2 * BLOCK) + "1\n" * (2 * BLOCK))
    instants = np.concatenate([*times(Trace.read(tmp_path / "trace.csv"), 0, 1, 2.0, seed=1)])
    assert np.unique(instants, return_counts=True)[1].tolist() == [2 * BLOCK] * 2


@pytest.mark.parametrize("schedule", RATED, ids=str)
def test_expected_counts(schedule: Rated) -> None:
    expected = float(schedule.rates().expected(np.array([7.0]))[0])
    instants = all_of(schedule, 7.0, seed=11)
    assert instants.min() >= 0
    assert instants.max() < 7.0 + 1e-9
    if schedule.even:
        assert len(instants) == np.ceil(expected - 1e-9)
    else:
        assert abs(len(instants) - expected) < 4 * np.sqrt(expected)


@pytest.mark.parametrize("schedule", [schedule for schedule in RATED if not schedule.even], ids=str)
def test_random_arrivals_are_poisson_after_the_time_change(schedule: Rated) -> None:
    instants = all_of(schedule, 7.0, seed=2)
    gaps = np.diff(schedule.rates().expected(instants))
    assert scipy.stats.kstest(gaps, "expon").pvalue > 0.001
    neighbours = np.corrcoef(gaps[1:], gaps[:-1])[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(len(gaps))


def test_counts_of_a_poisson_process_vary_as_they_should() -> None:
    instants = all_of(Poisson(1000), 400.0, seed=9)
    counts = np.histogram(instants, bins=4000, range=(0, 400))[0]
    assert counts.mean() == pytest.approx(100, rel=0.01)
    assert counts.var() == pytest.approx(100, rel=0.1)
    assert scipy.stats.kstest(instants, scipy.stats.uniform(0, 400).cdf).pvalue > 0.001


def test_seeds_and_salts_give_other_instants() -> None:
    first = all_of(Poisson(100), 2.0, seed=1)
    again = np.concatenate([*times(Poisson(100), 0, 1, 2.0, seed=1)])
    salted = np.concatenate([*times(Poisson(100), 0, 1, 2.0, seed=1, salt="other")])
    assert np.array_equal(first, again)
    assert not np.isin(salted, first).any()
    assert not np.isin(all_of(Poisson(100), 2.0, seed=2), first).any()


def test_another_process_computes_the_same_bits() -> None:
    code = (
        "import hashlib, numpy as np; from bench.schedule import *;"
        "print(hashlib.sha256(np.concatenate([*times(Sine(100, 900, 3), 1, 3, 20.0, seed=4)]).tobytes()).hexdigest())"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    import hashlib

    mine = all_of(Sine(100, 900, 3), 20.0, seed=4, stream=1, streams=3)
    assert said.strip() == hashlib.sha256(mine.tobytes()).hexdigest()


def test_long_sequences_come_in_chunks_that_fit_into_memory() -> None:
    chunks = [*times(Poisson(10000), 0, 1, 30.0, seed=1)]
    assert sum(map(len, chunks)) == pytest.approx(300000, rel=0.01)
    assert max(map(len, chunks)) < 2 * BLOCK


@pytest.mark.parametrize(("stream", "streams"), [(1, 1), (-1, 2), (0, 0)])
def test_a_stream_that_is_none(stream: int, streams: int) -> None:
    with pytest.raises(ValueError, match="stream"):
        next(times(Poisson(1), stream, streams, 1.0, seed=1))


@given(
    st.integers(0, 10**12),
    st.integers(0, 300),
    st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
)
def test_processes_with_several_streams_divide_without_overlap(
    first: int, count: int, held_by_each: list[int]
) -> None:
    streams, taken = sum(held_by_each), []
    for worker, each in enumerate(held_by_each):
        taken.append(held(first, count, sum(held_by_each[:worker]), each, streams))
    assert sorted(np.concatenate(taken).tolist()) == list(range(count))


@pytest.mark.parametrize("size", [1, 2, 7, 4000])
def test_messages_are_sent_once_each_before_one_comes_again(size: int) -> None:
    indices = message_indices(np.arange(3 * size), size, seed=8)
    for begin in (0, size, 2 * size):
        assert sorted(indices[begin : begin + size]) == list(range(size))
    numbers = np.array([5, 2, 10**12 + 3])
    assert np.array_equal(message_indices(numbers, size, seed=8)[:2], indices[numbers[:2] % (3 * size)])
    assert message_indices(numbers, size, seed=8)[2] == indices[(10**12 + 3) % size]


def test_a_trace_is_divided_and_never_multiplied(trace: Trace) -> None:
    whole = np.concatenate([*times(trace, 0, 1, 100.0, seed=1, users=3)])
    parts = [np.concatenate([*times(trace, i, 3, 100.0, seed=1, users=3)]) for i in range(3)]
    assert np.array_equal(whole, trace.instants)
    assert np.array_equal(np.sort(np.concatenate(parts)), trace.instants)
    assert np.array_equal(
        np.concatenate([*times(trace, 0, 1, 2.0, seed=1)]), trace.instants[trace.instants < 2.0]
    )


def test_what_a_trace_asks_for_before_there_is_a_user_is_passed_over(trace: Trace) -> None:
    sequence = open_sequence(trace, 1)
    assert len(sequence.before(1.0)) == 0
    sequence.set_users(1.5, 1)
    assert sequence.count == np.searchsorted(trace.instants, 1.5)
    assert np.array_equal(
        sequence.before(3.0), trace.instants[(trace.instants >= 1.5) & (trace.instants < 3.0)]
    )
