"""bench.schedule.schedules and .rates: what each schedule asks for, and how it is written down."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import BenchError
from bench.schedule import (
    Burst,
    Closed,
    Constant,
    Poisson,
    Ramp,
    Schedule,
    Sine,
    Spike,
    Steps,
    from_dict,
    parse,
)
from bench.schedule.rates import PiecewiseLinear
from bench.schedule.schedules import Rated
from tests.schedule.examples import RATED, bursts, rated

RATE_AT: list[tuple[Rated, list[tuple[float, float]], list[tuple[float, float]]]] = [
    # schedule, (seconds, rate there), (seconds, requests until there)
    (Constant(500), [(0, 500), (9, 500)], [(0, 0), (2, 1000)]),
    (Poisson(10), [(0, 10), (9, 10)], [(0, 0), (2.5, 25)]),
    (
        Steps((100, 200, 400), each=10),
        [(0, 100), (9.99, 100), (10, 200), (29, 400), (99, 400)],
        [(10, 1000), (15, 2000), (20, 3000), (40, 11000)],
    ),
    (Ramp(0, 1000, over=60), [(0, 0), (30, 500), (60, 1000), (99, 1000)], [(30, 7500), (60, 30000), (61, 31000)]),
    (Ramp(100, 0, over=10), [(5, 50), (10, 0), (11, 0)], [(5, 375), (10, 500), (99, 500)]),
    (Spike(100, 5, at=10, lasting=5), [(9.9, 100), (10, 500), (14.9, 500), (15, 100)], [(10, 1000), (15, 3500), (16, 3600)]),
    (Spike(100, 5, at=0, lasting=5), [(0, 500), (5, 100)], [(5, 2500), (6, 2600)]),
    (Sine(100, 300, period=60), [(0, 100), (15, 200), (30, 300), (60, 100)], [(30, 6000), (60, 12000), (120, 24000)]),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "at_rate", "at_count"), RATE_AT, ids=lambda v: str(v)[:30])
def test_rates_and_their_integrals(
    schedule: Rated, at_rate: list[tuple[float, float]], at_count: list[tuple[float, float]]
) -> None:
    rates = schedule.rates()
    for t, rate in at_rate:
        assert rates.rate(np.array([t], dtype=float))[0] == pytest.approx(rate)
    for t, count in at_count:
        assert rates.expected(np.array([t], dtype=float))[0] == pytest.approx(count)


@pytest.mark.parametrize("schedule", RATED, ids=str)
def test_the_integral_is_that_of_the_rate(schedule: Rated) -> None:
    rates, t = schedule.rates(), np.linspace(0, 8, 80001)
    middles = (t[1:] + t[:-1]) / 2
    summed = np.cumsum(rates.rate(middles)) * 1e-4
    assert np.abs(summed - rates.expected(t[1:])).max() < 0.2


@given(rated)
@settings(max_examples=150, deadline=None)
def test_instant_is_the_inverse_of_expected(schedule: Rated) -> None:
    rates = schedule.rates()
    counts = np.linspace(0, float(rates.expected(np.array([60.0]))[0]), 1013)[:-1]
    instants = rates.instant(counts)
    assert (np.diff(instants) >= 0).all()
    assert np.abs(rates.expected(instants) - counts).max() < 1e-6


@given(rated)
@settings(max_examples=150, deadline=None)
def test_single_numbers_give_the_same_bits_as_arrays(schedule: Rated) -> None:
    rates = schedule.rates()
    at = np.linspace(0, 70, 337)
    assert [rates.expected_at(t) for t in at.tolist()] == rates.expected(at).tolist()
    counts = np.linspace(0, 1.1 * float(rates.expected_at(60.0)), 211)
    assert [rates.instant_at(count) for count in counts.tolist()] == rates.instant(counts).tolist()


@given(st.floats(0.01, 1e6), st.floats(0, 1e9))
def test_a_constant_takes_a_short_cut_to_the_same_bits(rate: float, count: float) -> None:
    quick = PiecewiseLinear([0], [rate], [0])
    thorough = PiecewiseLinear([0, 1e300], [rate, rate], [0, 0])
    assert quick.instant(np.array([count])) == thorough.instant(np.array([count]))


def test_what_never_comes_is_due_never() -> None:
    instants = Ramp(100, 0, over=10).rates().instant(np.array([499.0, 500.5]))
    assert instants[0] < 10
    assert instants[1] == math.inf


def test_an_inverse_does_not_depend_on_its_neighbours() -> None:
    for schedule in RATED:
        rates = schedule.rates()
        counts = np.random.default_rng(5).uniform(0, 400, 1001)
        alone = np.concatenate([rates.instant(counts[i : i + 1]) for i in range(len(counts))])
        odd = np.concatenate([rates.instant(part) for part in np.array_split(counts, 13)])
        assert np.array_equal(alone, rates.instant(counts))
        assert np.array_equal(odd, alone)


TEXTS: list[tuple[str, Schedule, str]] = [
    ("closed", Closed(), "closed"),
    ("closed:500ms", Closed(0.5), "closed:0.5s"),
    ("constant:500", Constant(500), "constant:500"),
    ("Poisson: 1e3", Poisson(1000), "poisson:1000"),
    ("poisson:.5", Poisson(0.5), "poisson:0.5"),
    ("steps:100,200,400/10s", Steps((100, 200, 400), 10), "steps:100,200,400/10s"),
    ("steps:100/1m,even", Steps((100,), 60, even=True), "steps:100/60s,even"),
    ("spike:100x5@10s+5s", Spike(100, 5, 10, 5), "spike:100x5@10s+5s"),
    ("spike:100x5@10+2.5", Spike(100, 5, 10, 2.5), "spike:100x5@10s+2.5s"),
    ("sine:100..300/60s", Sine(100, 300, 60), "sine:100..300/60s"),
    ("burst:200@5s", Burst(200, 5), "burst:200@5s"),
    ("burst: 1 @ 250ms", Burst(1, 0.25), "burst:1@0.25s"),
    ("ramp:0..1000/60s", Ramp(0, 1000, 60), "ramp:0..1000/60s"),
    ("ramp: 1.5 .. 2.5 / 1h", Ramp(1.5, 2.5, 3600), "ramp:1.5..2.5/3600s"),
]


@pytest.mark.parametrize(("text", "schedule", "canonical"), TEXTS, ids=[text for text, _, _ in TEXTS])
def test_texts_mean_schedules(text: str, schedule: Schedule, canonical: str) -> None:
    assert parse(text) == schedule
    assert str(schedule) == canonical


@given(rated | bursts)
def test_text_and_manifest_read_back_as_an_equal_schedule(schedule: Rated) -> None:
    assert parse(str(schedule)) == schedule
    assert from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "unknown"),
        ("fast", "unknown"),
        ("gauss:10", "unknown"),
        ("poisson", "poisson:1000 is the form"),
        ("poisson:", "poisson:1000 is the form"),
        ("poisson:-5", "poisson:1000 is the form"),
        ("poisson:1,000", "poisson:1000 is the form"),
        ("poisson:0", "above 0"),
        ("poisson:1e999", "finite"),
        ("poisson:nan", "is the form"),
        ("steps:100,200", "steps:100,200,400/10s is the form"),
        ("steps:0,0/5s", "the highest step is 0"),
        ("steps:1,2/0s", "each is 0"),
        ("ramp:0..0/60s", "the higher end is 0"),
        ("ramp:0-1000/60s", "ramp:0..1000/60s is the form"),
        ("spike:100*5@10s+5s", "spike:100x5@10s+5s is the form"),
        ("spike:100x5@10s+0s", "lasting is 0"),
        ("sine:300..100/60s", "exchange"),
        ("constant:500,even", "constant:500 is the form"),
        ("burst:200", "burst:200@5s is the form"),
        ("burst:2.5@5s", "burst:200@5s is the form"),
        ("burst:0@5s", "size is 0"),
        ("burst:9@0s", "each is 0"),
        ("burst:2000000@5s", "an integer from 1 to 1,000,000"),
        ("closed:5parsecs", "closed, closed:0.5s is the form"),
    ],
)
def test_other_texts_are_refused_with_the_form_that_is_right(text: str, said: str) -> None:
    with pytest.raises(BenchError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "gauss"}, "gauss"),
        ({}, "None"),
        ({"kind": "poisson"}, "rate"),
        ({"kind": "poisson", "rate": 5, "even": True}, "even"),
        ({"kind": "poisson", "rate": -5}, "-5"),
        ({"kind": "burst", "size": 2.5, "each": 1}, "2.5"),
    ],
)
def test_manifests_that_hold_no_schedule(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        from_dict(fields)


def test_durations() -> None:
    assert Steps((1, 2, 3), 10).duration == 30
    assert Ramp(0, 5, 60).duration == 60
    assert Spike(1, 5, at=10, lasting=5).duration == 15
    assert Sine(1, 5, 60).duration is None
    assert Poisson(5).duration is None
