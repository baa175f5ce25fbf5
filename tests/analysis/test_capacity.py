"""The search of a capacity on simulated queues with a known one, and what its parts conclude."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bench import BenchError
from bench.analysis.capacity.conclusion import Condition, Measured, Refusal, concluded, ratio
from bench.analysis.capacity.estimate import estimate, halfway
from bench.analysis.capacity.level import RUNGS, Level, level_of
from bench.analysis.capacity.reading import generator_limit, levels_of, requests_of
from bench.analysis.capacity.search import SHORTEST, Search
from bench.analysis.capacity.shift import fieller, shift
from bench.analysis.showing.capacity_text import sentences
from bench.analysis.showing.plot import drawn, svg
from bench.analysis.showing.plot_capacity import capacity_pictures
from bench.config.service_level import of_p99
from bench.runs.capacity import CAPACITY, Capacity, ConditionCapacity, Ratio
from bench.runs.chunk import Chunk
from bench.runs.run import Run
from tests.analysis.queues import ALLOWED, MEAN, WITHIN, due_of, levels_at, pair, search
from tests.analysis.queues import CAPACITY as TRUE
from tests.recorded import requests, write

HERE = Condition("mnist at here", "here", "mnist", None, 1)


def level(rate: float, missed: int, *, requests: int = 4000, seconds: float = 10.0, **more: float) -> Level:
    """With the misses in all parts alike, or as alike as can be."""
    parts = np.full(20, missed // 20) + (np.arange(20) < missed % 20)
    return Level(rate, seconds, tuple(int(n) for n in parts), requests, **more)  # type: ignore[arg-type]


def test_intervals_hold_the_true_capacity_of_a_queue() -> None:
    """Ten of 200 searches that tests/benchmarks/capacity.py runs: their seeds are fixed."""
    found = [search("M/M/1", seed, load=120).estimate for seed in range(10)]
    held = [each is not None and each.low <= TRUE["M/M/1"] <= each.high for each in found]
    assert sum(held) >= 9
    halves = [each.half_width for each in found if each is not None]
    assert np.median(halves) < 0.15  # an interval that holds everything is none


def test_a_search_ends_when_it_is_precise_enough() -> None:
    done = search("M/M/1", 1, load=1000, precision=0.15)
    assert done.decided
    assert done.estimate is not None
    assert done.estimate.half_width <= 0.15
    assert sum(each.seconds for each in done.levels) < 500
    assert done.next() is None


def test_levels_go_up_while_all_pass_and_down_while_all_fail() -> None:
    up, down = (Search(0.01, 0.03, 10.0, 500.0) for _ in range(2))
    up.add([level(300.0, 0), level(400.0, 3)])
    coming = up.next()
    assert coming is not None
    assert coming.rate == 500, "what was answered at most comes before an overload"
    assert up.estimate is None
    assert up.bracket == (400.0, None)
    up.add([level(500.0, 4)])
    coming = up.next()
    assert coming is not None
    assert coming.rate > 500
    down.add([level(300.0, 2000), level(200.0, 300)])
    coming = down.next()
    assert coming is not None
    assert coming.rate < 200
    assert down.bracket == (None, 200.0)


def test_the_estimate_lies_where_the_line_crosses() -> None:
    levels = [level(300.0, 15), level(400.0, 80)]  # half of and twice what is allowed of 3000 and 4000
    found = estimate(levels, 0.01, 5.0)
    assert found is not None
    assert found.rate == pytest.approx(math.sqrt(300 * 400), rel=0.02)
    assert found.low < found.rate < found.high
    assert estimate([level(300.0, 0), level(400.0, 0)], 0.01, 5.0) is None
    assert halfway([level(100.0, 0), level(200.0, 0), level(400.0, 900)], 0.01) == pytest.approx(
        math.sqrt(200 * 400)
    )


def test_what_was_not_answered_rightly_in_time_missed_the_service_level() -> None:
    due = np.arange(1000) / 100
    latency, right, sent = np.full(1000, 0.01), np.ones(1000, bool), np.ones(1000, bool)
    latency[500:510] = 0.05  # late
    latency[600:605], right[600:605] = np.inf, False  # without an answer
    right[700:704] = False  # refused
    latency[800:803], right[800:803], sent[800:803] = np.inf, False, False
    found = level_of(
        due, latency, right, sent=sent, rate=100, begin=0, end=10, within=0.02, allowed=0.03, parts=10
    )
    assert (found.requests, found.missed, found.failed, found.unsent) == (1000, 22, 4, 3)
    assert found.misses == (0, 0, 0, 0, 0, 10, 5, 4, 3, 0)
    assert found.p == pytest.approx(0.01)
    assert level_of(due, latency, right, rate=100, begin=0, end=10, within=0.02, allowed=0.005).p is None


def test_littles_law_tells_a_steady_queue_from_one_that_grows() -> None:
    due = np.arange(0, 20, 0.01)
    steady = level_of(
        due,
        np.full(len(due), 0.1),
        np.ones(len(due), bool),
        rate=100,
        begin=2,
        end=18,
        within=1,
        allowed=0.01,
    )
    assert steady.in_system == pytest.approx(10, rel=0.01)
    assert steady.steady
    growing = level_of(
        due, 0.1 * due, np.ones(len(due), bool), rate=100, begin=2, end=18, within=1, allowed=0.01
    )
    assert not growing.steady


def conclude(of: list[Level], refusal: Refusal | None = None, most: float | None = None) -> ConditionCapacity:
    found = Search(0.01, 0.03, 10.0, 500.0, max_errors=most)
    found.add(of)
    return concluded(HERE, found, [Measured(each, "run") for each in of], [], refusal)


def told(condition: ConditionCapacity) -> str:
    (text,) = sentences(
        Capacity(
            service_level="p99 <= 25 ms", share=0.99, within=0.025, confidence=0.95, conditions=[condition]
        )
    )
    return text


def test_the_conclusion_names_what_limits() -> None:
    around = [level(rate, missed, latency=0.005) for rate, missed in ((300.0, 20), (310.0, 25), (320.0, 30))]
    slow = [level(rate, 90, latency=0.010, in_system=40.0) for rate in (390.0, 400.0)]
    queue = conclude(around + slow)
    assert (queue.outcome, queue.limited_by) == ("found", "queue")
    assert "sustains" in told(queue)
    assert "40.0 under way" in told(queue) or "40 under way" in told(queue)
    errors = conclude(around + [each._replace(failed=80) for each in slow])
    assert errors.limited_by == "errors"
    unsent = conclude(around + [each._replace(unsent=80) for each in slow])
    assert unsent.limited_by == "requests in flight"
    calm = [level(400.0, 90, latency=0.005, answered=4000, in_system=2.0)]
    assert conclude(around + calm).limited_by == "service level"


def test_without_an_interval_there_is_a_bracket_or_nothing() -> None:
    short = SHORTEST / 2
    ramp = [level(100.0, 0, seconds=short), level(200.0, 900, seconds=short)]
    bracket = conclude(ramp)
    assert (bracket.outcome, bracket.passed, bracket.failed) == ("bracket", 100.0, 200.0)
    assert "between 100 and 200 req/s" in told(bracket)
    refused = conclude(ramp, Refusal("load process 0 used 99% of a core", "use more load processes"))
    assert (refused.outcome, refused.capacity) == ("load generator", None)
    assert told(refused).startswith("no answer: the load generator was the limit (load process 0")
    assert told(refused).endswith("use more load processes")
    assert concluded(HERE, None, [], [], None).outcome == "nothing"


def test_a_pause_at_a_low_rate_bounds_nothing() -> None:
    paused, over = level(100.0, 4000, seconds=1.0), level(300.0, 900, seconds=1.0)
    mixed, missed = conclude([paused, level(200.0, 0, seconds=1.0), over]), conclude([paused, over])
    failing = conclude([level(r, 20)._replace(errors=(1,) * 20) for r in (100.0, 300.0)], most=0.001)
    assert [each.failed for each in (mixed, missed, failing)] == [300, 100, 100]
    assert "less than 300 req/s with p99 <= 25 ms; some lower rates missed it" in told(mixed)
    assert ["the idle server keeps" in told(each) for each in (mixed, missed, failing)] == [False, True, True]


@pytest.mark.parametrize(
    ("low", "high", "answered", "expected"),
    [
        (0.89, 0.98, True, "second sustains 0.93 times the load of first (0.89 to 0.98, 99%)"),
        (0.88, 1.02, True, "no significant difference: second sustains 0.93"),
        (0.0, 0.98, True, "of first (at most 0.98, 99%)"),
        (1.02, None, True, "of first (at least 1.02, 99%)"),
        (0.0, None, False, "inconclusive: second sustains 0.93 times the load of first so far, without an"),
        (0.6, 1.5, False, "inconclusive: second sustains 0.93"),
    ],
)
def test_a_ratio_that_is_known_answers_without_the_capacities(
    low: float, high: float | None, answered: bool, expected: str
) -> None:
    ramp = [level(rate, missed, seconds=SHORTEST / 2) for rate, missed in ((100.0, 0), (200.0, 900))]
    sides = [conclude(ramp).model_copy(update={"title": title}) for title in ("first", "second")]
    ratio = Ratio(
        value=0.93,
        low=low,
        high=high,
        error=0.02,
        freedom=30,
        before="first",
        after="second",
        confidence=0.99,
        basis="speed",
    )
    both = Capacity(
        service_level="p99 <= 25 ms",
        share=0.99,
        within=0.025,
        confidence=0.95,
        conditions=sides,
        ratios=[ratio],
    )
    assert both.answered is answered
    *alone, compared = sentences(both)
    assert expected in compared
    assert all(("inconclusive" in text) is not answered for text in (*alone, compared))
    assert not both.model_copy(update={"ratios": []}).answered


def test_the_ratio_of_two_searches_with_rates_of_their_own() -> None:
    pairs = [search("M/M/1", seed, load=300) for seed in (1, 2)]
    sides = [concluded(HERE, each, [], [], None) for each in pairs]
    both = ratio(sides[0], sides[1], (pairs[0], pairs[1]), 0.95)
    assert both is not None
    assert both.high is not None
    assert both.low < 1 < both.high
    assert both.basis in ("speed", "separate")
    assert ratio(sides[0], conclude([]), (pairs[0], None), 0.95) is None
    doubled = sides[0].model_copy(
        update={"capacity": sides[0].capacity and sides[0].capacity.model_copy(update={"value": 2000.0})}
    )
    twice = ratio(sides[1], doubled, (pairs[1], pairs[0]), 0.95)
    assert twice is not None
    assert twice.low > 1
    assert twice.basis == "separate"


def test_pairs_tell_what_is_slower_and_call_the_same_no_different() -> None:
    """Eight of the pairs that tests/benchmarks/capacity.py simulates by the thousand: their seeds are fixed."""
    same, slower = ([pair("M/M/1", seed, factor) for seed in range(4)] for factor in (1.0, 1.05))
    assert all(each is not None and each.low <= 1 <= (each.high or 0) for each in same)
    assert all(each is not None and each.high is not None and each.high < 1 for each in slower)
    true = (1 / MEAN / 1.05 - math.log(100) / WITHIN) / TRUE["M/M/1"]
    assert sum(each is not None and each.low <= true <= (each.high or 0) for each in slower) >= 3
    assert {each.basis for each in (*same, *slower) if each is not None} == {"speed"}


@pytest.mark.parametrize(
    ("other", "mean", "seed"), [("gamma 0.5", 2.209e-3, 1), ("gamma 0.8", 2.0887e-3, 14)]
)
def test_where_latencies_are_not_alike_they_do_not_count(other: str, mean: float, seed: int) -> None:
    """A queue with less variable service times of the same capacity: slower in the mean, no less in the tail."""
    found = pair("M/M/1", seed, mean / MEAN, other)
    assert found is not None
    assert found.basis in ("misses", "separate")
    assert not found.different


def test_queues_without_chance_that_are_the_same_have_a_ratio_with_two_ends() -> None:
    found = pair("M/D/1", 0, 1.0)
    assert found is not None
    assert found.high is not None
    assert 0.99 < found.low <= 1 <= found.high < 1.01


def test_levels_without_parts_are_compared_by_their_misses() -> None:
    slower = [level(300.0, 30), level(330.0, 90)]
    faster = [level(300.0, 10), level(330.0, 30)]
    found = shift(slower, faster, 0.01, 8.0, 0.95)
    assert found is not None
    assert found.value > 1
    assert found.basis == "misses"
    assert shift(slower, [level(300.0, 0), level(330.0, 0)], 0.01, 8.0, 0.95) is None
    assert shift([], faster, 0.01, 8.0, 0.95) is None


def test_a_ratio_whose_slope_is_hardly_known_has_one_end() -> None:
    known = np.diag([0.01**2, 0.5**2])
    low, high = fieller(-0.1, known, 2.6)
    assert low == -math.inf
    assert -0.1 < high < 0
    assert fieller(0.1, known, 2.6) == (-high, math.inf)
    assert fieller(0.01, known, 2.6) == (-math.inf, math.inf)
    low, high = fieller(-0.1, np.diag([0.01**2, 0.1**2]), 2.6)
    assert -0.2 < low < -0.1 < high < -0.05


def test_equal_arrivals_tell_more_than_different_ones() -> None:
    rng = np.random.default_rng(5)
    both = [[], []]  # type: list[list[Level]]
    for number in range(2):
        due = due_of(rng, [400.0], 20.0)
        for own, mean in zip(both, (MEAN, 1.001 * MEAN), strict=True):
            own.extend(levels_at("M/D/1", rng, [400.0], 20.0, 1.0, due, mean=mean, arrivals=number))
    together = shift(*both, ALLOWED, 20.0, 0.95)
    apart = shift(*([each._replace(arrivals=None) for each in own] for own in both), ALLOWED, 20.0, 0.95)
    assert together is not None
    assert apart is not None
    assert together.error < apart.error / 2


def test_what_takes_longer_than_shorter_times_is_counted_too() -> None:
    due = np.arange(100) / 10
    latency = np.full(100, 0.011)
    latency[:30], latency[:10] = 0.0151, 0.021
    right = np.ones(100, bool)
    right[99] = False
    found = level_of(due, latency, right, rate=10, begin=0, end=10, within=0.02, allowed=0.1, parts=5)
    assert len(found.slower) == RUNGS
    assert found.slower[-1] == found.misses
    assert sum(found.slower[-2]) == 11  # longer than 16.8 ms
    assert sum(found.slower[-3]) == 31  # longer than 14.1 ms
    assert sum(found.slower[-6]) == 100
    assert found.errors == (0, 0, 0, 0, 1)
    # one at a time: so long as all of them together take
    assert sum(found.busy[0]) == pytest.approx(latency.sum())
    assert sum(found.busy[1]) == 0


def test_errors_are_limited_besides() -> None:
    """Answers in time, of which from some rate on more than 0.1 % are errors."""

    def with_errors(rate: float, errors: int) -> Level:
        own = level(rate, errors)
        return own._replace(errors=own.misses, failed=errors)

    levels = [with_errors(rate, errors) for rate, errors in ((300.0, 0), (350.0, 2), (400.0, 9), (450.0, 20))]
    free, strict = Search(0.01, 0.03, 10.0, 500.0), Search(0.01, 0.03, 10.0, 500.0, max_errors=0.001)
    for each in (free, strict):
        each.add(levels)
    assert free.estimate is None
    assert free.bracket == (450.0, None)
    assert strict.bracket == (350.0, 400.0)
    assert strict.estimate is not None
    assert 350 < strict.estimate.rate < 400
    found = concluded(HERE, strict, [], [], None)
    assert found.limited_by == "errors"
    assert "requests fail" in found.reason or "are errors" in found.reason


def test_the_picture_shows_the_interval_or_the_bracket() -> None:
    done = search("M/M/1", 1, load=300)
    measured = [Measured(each, "run") for each in done.levels]
    found = concluded(HERE, done, measured, [], None)
    bracket = found.model_copy(update={"capacity": None, "outcome": "bracket"})
    whole = Capacity(
        service_level="p99 <= 25 ms", share=0.99, within=0.025, confidence=0.95, conditions=[found, bracket]
    )
    first, second = capacity_pictures(whole, "capacity")
    assert [first.name, second.name] == ["capacity-1", "capacity-2"]
    upper, lower = drawn(first).axes
    assert len(upper.collections[0].get_offsets()) == len(lower.collections[0].get_offsets()) == len(measured)
    assert found.capacity is not None
    shaded = [patch.get_extents().transformed(upper.transData.inverted()) for patch in upper.patches]
    assert [(box.x0, box.x1) for box in shaded] == [
        (pytest.approx(found.capacity.low), pytest.approx(found.capacity.high))
    ]
    assert len(drawn(second).axes[0].patches) == 1
    assert "<svg" in svg(first)


def of_run(folder: Path, **how: float) -> Run:
    return write(folder, [Chunk.of(**requests(count=3000, rate=300.0, **how))])  # type: ignore[arg-type]


def test_levels_are_read_from_run_folders(tmp_path: Path) -> None:
    run = of_run(tmp_path, errors=0.05)
    wanted = of_p99(25)
    read = requests_of(run)
    (one,) = levels_of(read, [300.0], 10.0, wanted)
    assert one.requests == pytest.approx(300 * one.seconds, rel=0.1)
    assert one.missed == one.failed > 0
    assert generator_limit(run, read, one, wanted) is None
    few = generator_limit(run, read, one._replace(rate=600.0), wanted)
    assert few is not None
    assert "were planned" in few[0]


def test_a_level_that_was_sent_late_shows_the_load_generator(tmp_path: Path) -> None:
    run = of_run(tmp_path, lag=0.02)
    wanted = of_p99(25)
    read = requests_of(run)
    (one,) = levels_of(read, [300.0], 10.0, wanted)
    why = generator_limit(run, read, one, wanted)
    assert why is not None
    assert "sent late" in why[0]
    assert "--processes" in why[1]


def test_a_capacity_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert Capacity.read(tmp_path) is None
    written = Capacity(
        service_level="p99 <= 25 ms",
        share=0.99,
        within=0.025,
        confidence=0.95,
        conditions=[conclude([level(300.0, 20), level(400.0, 80)])],
    )
    written.write(tmp_path)
    assert Capacity.read(tmp_path) == written
    damaged = json.loads((tmp_path / CAPACITY).read_text()) | {"share": 2}
    (tmp_path / CAPACITY).write_text(json.dumps(damaged))
    with pytest.raises(BenchError, match="share"):
        Capacity.read(tmp_path)
