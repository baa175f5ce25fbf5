"""The race of settings on surfaces with known throughput, its answer, and what parameters did."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading.cells import cells
from bench.analysis.showing.tuning_table import settings_table
from bench.analysis.showing.tuning_text import sentences
from bench.analysis.statistics.front import front
from bench.analysis.tuning.answer import Measurements, Raced, answer
from bench.analysis.tuning.conclusion import Pairs, best_of, gain, outcome
from bench.analysis.tuning.effects import Observation, effects
from bench.analysis.tuning.measured import Measured, measured
from bench.analysis.tuning.race import ranked, rounds, survivors
from bench.analysis.tuning.standing import Standing
from bench.config.tune import Objective
from bench.runs.chunk import Chunk
from bench.runs.jsonl import json_text
from bench.runs.run import Run, RunWriter
from bench.runs.tuning import Gain, Outcome, TunedSetting, Tuning
from tests.analysis.surfaces import DEFAULT, flat, grid_trials, race, surface
from tests.recorded import end, requests, write


def test_a_race_finds_the_best_in_a_quarter_of_the_time_of_a_grid() -> None:
    """Short form of `python -m tests.benchmarks.tune`."""
    near = 0
    for seed in range(10):
        truth = surface(seed)
        raced = race(truth, seed)
        near += truth[raced.chosen] >= 0.97 * max(truth.values())
        assert raced.trials <= 0.25 * grid_trials(truth)
        assert raced.outcome == "gain"
    assert near >= 9


def test_no_gain_is_claimed_where_nothing_matters() -> None:
    assert "gain" not in [race(flat(), seed).outcome for seed in range(20)]
    calm = [race(flat(), seed, spread=0.007).outcome for seed in range(20)]
    assert "gain" not in calm
    assert calm.count("none") > 10


def test_the_rounds_get_shorter_and_the_last_has_its_own_blocks() -> None:
    planned = rounds(48, 12)
    assert [each.settings for each in planned] == [48, 16, 6, 2]
    assert planned[-1].blocks == 12
    assert sum(each.trials for each in planned) <= 0.25 * 49 * 12
    assert [tuple(each) for each in rounds(1, 5)] == [(1, 5)]
    assert [tuple(each) for each in rounds(2, 5)] == [(2, 5)]
    for settings in range(3, 257):
        planned = rounds(settings, 12)
        assert [each.settings for each in planned] == sorted(
            {each.settings for each in planned}, reverse=True
        )
        assert all(1 <= each.blocks <= 12 for each in planned)


def test_settings_are_compared_in_the_blocks_that_they_have_in_common() -> None:
    """A block in which all are slow must not count against those that were in it."""
    scores = {"old": {1: 100.0, 2: 200.0}, "new": {2: 190.0}, "none": {}}
    assert ranked(scores, ["new", "old", "none"]) == ["old", "new"]
    assert survivors(scores, ["new", "old"], 1) == ["old"]
    assert ranked({"a": {1: 0.0}, "b": {1: 1.0}}, ["a", "b"]) == ["b", "a"]
    assert ranked({}, ["a"]) == []


def test_the_front_holds_what_no_other_one_beats_in_both() -> None:
    points = {"fast": (0.02, 100.0), "calm": (0.01, 50.0), "bad": (0.02, 50.0), "twin": (0.02, 100.0)}
    assert front(points) == ["fast", "calm", "twin"]


LEVEL = Objective(None, 0.99, 0.05, "p99 <= 50 ms")


def recorded(folder: Path, *, cpu: float = 0.2, **changes: Any) -> Run:
    """Ten seconds of 200 requests of four examples each."""
    writer = RunWriter.create(folder, "mnist", None, {"load": {"kind": "closed", "users": 4}})
    for second in range(10):
        part = requests(second, count=200, rate=200, start=float(second), batch=4, **changes)
        writer.append(0, Chunk.of(**part))
        writer.telemetry(second + 0.5, source="worker 0", cpu_seconds=cpu * second)
    end(writer, stopped=10.0)
    return Run.open(writer.path)


def counted(run: Run, objective: Objective = LEVEL) -> Measured:
    found = measured(run, objective)
    assert isinstance(found, Measured)
    return found


def test_a_trial_counts_by_so_much_less_as_it_misses_the_service_level(tmp_path: Path) -> None:
    fine, bad = (recorded(tmp_path, errors=share) for share in (0.004, 0.04))
    for run, factor in ((fine, 1.0), (bad, 0.01)):
        (cell,) = cells(run)
        failed = METRICS["error_share"].of(cell)
        found = counted(run)
        assert found.throughput == pytest.approx(METRICS["inferences_per_second"].of(cell))
        assert found.in_time == pytest.approx(1 - failed)
        assert found.score == pytest.approx(found.throughput * (factor / failed if factor < 1 else 1.0))
        assert found.limit == ""
    slow = counted(recorded(tmp_path, service=0.2, spread=0.0))
    assert (slow.throughput, slow.in_time, slow.score) == (0.0, 0.0, 0.0)


def test_a_latency_counts_by_its_inverse(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    (cell,) = cells(run)
    assert counted(run, Objective(90.0)).score == pytest.approx(1 / METRICS["p90"].of(cell))
    failing = counted(recorded(tmp_path, errors=0.3), Objective(90.0))
    assert failing.score == 0.0
    few = write(tmp_path, [Chunk.of(**requests(1, count=50, rate=10))])
    assert "do not support p99" in str(measured(few, Objective(99.0)))


def test_a_trial_names_the_load_generator_where_it_was_the_limit(tmp_path: Path) -> None:
    assert "used 97% of a core" in counted(recorded(tmp_path, cpu=0.97)).limit


def test_several_loads_count_by_the_one_that_suits_a_setting() -> None:
    standing = Standing()
    for block, (few, many) in enumerate([(10.0, 12.0), (10.0, 9.0)], 1):
        for load, score in (("4 users", few), ("32 users", many)):
            standing.add("s1", block, load, Measured(score, score, 0.01, 1.0, math.nan))
    standing.add("s2", 1, "4 users", "the server ended")
    assert standing.scores([1, 2]) == {"s1": {1: 12.0, 2: 10.0}}
    assert standing.best_load("s1") == "32 users"
    assert [each.score for each in standing.under_best_load("s1", [2])] == [9.0]
    assert standing.able(["s1", "s2"]) == ["s1"]


def pairs(ratio: float, spread: float = 0.005, count: int = 12, **changes: Any) -> Pairs:
    rng = np.random.default_rng(7)
    before = [100 * math.exp(rng.normal(0, 0.05)) for _ in range(count)]
    after = [value * ratio * math.exp(rng.normal(0, spread)) for value in before]
    return Pairs("s1", before, after, [bool(at % 2) for at in range(count)])._replace(**changes)


@pytest.mark.parametrize(
    ("ratio", "spread", "expected"),
    [
        (1.3, 0.005, "gain"),
        (1.0, 0.005, "none"),
        (0.8, 0.005, "none"),
        (1.02, 0.03, "undecided"),
        (1.025, 0.01, "undecided"),
    ],
)
def test_a_gain_is_one_beyond_the_tolerance(ratio: float, spread: float, expected: str) -> None:
    found = gain(pairs(ratio, spread), 2)
    assert found.low is not None
    assert found.high is not None
    assert found.low < ratio < found.high
    assert outcome([found], {}, DEFAULT)[0] == expected
    assert (found.needed_low is not None) == (expected == "undecided")


def test_an_interval_that_shows_nothing_is_open() -> None:
    wild = gain(Pairs("s1", [1.0, 1e6], [1e6, 1.0], [True, False]), 2)
    assert (wild.low, wild.high) == (pytest.approx(0.0), None)
    assert outcome([wild], {}, DEFAULT)[0] == "undecided"


def test_the_interval_allows_for_the_choice_of_the_best() -> None:
    alone, of_two = gain(pairs(1.1), 1), gain(pairs(1.1), 2)
    assert (alone.confidence, of_two.confidence) == (pytest.approx(0.98), pytest.approx(0.99))
    assert (of_two.low or 0) < (alone.low or 0) < (alone.high or 0) < (of_two.high or 0)


def test_nothing_is_concluded_where_the_load_generator_was_the_limit() -> None:
    """But a gain is one, at least so large."""
    same, more = gain(pairs(1.0), 2), gain(pairs(1.3), 2)
    assert outcome([same], {DEFAULT: "no time left"}, DEFAULT) == ("load generator", "no time left")
    assert outcome([same], {"s1": "no time left"}, DEFAULT)[0] == "load generator"
    assert outcome([more], {DEFAULT: "no time left"}, DEFAULT)[0] == "gain"


def test_a_gain_that_cannot_be_known_is_none_of_1() -> None:
    for found, reason in (
        (gain(pairs(1.3, count=1), 2), "1 block in common"),
        (gain(pairs(1.3, other=[0.0] * 12), 2), "s1 answered nothing in time in 12 of 12 blocks"),
        (gain(pairs(1.3, reason="default failed: no such image"), 2), "no such image"),
    ):
        assert found.ratio is None
        assert reason in found.reason
        assert outcome([found], {}, DEFAULT)[0] == "undecided"
    assert best_of([Gain(setting="a", blocks=0, reason="x")]) is None


def observed(values: dict[str, list[Any]], size: dict[str, float], spread: float = 0.0) -> list[Observation]:
    rng = np.random.default_rng(3)
    return [
        Observation(
            dict(zip(values, each, strict=True)),
            block,
            100
            * (1 + 0.1 * block)
            * math.prod(size.get(f"{n}={v}", 1.0) for n, v in zip(values, each, strict=True))
            * math.exp(rng.normal(0, spread)),
        )
        for block in (1, 2)
        for each in itertools.product(*values.values())
    ]


def test_effects_are_those_that_were_put_in() -> None:
    values = {"batch": [1, 8, 64], "wait": [0, 1000], "sizes": [[], [8]]}
    size = {"batch=8": 1.5, "batch=64": 2.0, "wait=1000": 0.8}
    exact = effects(observed(values, size), values)
    assert {f"{e.parameter}={e.value}": pytest.approx(e.ratio) for e in exact} == {
        "batch=8": 1.5, "batch=64": 2.0, "wait=1000": 0.8, "sizes=[8]": 1.0,
    }  # fmt: skip
    noisy = effects(observed(values, size, spread=0.05), values)
    for each in noisy:
        assert each.low is not None
        assert each.high is not None
        assert each.low < size.get(f"{each.parameter}={each.value}", 1.0) < each.high


def test_effects_that_cannot_be_told_apart_are_left_out() -> None:
    together = [Observation({"a": n, "b": n, "c": m}, 1, 10.0 * n * m) for n in (1, 2) for m in (1, 3)]
    found = effects(together, {"a": [1, 2], "b": [1, 2], "c": [1, 3]})
    assert [(each.parameter, pytest.approx(each.ratio)) for each in found] == [("c", 3.0)]
    assert effects([], {"a": [1, 2]}) == []
    two = [Observation({"a": n}, 1, float(n)) for n in (1, 2)]
    (only,) = effects(two, {"a": [1, 2]})
    assert (only.ratio, only.low, only.high) == (pytest.approx(2.0), None, None)


def result(won: Gain | None, how: Outcome, **changes: Any) -> Tuning:
    """Of a default, and of one setting that was compared with it."""
    settings = [
        TunedSetting(name="default", server="mine", batch=1, values={}, round=1, blocks=12, score=50, throughput=50, p99=0.02),
        TunedSetting(
            name="s1", server="s1", batch=1, values={"intra_op": 2, "allowed_batch_sizes": [8]}, round=1, blocks=12,
            score=100, throughput=65.5, p99=0.01,
        ),
    ]  # fmt: skip
    found = Tuning(
        objective="x", outcome=how, tolerance=0.02, best="s1", gains=[] if won is None else [won], settings=settings,
        effects=[], effect_confidence=0.95, trials=24, grid_trials=24, remarks=[],
    )  # fmt: skip
    return found.model_copy(update=changes)


@pytest.mark.parametrize(
    ("tuning", "expected"),
    [
        (
            result(gain(pairs(1.3), 2), "gain"),
            "s1 (intra_op 2, allowed_batch_sizes [8]) beats the default by 30 % (29 to 30 % in a 99 % interval, "
            "12 blocks); 65.5 examples/s with p99 10.0 ms, the default 50.0 examples/s with p99 20.0 ms",
        ),
        (
            result(gain(pairs(2.0), 2), "gain", percentile=99.0),
            "beats the default by a 50 % lower p99 (50 to 50 % in a 99 % interval, 12 blocks); p99 10.0 ms, the default "
            "p99 20.0 ms",
        ),
        (
            result(gain(pairs(1.0), 2), "none"),
            "nothing beats the default by more than 2 %: the best, s1 (intra_op 2, allowed_batch_sizes [8]), gains ",
        ),
        (result(gain(pairs(1.02, 0.03), 2), "undecided"), "which may be no more than 2 %; "),
        (
            result(gain(pairs(1.3, count=1), 2), "undecided"),
            "inconclusive: nothing is known of the gain of s1 (intra",
        ),
        (
            result(None, "unfinished"),
            "unfinished; the best so far: s1 (intra_op 2, allowed_batch_sizes [8]): 65.5",
        ),
        (
            result(None, "load generator", reason="no time left"),
            "no answer: the load generator was the limit (no time",
        ),
        (result(None, "unfinished", best=None), "inconclusive: no setting was measured"),
    ],
)
def test_the_answer_in_a_sentence(tuning: Tuning, expected: str) -> None:
    first, *_, last = sentences(tuning)
    assert expected in first
    assert last == "24 trials"
    spared = sentences(tuning.model_copy(update={"grid_trials": 100}))[-1]
    assert ("; all 2 settings in as many blocks" in spared) is (tuning.outcome != "unfinished")
    assert Tuning.model_validate_json(json_text(tuning.model_dump(by_alias=True))) == tuning


def test_tables_name_settings_that_failed_or_miss_the_service_level() -> None:
    told = result(None, "unfinished", service_level="p99 <= 5 ms")
    failed = told.settings[1].model_copy(update={"reason": "the server ended", "in_time": None})
    late = told.settings[0].model_copy(update={"in_time": 0.9, "score": 5.0})
    table = settings_table(told.model_copy(update={"settings": [late, failed]}))
    assert table is not None
    columns = {column.title: column for column in table.columns}
    assert columns["in time"].alarms == [True, False]
    assert columns[""].texts == ["", "failed"]
    assert columns["intra_op"].texts == ["–", "2"]


@pytest.mark.parametrize(("ratio", "outcome"), [(2.0, "gain"), (1.0, "load generator")])
def test_a_gain_beside_a_slow_load_generator_is_one_at_the_least(ratio: float, outcome: str) -> None:
    standing = Standing()
    for block in range(1, 7):
        for name, score in (("default", 100.0 + block), ("s1", ratio * (100 + block))):
            trial = Measured(score, score, 0.01, 1.0, math.nan, "CPU-starved", "more cores")
            standing.add(name, block, "4 users", trial)
    found = answer(
        Measurements(
            settings=[("default", "mine", 1, {}), ("s1", "s1", 1, {"a": 1})],
            parameters={"a": [1]},
            objective=LEVEL,
            standing=standing,
            rounds=[Raced(["s1"], range(1, 7))],
            later=lambda _, block: block % 2 == 0,
            final_blocks=6,
            loads=1,
            finished=True,
        )
    )
    assert found.outcome == outcome
    assert any("gains at least that much; more cores" in text for text in found.remarks) is (
        outcome == "gain"
    )
