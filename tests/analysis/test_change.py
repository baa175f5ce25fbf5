"""Changes whose truth is known: intervals that cover it, verdicts that are rarely wrong, pairs that cancel drift."""

import math

import numpy as np
import pytest
import scipy

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.judging.change import ERROR_RATE, change, judged_together
from bench.analysis.judging.compare import compare
from bench.analysis.statistics import intervals
from bench.analysis.statistics.needed import count_needed, trials_needed
from tests.analysis.simulated import campaign

P50, RATE = METRICS["p50"], METRICS["requests_per_second"]


def logs(trials: list[object], metric: str = "p50") -> list[float]:
    return [math.log(each.values[metric]) for each in trials]  # type: ignore[attr-defined]


@pytest.mark.parametrize("trials", [3, 5, 10])
def test_intervals_cover_a_known_difference_as_often_as_they_say(trials: int) -> None:
    """500 campaigns each of a 3 % difference on a machine that drifts by 5 %."""
    rng = np.random.default_rng(trials)
    covered = {"paired": 0, "alone": 0}
    for _ in range(500):
        before, after = campaign(rng, trials=trials, change=1.03, noise=0.01, drift=0.05)
        low, high = intervals.paired(logs(before), logs(after)).interval(0.95)
        covered["paired"] += low <= math.log(1.03) <= high
        still = campaign(rng, trials=trials, change=1.03, noise=0.01, interleaved=False)
        low, high = intervals.unpaired(*map(logs, still)).interval(0.95)
        covered["alone"] += low <= math.log(1.03) <= high
    for how, count in covered.items():
        assert 0.93 <= count / 500 <= 0.97, how


def test_pairs_have_at_most_half_the_error_of_trials_one_after_the_other() -> None:
    rng = np.random.default_rng(7)
    errors = {}
    for interleaved in (True, False):
        sizes = []
        for _ in range(300):
            before, after = campaign(
                rng, trials=6, change=1.03, noise=0.01, drift=0.10, interleaved=interleaved
            )
            (found,) = compare(before, after, metrics=["p50"]).found
            assert found.paired == interleaved
            sizes.append(found.changes[0].size - 1.03)
        errors[interleaved] = float(np.sqrt(np.mean(np.square(sizes))))
    assert errors[True] <= 0.5 * errors[False]


def test_estimates_are_those_of_scipy() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 7), rng.normal(0.5, 2, 5)
    theirs = scipy.stats.ttest_ind(second, first, equal_var=False)
    ours = intervals.unpaired(first, second)
    assert ours.freedom == pytest.approx(theirs.df)
    assert 2 * min(ours.p_above(0), ours.p_below(0)) == pytest.approx(theirs.pvalue)
    ends = theirs.confidence_interval(0.98)
    assert ours.interval(0.98) == pytest.approx((ends.low, ends.high))
    third = rng.normal(0.5, 2, 7)
    theirs = scipy.stats.ttest_rel(third, first)
    ours = intervals.paired(first, third)
    assert 2 * min(ours.p_above(0), ours.p_below(0)) == pytest.approx(theirs.pvalue)


def test_the_bootstrap_agrees_with_student_where_there_are_many_trials() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 1, 200), rng.normal(0.2, 1, 200)
    for pairs, estimate in (
        (True, intervals.paired(first, second)),
        (False, intervals.unpaired(first, second)),
    ):
        assert intervals.bootstrap(first, second, 0.95, pairs=pairs) == pytest.approx(
            estimate.interval(0.95), abs=0.03
        )


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (0, 100_000), (7, 1000)])
def test_shares_have_the_interval_of_clopper_and_pearson(successes: int, count: int) -> None:
    theirs = scipy.stats.binomtest(successes, count).proportion_ci(0.98, method="exact")
    assert intervals.proportion(successes, count, 0.98) == pytest.approx((theirs.low, theirs.high))
    assert intervals.proportion(0, 0, 0.98) == (0.0, 1.0)


def test_holm_is_the_published_example() -> None:
    # Holm 1979 by hand: sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([]) == []


