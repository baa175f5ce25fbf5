"""Comparisons whose truth is known: intervals that cover it, verdicts that are rarely wrong, pairs that cancel drift."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench import BenchError
from bench.analysis import intervals
from bench.analysis.change import ERROR_RATE, change, judged_together
from bench.analysis.compare import compare, compare_by, match
from bench.analysis.comparison_table import changes_table, markdown, plain, remarks, summary
from bench.analysis.doubt import Doubt
from bench.analysis.limit import Limit, judge_relative
from bench.analysis.metrics import METRICS
from bench.analysis.needed import count_needed, trials_needed
from bench.analysis.ranking import pareto, ranking
from bench.analysis.trials import Trial, read_trials
from bench.chunk import Chunk
from bench.manifest import Manifest
from bench.run import find_runs
from tests.analysis.simulated import BASE, campaign, trial
from tests.recorded import requests, write

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
    theirs = stats.ttest_ind(second, first, equal_var=False)
    ours = intervals.unpaired(first, second)
    assert ours.freedom == pytest.approx(theirs.df)
    assert 2 * min(ours.p_above(0), ours.p_below(0)) == pytest.approx(theirs.pvalue)
    ends = theirs.confidence_interval(0.98)
    assert ours.interval(0.98) == pytest.approx((ends.low, ends.high))
    third = rng.normal(0.5, 2, 7)
    theirs = stats.ttest_rel(third, first)
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
    theirs = stats.binomtest(successes, count).proportion_ci(0.98, method="exact")
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
        (RATE, [5.0, 5.0], [0.0, 0.0], "unknown"),
        (P50, [], [1.0], "unknown"),
    ],
)
def test_verdicts(metric: object, before: list[float], after: list[float], verdict: str) -> None:
    found = change(metric, before, after, paired=False)  # type: ignore[arg-type]
    assert found.verdict == verdict
    if (
        not all(map(math.isfinite, before + after))
        or min(map(len, (before, after))) < 2
        or (0.0 in after[:1] and metric is RATE)
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


def test_the_range_of_trials_that_would_decide_holds_the_truth() -> None:
    """Nine in ten ranges hold the number that a known change and a known spread need."""
    rng = np.random.default_rng(6)
    margin = math.log(1.02)
    held = told = 0
    for trials in (4, 12, 30):
        for _ in range(80):
            size, spread = math.log(rng.uniform(0.95, 1.06)), rng.choice([0.01, 0.03])
            estimate = intervals.paired(
                [0.0] * trials, rng.normal(size, spread, trials).tolist(), robust=True
            )
            needed = trials_needed(estimate, (-margin, margin), 0.98)
            if needed is None:
                continue
            distance = np.array([min(abs(size - margin), abs(size + margin))])
            truth = max(trials + 1, int(count_needed(np.array([spread]), distance, 0.98)[0]))
            told += 1
            held += needed.least <= truth and (needed.most is None or truth <= needed.most)
            assert needed.about is None or needed.least <= needed.about <= (needed.most or 0)
    assert told > 100
    assert held >= 0.9 * told


def test_what_differs_is_what_is_compared() -> None:
    rng = np.random.default_rng(1)
    before, after = campaign(rng, trials=3)
    (found,) = compare(before, after, metrics=["p50"]).found
    assert found.varied == ("version",)
    assert found.title == "version 1 → version 2 (batch 8, embedded, 16 users)"
    same = compare(
        before, [trial(BASE, {"p50": 0.002}, number=9 + i) for i in range(2)], metrics=["p50"]
    ).found[0]
    assert same.varied == ()
    assert not same.paired


def test_cells_are_matched_and_what_is_alone_is_told() -> None:
    before = [trial(BASE._replace(batch=b), {"p50": 0.001 * b}, number=i) for i in range(3) for b in (1, 8)]
    after = [
        trial(BASE._replace(version=2, batch=b), {"p50": 0.001 * b}, number=i)
        for i in range(3)
        for b in (8, 32)
    ]
    found = compare(before, after, metrics=["p50"])
    assert [(c.before.batch, c.after.batch) for c in found.found] == [(8, 8)]
    assert {(side, identity.batch) for side, identity in found.unmatched} == {
        ("baseline", 1),
        ("candidate", 32),
    }
    with pytest.raises(BenchError, match="differs in version itself"):
        compare([*before, trial(BASE._replace(version=5), {"p50": 1.0})], after)


def test_by_a_part_of_the_identity() -> None:
    trials = [
        trial(BASE._replace(version=v), {"p50": 0.002 * v}, block=i) for i in range(4) for v in (1, 2, 3)
    ]
    found = compare_by(trials, "version", metrics=["p50"])
    assert [(c.before.version, c.after.version) for c in found.found] == [(1, 2), (1, 3)]
    assert all(c.paired for c in found.found)
    other = compare_by(trials, "version", baseline="3", metrics=["p50"])
    assert {c.before.version for c in other.found} == {3}
    with pytest.raises(BenchError, match="version is one of 1, 2, 3"):
        compare_by(trials, "version", baseline="7")
    with pytest.raises(BenchError, match="all trials have the same"):
        compare_by(trials, "batch")


def test_all_comparisons_are_corrected_once() -> None:
    """Three versions against the first: six changes are judged as a family of six, not of two and then of six."""
    rng = np.random.default_rng(12)
    trials = [
        trial(
            BASE._replace(version=v),
            {
                m: 0.002 * (1.06 if v == 2 else 1) * math.exp(0.01 * rng.standard_normal())
                for m in ("p50", "p90")
            },
            block=i,
        )
        for i in range(5)
        for v in (1, 2, 3, 4)
    ]
    found = compare_by(trials, "version", metrics=["p50", "p90"]).changes
    alone = [change(e.metric, *(np.exp(side).tolist() for side in e.sides), paired=True).p for e in found]
    assert [each.p for each in found] == pytest.approx(intervals.holm(alone))
    for each in found:
        beyond = each.low > 1.02 if each.metric is P50 else each.low > 1.03
        assert beyond == (each.verdict == "worse")


def test_doubts_and_other_surroundings_are_told() -> None:
    hot = {"machine": {"cpu_model": "A", "governor": "performance"}, "payload": {"sha256": "1" * 64}}
    cold = {"machine": {"cpu_model": "B", "governor": "performance"}, "payload": {"sha256": "2" * 64}}
    doubted = Doubt("behind", "requests left late", "lower the rate")
    before = [trial(BASE, {"p50": 0.002}, manifest=hot, number=i) for i in range(3)]
    after = [
        trial(
            BASE._replace(version=2), {"p50": 0.002}, manifest=cold, doubts=(doubted,) if i else (), number=i
        )
        for i in range(3)
    ]
    (found,) = compare(before, after, metrics=["p50"]).found
    told = [str(doubt) for doubt in found.doubts]
    assert any("candidate, 2 of 3 trials: requests left late" in text for text in told)
    assert any("CPU differs: A and B" in text for text in told)
    assert not any("payload" in text for text in told)  # another version is asked for in other bytes
    other = [trial(BASE, {"p50": 0.002}, manifest=cold | {"machine": hot["machine"]}, number=9)]
    with pytest.raises(BenchError, match="payload: 1111111111111111 and 2222222222222222"):
        compare(before, other, metrics=["p50"])
    sown = [
        replace(each, manifest=Manifest.of({**each.manifest.raw, "seed": 7})) for each in other
    ]  # drawn anew: not the same pool
    (drawn,) = compare(before, sown, metrics=["p50"]).found
    assert any("payload differs" in str(doubt) for doubt in drawn.doubts)


def test_equal_numbers_are_not_judged_twice() -> None:
    values = {"p50": 0.002, "service_p50": 0.002, "requests_per_second": 10.0, "inferences_per_second": 80.0}
    before = [trial(BASE, values, number=i) for i in range(3)]
    (found,) = compare(
        before, [trial(BASE._replace(version=2), values, number=3 + i) for i in range(3)]
    ).found
    assert [each.metric.name for each in found.changes] == ["p50", "requests_per_second"]
    larger = [trial(BASE._replace(batch=16), values, number=6 + i) for i in range(3)]
    (batch,) = compare(before, larger, by=["batch"]).found
    assert "inferences_per_second" in [each.metric.name for each in batch.changes]


def test_tables_tell_every_verdict() -> None:
    rng = np.random.default_rng(4)
    before, after = campaign(rng, trials=4, change=1.20, metrics=("p50", "p99"))
    for each in after[:1]:
        each.values["accuracy"] = 0.9
    found = compare(before, after, metrics=["p50", "p99", "accuracy"])
    drawn = changes_table(found.found[0])
    by_title = {column.title: column.texts for column in drawn.columns}
    assert by_title["verdict"] == ["WORSE", "WORSE", "unknown"]
    assert by_title["baseline"][2] == "–"
    assert any(
        "accuracy: not measured in 4 of 4 trials of the baseline" in text for text in remarks(found.found[0])
    )
    assert summary(found).startswith("worse: p50 +")
    told = plain(found)["comparisons"][0]["changes"][0]
    assert told["low"] <= told["size"] <= told["high"]
    assert told["bootstrap_low"] <= told["size"] <= told["bootstrap_high"]
    assert markdown(found).count("| p50 |") == 1


def test_ranking_shares_places_that_cannot_be_told_apart() -> None:
    rng = np.random.default_rng(8)
    trials = {}
    for name, median in (("a", 0.002), ("b", 0.002), ("c", 0.003)):
        identity = BASE._replace(server=name)
        trials[identity] = [
            trial(identity, {"p99": median * math.exp(0.01 * rng.standard_normal())}, block=i)
            for i in range(6)
        ]
    trials[BASE._replace(server="d")] = [trial(BASE._replace(server="d"), {})]
    places = ranking(trials, "p99")
    assert [(place.rank, place.identity.server) for place in places] in (
        [(1, "a"), (1, "b"), (3, "c")],
        [(1, "b"), (1, "a"), (3, "c")],
    )


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    points = {"slow": (0.009, 100.0), "fast": (0.001, 50.0), "best": (0.002, 90.0), "beaten": (0.003, 80.0)}
    groups = {
        BASE._replace(server=name): [
            trial(BASE._replace(server=name), {"p99": p, "inferences_per_second": r})
        ]
        for name, (p, r) in points.items()
    }
    assert {identity.server for identity in pareto(groups)} == {"slow", "fast", "best"}


def test_trials_are_read_from_run_folders(tmp_path: Path) -> None:
    for block in (1, 2):
        for version in (1, 2):
            chunks = [
                Chunk.of(
                    **requests(10 * block + i, count=500, rate=500, start=float(i), version=version),
                    keep_samples=False,
                )
                for i in range(6)
            ]
            cell = {
                "server": "cpu",
                "build": "onednn",
                "model": "mnist",
                "version": version,
                "batch": 1,
                "load": "8 users",
            }
            write(tmp_path, chunks, experiment={"name": "v", "block": block, "trial": block, "cell": cell})
    write(tmp_path, [])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    found = read_trials(find_runs([tmp_path]))
    assert len(found.trials) == 4
    assert len(found.empty) == 1
    assert len(found.unreadable) == 1
    identity = found.trials[0].identity
    assert (identity.server, identity.build, identity.load) == ("cpu", "onednn", "8 users")
    assert {each.block for each in found.trials} == {
        (str(tmp_path.resolve()), 1),
        (str(tmp_path.resolve()), 2),
    }
    (compared,) = compare_by(found.trials, "version").found
    assert compared.paired
    assert compared.trials == (2, 2)


def test_the_error_rate_is_the_one_that_is_promised() -> None:
    assert ERROR_RATE <= 0.01


@pytest.mark.parametrize(
    ("manifest", "one_run", "judged"),
    [
        ({"load": {"kind": "closed"}, "duet": {"arm": 1}}, False, False),
        ({"load": {"kind": "poisson"}, "duet": {"arm": 1}}, False, True),
        ({"load": {"kind": "closed"}}, False, True),
        ({"load": {"kind": "closed"}}, True, False),
        ({"load": {"kind": "closed", "turns": {"names": ["a", "b"], "seconds": 3}}}, True, True),
    ],
)
def test_throughput_of_what_the_same_users_sent_in_turn_is_not_judged(
    manifest: dict[str, object], one_run: bool, judged: bool
) -> None:
    """In a closed loop both get equally many requests, however slow one of them is."""
    sides: list[list[Trial]] = []
    for version, p50 in ((1, 0.002), (2, 0.003)):
        identity = BASE._replace(version=version)
        values = {"p50": p50, "requests_per_second": 1000.0}
        sides.append(
            [
                trial(
                    identity,
                    values,
                    block=None if one_run else at,
                    manifest=manifest,
                    number=at + (0 if one_run else 10 * version),
                )
                for at in range(4)
            ]
        )
    (found,) = compare(*sides, metrics=["p50", "requests_per_second"]).found
    assert found.paired
    assert [each.metric.name for each in found.changes] == ["p50", "requests_per_second"][: 1 + judged]
    (pair,) = match(*sides)[0]
    limit = Limit(METRICS["requests_per_second"], 0.05, True, None, "worse_than_baseline.requests_per_second")
    assert (judge_relative(limit, pair).outcome == "unknown") == (not judged)
