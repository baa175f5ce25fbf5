"""Comparisons of runs: what is matched, corrected, told, ranked and read."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import BenchError
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trial, read_trials
from bench.analysis.judging.change import change
from bench.analysis.judging.compare import Comparison, Comparisons, compare, compare_by, match
from bench.analysis.judging.limit import Limit, judge_relative
from bench.analysis.judging.ranking import pareto, ranking
from bench.analysis.reading.metric import COST
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.showing.comparison_table import (
    changes_table,
    confidence_text,
    markdown,
    overview,
    plain,
    remarks,
    summary,
    warnings_together,
)
from bench.analysis.statistics import intervals
from bench.runs.chunk import Chunk
from bench.runs.manifest import Manifest
from bench.runs.run import find_runs
from tests.analysis.simulated import BASE, campaign, trial
from tests.recorded import requests, write

P50 = METRICS["p50"]


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


def test_several_models_are_told_apart_and_stand_in_order() -> None:
    cells = [("wide", 32), ("small", 256), ("wide", 1)]
    sides = [
        [
            trial(BASE._replace(version=v, model=model, batch=batch), {"p50": 0.001}, block=i)
            for i in range(3)
            for model, batch in cells
        ]
        for v in (1, 2)
    ]
    assert [each.title.partition(" (")[2] for each in compare(*sides, metrics=["p50"]).found] == [
        "model small, batch 256, embedded, 16 users)",
        "model wide, batch 1, embedded, 16 users)",
        "model wide, batch 32, embedded, 16 users)",
    ]


def test_a_large_change_has_its_interval_and_a_wide_one_has_none() -> None:
    """As of a GPU: forty times as fast, within 1 %."""
    rng = np.random.default_rng(2)

    def texts(trials: int, change: float, noise: float) -> str:
        sides = campaign(rng, trials=trials, change=change, noise=noise)
        (found,) = compare(*sides, metrics=["p50"]).found
        return changes_table(found).columns[4].texts[0]

    low, _, high = texts(8, 0.025, 0.01).removesuffix(" %").partition(" … ")
    assert -97.8 < float(low) <= float(high) < -97.2
    assert texts(2, 1.0, 0.3) == "< -90 … > +900 %"


@pytest.mark.parametrize(
    ("manifest", "advice"),
    [
        ({"target": {"protocol": "oip"}}, r"--by server --by protocol$"),
        ({"load": {"transport": "grpcio"}, "target": {"protocol": "oip"}}, r"--by server --by protocol$"),
        ({"target": {"kind": "b", "flags": "x", "protocol": "oip"}}, r"--by server --by protocol$"),
    ],
)
def test_what_differs_too_is_named_as_it_is_declared(manifest: dict[str, Any], advice: str) -> None:
    """As after `bench ab ONE --against OTHER --protocol tfs,oip`."""
    before = [
        trial(BASE, {"p50": 0.001}, number=i, manifest={"load": {"transport": "native"}}) for i in range(2)
    ]
    after = [
        trial(
            BASE._replace(server="other"),
            {"p50": 0.001},
            number=9 + i,
            manifest={"load": {"transport": "native"}} | manifest,
        )
        for i in range(2)
    ]
    with pytest.raises(BenchError, match=advice):
        compare(before, after, by=["server"], metrics=["p50"])
    assert compare(before, after, by=re.findall(r"--by (\w+)", advice), metrics=["p50"]).found


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


def test_warnings_and_other_surroundings_are_shown() -> None:
    hot = {"machine": {"cpu_model": "A", "governor": "performance"}, "payload": {"sha256": "1" * 64}}
    cold = {"machine": {"cpu_model": "B", "governor": "performance"}, "payload": {"sha256": "2" * 64}}
    unlike = RunWarning("behind", "requests left late", "lower the rate")
    before = [trial(BASE, {"p50": 0.002}, manifest=hot, number=i) for i in range(3)]
    after = [
        trial(
            BASE._replace(version=2),
            {"p50": 0.002},
            manifest=cold,
            warnings=(unlike,) if i else (),
            number=i,
        )
        for i in range(3)
    ]
    (found,) = compare(before, after, metrics=["p50"]).found
    told = [str(warning) for warning in found.warnings]
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
    assert any("payload differs" in str(warning) for warning in drawn.warnings)


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


def test_costs_are_judged_where_prices_differ_or_they_are_named() -> None:
    """At one price they are throughputs in other words."""

    def side(price: float | None, version: int, cost: float) -> list[Trial]:
        values = {"requests_per_second": 10.0, COST: cost}
        manifest: dict[str, object] = {"experiment": {"server": {"price_per_hour": price}}}
        return [
            trial(BASE._replace(version=version), values, manifest=manifest, number=10 * version + i)
            for i in range(3)
        ]

    def judged(price: float | None, cost: float, **chosen: Any) -> dict[str, str]:
        (found,) = compare(side(0.5, 1, 0.02), side(price, 2, cost), **chosen).found
        return {each.metric.name: each.verdict for each in found.changes}

    assert judged(0.5, 0.02) == {"requests_per_second": "same"}
    assert judged(None, math.nan) == {"requests_per_second": "same"}
    assert judged(1.0, 0.04) == {"requests_per_second": "same", COST: "worse"}
    assert judged(0.5, 0.02, metrics=[COST]) == {COST: "same"}


def test_tables_tell_every_verdict() -> None:
    rng = np.random.default_rng(4)
    before, after = campaign(rng, trials=4, change=1.20, metrics=("p50", "p99"))
    for each in after[:1]:
        each.values["accuracy"] = 0.9
    found = compare(before, after, metrics=["p50", "p99", "accuracy"])
    drawn = changes_table(found.found[0])
    by_title = {column.title: column.texts for column in drawn.columns}
    assert by_title["verdict"] == ["WORSE", "WORSE", "inconclusive"]
    assert by_title["baseline"][2] == "–"
    assert any(
        "accuracy: not measured in 4 of 4 trials of the baseline" in text for text in remarks(found.found[0])
    )
    assert summary(found).startswith("worse: p50 +")
    told = plain(found)["comparisons"][0]["changes"][0]
    assert told["low"] <= told["size"] <= told["high"]
    assert told["bootstrap_low"] <= told["size"] <= told["bootstrap_high"]
    assert markdown(found).count("| p50 |") == 1


def test_many_comparisons_are_one_table_with_a_row_each() -> None:
    """Nine batch sizes were 406 lines of a terminal."""
    rng = np.random.default_rng(7)
    warning = RunWarning("behind", "requests sent late", "lower the rate")
    found: list[Comparison] = []
    for batch, factor in ((2, 1.0), (8, 1.3), (32, 0.5)):
        before, after = campaign(rng, trials=6, change=factor, metrics=("p50", "p99"))
        (each,) = compare(before, after, metrics=["p50", "p99"]).found
        after_of = each.after._replace(batch=batch)
        found.append(replace(each, after=after_of, varied=("batch",), warnings=[warning, warning]))
    together = Comparisons(found, [])
    assert overview(Comparisons(found[:2], [])) is None
    drawn = overview(together)
    assert drawn is not None
    assert [column.title for column in drawn.columns] == ["batch", "p50", "p99"]
    same, worse, better = drawn.columns[1].texts
    assert worse.startswith("+")
    assert worse.endswith(" % WORSE")
    assert better.endswith(" % better")
    assert not same.endswith(("WORSE", "better"))
    assert drawn.columns[1].alarms == [False, True, False]
    (told,) = warnings_together(together)
    assert told.reason == "3 of 3 comparisons, such as requests sent late"


def test_no_interval_is_one_of_all() -> None:
    assert confidence_text([0.99975, 0.98]) == "98 to 99.97 % interval"


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
    assert (judge_relative(limit, pair).outcome == "inconclusive") == (not judged)