@pytest.mark.parametrize(
    ("metric", "before", "after", "verdict"),
    [
        (P50, [1.0, 1.01, 0.99, 1.0], [1.1, 1.11, 1.09, 1.1], "worse"),
        (P50, [1.1, 1.11, 1.09, 1.1], [1.0, 1.01, 0.99, 1.0], "better"),
        (RATE, [1.0, 1.01, 0.99, 1.0], [1.1, 1.11, 1.09, 1.1], "better"),
        (RATE, [1.1, 1.11, 1.09, 1.1], [1.0, 1.01, 0.99, 1.0], "worse"),
        (P50, [1.0, 1.001, 0.999, 1.0], [1.001, 1.0, 1.0, 0.999], "same"),
        (P50, [1.0, 1.2, 0.8, 1.0], [1.1, 1.3, 0.9, 1.0], "unknown"),
        (P50, [1.0], [2.0], "unknown"),
        (METRICS["error_share"], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], "same"),
        (METRICS["error_share"], [0.0, 0.0, 0.0], [0.01, 0.011, 0.012], "worse"),
        (METRICS["accuracy"], [0.93, 0.93], [0.93, 0.93], "same"),
        (METRICS["accuracy"], [0.93, 0.93], [0.62, 0.62], "worse"),
        (P50, [1.0, math.nan], [1.0, 1.0], "unknown"),
        (RATE, [5.0, 5.0], [0.0, 0.0], "worse"),
        (RATE, [5.0, 5.0], [5.0, 0.0], "unknown"),  # one of two is no majority
        (RATE, [0.0, 0.0], [5.0, 5.0], "better"),
        (RATE, [0.0, 0.0], [0.0, 0.0], "unknown"),
        (RATE, [0.0, 5.0], [0.0, 0.0], "unknown"),
        (METRICS["accuracy"], [0.9, 0.9, 0.9], [0.0, 0.0, 0.9], "worse"),
        (METRICS["accuracy_gap"], [0.1, 0.1], [0.0, 0.0], "unknown"),  # no gain is no answer that is missing
        (METRICS["recovery_seconds"], [0.0, 0.0], [0.1, 0.1], "unknown"),
        (P50, [], [1.0], "unknown"),
    ],
)
def test_verdicts(metric: object, before: list[float], after: list[float], verdict: str) -> None:
    found = change(metric, before, after, paired=False)  # type: ignore[arg-type]
    assert found.verdict == verdict
    if (
        not all(map(math.isfinite, before + after))
        or min(map(len, (before, after))) < 2
        or (metric.ratio and 0.0 in (min(before), min(after)))  # type: ignore[attr-defined]
    ):
        assert found.reason


def test_the_whole_interval_must_lie_beyond_the_tolerance() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        before, after = campaign(rng, trials=5, change=rng.uniform(0.94, 1.06), noise=0.01)
        found = change(P50, [t.values["p50"] for t in before], [t.values["p50"] for t in after], paired=True)
        low, high = found.bounds
        expected = (
            "worse"
            if found.low > high
            else "better"
            if found.high < low
            else "same"
            if low < found.low and found.high < high
            else "unknown"
        )
        assert found.verdict == expected


@pytest.mark.parametrize("noise", [0.003, 0.05])
def test_equal_things_are_rarely_called_different(noise: float) -> None:
    """1,000 comparisons of five metrics each: at most 1 % with a false worse, and with a false better."""
    rng = np.random.default_rng(11)
    metrics = ("p50", "p90", "p99", "requests_per_second", "accuracy")
    wrong = {"worse": 0, "better": 0}
    for _ in range(1000):
        before, after = campaign(rng, trials=5, noise=noise, metrics=metrics)
        verdicts = {each.verdict for each in compare(before, after, metrics=metrics).changes}
        for verdict in wrong:
            wrong[verdict] += verdict in verdicts
    # 10 of 1,000 are allowed; 18 or more happen by chance in 1 % of such tests
    assert wrong["worse"] < 18
    assert wrong["better"] < 18


def test_judging_several_together_asks_for_more() -> None:
    single = change(P50, [1.0, 1.01, 0.99, 1.0], [1.06, 1.075, 1.045, 1.06], paired=False)
    assert single.verdict == "worse"
    together = judged_together([single] * 40)
    assert {each.verdict for each in together} == {"unknown"}
    assert together[0].p == pytest.approx(min(1.0, 40 * single.p))
    assert together[0].needed is not None
    assert together[0].needed.least > 4
    # the interval that is shown is the one that decides
    assert single.low > 1.02 >= together[0].low
    assert together[0].confidence == pytest.approx(1 - 0.02 / 40)
    assert judged_together([single])[0].verdict == "worse"


@pytest.mark.parametrize("trials", [4, 12, 30])
def test_trials_that_would_decide(trials: int) -> None:
    """Nine in ten ranges hold the number that a known change and a known spread need; where one number is named, nine in
    ten are within 1.5 of it."""
    rng = np.random.default_rng(6)
    margin = math.log(1.02)
    held, named = [], []
    for _ in range(120):
        size, spread = math.log(rng.uniform(0.95, 1.06)), rng.choice([0.01, 0.03])
        estimate = intervals.paired([0.0] * trials, rng.normal(size, spread, trials).tolist(), robust=True)
        needed = trials_needed(estimate, (-margin, margin), 0.98)
        if needed is None:
            continue
        distance = np.array([min(abs(size - margin), abs(size + margin))])
        truth = max(trials + 1, int(count_needed(np.array([spread]), distance, 0.98)[0]))
        held.append(needed.least <= truth and (needed.most is None or truth <= needed.most))
        if needed.about is not None:
            named.append(needed.about / truth)
    assert len(held) > 100
    assert np.mean(held) >= 0.9
    assert len(named) >= 8
    assert np.mean([1 / 1.5 <= ratio <= 1.5 for ratio in named]) >= 0.9


def test_the_error_rate_is_the_one_that_is_promised() -> None:
    assert ERROR_RATE <= 0.01
