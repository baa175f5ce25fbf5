"""Disturbed trials, sessions, order effects and single runs: intervals that say how sure one may be."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trials, read_trials
from bench.analysis.judging.change import change
from bench.analysis.judging.compare import compare
from bench.analysis.judging.gate import LimitsFile, gate
from bench.analysis.statistics import clustered, intervals
from bench.analysis.statistics.clustered import effective
from bench.runs.chunk import Chunk
from bench.runs.run import find_runs
from tests.analysis.simulated import BASE, trial
from tests.recorded import requests, write

P50 = METRICS["p50"]
NEW = BASE._replace(version=2)


def disturbed(rng: np.random.Generator, trials: int, change: float) -> list[float]:
    """1 % noise; one trial in eight takes 1.5 times as long."""
    hits = np.where(rng.random(trials) < 1 / 8, 1.5, 1.0)
    return [float(value) for value in 0.002 * change * hits * np.exp(0.01 * rng.standard_normal(trials))]


def test_one_hit_trial_in_eight_neither_makes_nor_hides_a_change() -> None:
    rng = np.random.default_rng(1)

    def worse(pairs: int, size: float, campaigns: int) -> float:
        found = [
            change(P50, disturbed(rng, pairs, 1.0), disturbed(rng, pairs, size), paired=True).verdict
            for _ in range(campaigns)
        ]
        return found.count("worse") / campaigns

    assert worse(12, 1.05, 500) >= 0.62  # 0.69 in 20,000
    assert worse(12, 1.0, 500) <= 0.01
    assert worse(8, 1.0, 500) <= 0.01


@pytest.mark.parametrize("count", [8, 12, 20])
def test_the_trimmed_mean_is_as_sure_as_it_says_of_normal_values(count: int) -> None:
    rng = np.random.default_rng(count)
    wrong = 0
    for _ in range(2000):
        low, high = intervals.mean_of(rng.standard_normal(count), robust=True).interval(0.9)
        wrong += not low <= 0 <= high
    assert 0.08 <= wrong / 2000 <= 0.12


def test_what_is_mostly_equal_is_not_trimmed_to_certainty() -> None:
    before, after = [1.0] * 10, [1.0] * 8 + [1.2, 1.3]
    assert change(P50, before, after, paired=True).verdict == "unknown"


def test_an_effect_of_the_order_cancels_out() -> None:
    """The first of each pair takes 5 % longer."""
    rng = np.random.default_rng(2)
    later = [at % 2 == 0 for at in range(10)]
    verdicts = {1.0: [], 1.05: []}
    for size, found in verdicts.items():
        for _ in range(200):
            noise = np.exp(0.01 * rng.standard_normal((2, 10)))
            before = 0.002 * noise[0] * np.where(later, 1.05, 1.0)
            after = 0.002 * size * noise[1] * np.where(later, 1.0, 1.05)
            each = change(P50, before.tolist(), after.tolist(), paired=True, later=later)
            assert each.estimate is not None
            found.append(each.verdict)
    assert verdicts[1.05].count("worse") >= 180
    assert verdicts[1.0].count("worse") <= 4
    without = change(P50, before.tolist(), after.tolist(), paired=True)
    assert each.estimate.error < without.estimate.error / 2  # type: ignore[union-attr]


def sessions(rng: np.random.Generator, count: int, each: int, version: int, spread: float = 0.03) -> list:
    found = []
    for session in range(count):
        luck = spread * rng.standard_normal()
        for number in range(each):
            value = 0.002 * math.exp(luck + 0.005 * rng.standard_normal())
            found.append(
                trial(
                    BASE._replace(version=version),
                    {"p50": value},
                    number=100 * version + 10 * session + number,
                    session=f"{version} {session}",
                )
            )
    return found


def test_the_session_is_the_unit_of_a_committed_baseline() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(500):
        (found,) = compare(sessions(rng, 3, 3, 1), sessions(rng, 3, 3, 2), metrics=["p50"]).found
        held += found.changes[0].low <= 1.0 <= found.changes[0].high
        assert found.warnings == []
    assert held >= 0.97 * 500  # 98 % is the truth


def test_a_new_session_differs_as_those_of_the_baseline_do() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(500):
        (found,) = compare(sessions(rng, 4, 3, 1), sessions(rng, 1, 3, 2), metrics=["p50"]).found
        held += found.changes[0].low <= 1.0 <= found.changes[0].high
    assert held >= 0.97 * 500


@pytest.mark.parametrize(
    ("before", "after", "alone"),
    [(1, 3, "baseline"), (1, 1, "baseline"), (2, 1, "candidate"), (3, 1, None), (2, 2, None)],
)
def test_a_side_of_one_session_passes_no_gate(
    tmp_path: Path, before: int, after: int, alone: str | None
) -> None:
    (tmp_path / "limits.toml").write_text("[worse_than_baseline]\np50 = '900 %'\n")
    rng = np.random.default_rng(5)
    candidate, baseline = sessions(rng, after, 6 // after, 2), sessions(rng, before, 6 // before, 1)
    limits = LimitsFile.read(tmp_path / "limits.toml")
    judged = gate(limits, Trials(candidate, [], []), Trials(baseline, [], []))
    assert [warning.check for warning in judged.warnings] == ([] if alone is None else ["one session"])
    assert judged.code == (0 if alone is None else 3)
    if alone is not None:
        assert f"the {alone} has one session" in judged.warnings[0].reason
        assert ("bench baseline add" in judged.warnings[0].remedy) == (alone == "baseline")


def by_second(part: np.ndarray, seconds: int) -> clustered.Seconds:
    each = np.array_split(part, seconds)
    return clustered.Seconds(
        np.array([float(of.sum()) for of in each]), np.array([float(len(of)) for of in each])
    )


def test_independent_requests_count_nearly_as_many_as_they_are() -> None:
    rng = np.random.default_rng(6)
    inflation = [
        30_000 / clustered.effective(*by_second(rng.random(30_000) < 0.01, 30), 0.98) for _ in range(100)
    ]
    assert 1.0 <= np.median(inflation) < 3.5


def test_requests_of_one_stall_are_no_independent_witnesses() -> None:
    beyond = np.zeros(30_000, dtype=bool)
    beyond[12_000:12_400] = True
    assert clustered.effective(*by_second(beyond, 30), 0.98) < 300
    assert clustered.effective(*by_second(beyond[:3000], 3), 0.98) == 0.0


RATE, MU = 300.0, 375.0
"""Of an M/M/1 queue at 80 %, per second."""


def queue(seconds: int, runs: int) -> np.ndarray:
    """Latencies [requests, runs] of a queue, from its steady state on."""
    rng = np.random.default_rng(7)
    wait = np.maximum(0.0, rng.exponential(1 / (MU - RATE), runs) - rng.exponential(1 / MU, runs))
    latency = np.empty((int(RATE * seconds), runs))
    for at in range(len(latency)):
        latency[at] = wait + rng.exponential(1 / MU, runs)
        wait = np.maximum(0.0, latency[at] - rng.exponential(1 / RATE, runs))
    return latency


@pytest.mark.parametrize(("seconds", "runs", "slack", "held"), [(30, 200, 1.0, 0.94), (6, 1000, 1.1, 0.985)])
def test_a_run_of_correlated_requests_holds_its_percentiles(
    seconds: int, runs: int, slack: float, held: float
) -> None:
    """M/M/1 at 80 %: rank intervals of independent requests held the truth in 24 %.

    slack: by how much a limit is away from the truth that must not be broken, or kept, falsely.
    """
    latency = queue(seconds, runs)
    truth, inside = math.log(10) / (MU - RATE), 0
    for run in latency.T:
        ordered, count = np.sort(run), len(run)
        part = by_second(run > ordered[int(0.9 * count) - 1], seconds)
        independent = clustered.of_so_short(clustered.effective(*part, 0.98), seconds)
        low, high = clustered.ranks(90, count, independent, 0.98)
        not_broken = low is None or ordered[low - 1] <= slack * truth
        inside += not_broken and (high is None or truth <= slack * ordered[high - 1])
    assert inside >= held * runs, inside


def test_ranks_hold_the_percentile_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    truth = -math.log(1 - 0.99)
    inside = 0
    for _ in range(1000):
        values = np.sort(rng.exponential(size=2000))
        low, high = clustered.ranks(99.0, 2000, 2000, 0.98)
        assert low is not None
        assert high is not None
        inside += values[low - 1] <= truth <= values[high - 1]
    assert 0.97 <= inside / 1000 <= 0.995
    assert clustered.ranks(99.0, 458, 458, 0.98)[1] is None
    assert clustered.ranks(99.0, 459, 459, 0.98)[1] == 459


@pytest.mark.parametrize(
    ("trials", "failed", "outcome"),
    [
        (1, [], "inconclusive"),
        (4, [], "pass"),
        (4, range(0, 8000, 50), "FAIL"),
        (
            4,
            range(2000, 2016),
            "inconclusive",
        ),  # one incident of 16 says little about how often there are incidents
    ],
)
def test_short_trials_tell_a_share_together(
    tmp_path: Path, trials: int, failed: Sequence[int], outcome: str
) -> None:
    """Each too short to tell how its failures cluster, 14 trials of 4 s without a failure passed no limit of errors."""
    status = np.zeros(8000, dtype=int)
    status[list(failed)] = 14
    for number in range(trials):
        chunks = []
        for second in range(4):
            row = requests(second, count=500, rate=500, start=float(second))
            row["status"] = status[(4 * number + second) * 500 :][:500]
            row["version"] = np.where(row["status"] == 0, 2, -1)
            chunks.append(Chunk.of(**row, keep_samples=False))
        write(tmp_path / f"trial{number}", chunks)
    (tmp_path / "limits.toml").write_text('[limits]\nerror_share = "0.1 %"\n')
    judged = gate(LimitsFile.read(tmp_path / "limits.toml"), read_trials(find_runs([tmp_path])))
    assert [(f.outcome, f.measured) for f in judged.findings] == [(outcome, len(failed) / (2000 * trials))]


def test_a_run_folder_shows_how_sure_it_is(tmp_path: Path) -> None:
    chunks = [
        Chunk.of(
            **requests(i, count=500, rate=500, start=float(i), service=0.05 if i == 20 else 0.002),
            keep_samples=False,
        )
        for i in range(30)
    ]
    write(tmp_path / "one", chunks)
    calm = [
        Chunk.of(**requests(i, count=500, rate=500, start=float(i)), keep_samples=False) for i in range(30)
    ]
    write(tmp_path / "two", calm)
    for name, sure in (("one", False), ("two", True)):
        (only,) = read_trials(find_runs([tmp_path / name])).trials
        assert only.within is not None
        for metric in ("p50", "service_p50", "mean", "requests_per_second"):
            low, high = only.within.interval(metric, 0.98) or (math.nan, math.nan)
            assert low < only.values[metric] < high
        bounded = math.isfinite((only.within.interval("p99", 0.98) or (0, 0))[1])
        assert bounded == sure  # one slow second is one witness, however many requests it had
        assert effective(*only.within.requests_of("error_share"), 0.98) > 0
        assert only.within.interval("accuracy", 0.98) is None


@pytest.mark.parametrize(("present", "stated"), [(1, False), (4, False), (10, True)])
def test_a_version_of_few_seconds_of_a_run_states_no_more_than_these(
    tmp_path: Path, present: int, stated: bool
) -> None:
    """A version that answered in one second of 20 counted all its requests of it as independent."""
    rows = [
        requests(
            second,
            count=500,
            rate=500,
            start=float(second),
            version=3 if second < 8 + present and second >= 8 else 2,
        )
        for second in range(20)
    ]
    write(tmp_path / "run", [Chunk.of(**row, keep_samples=False) for row in rows])
    new = next(t for t in read_trials(find_runs([tmp_path / "run"])).trials if t.identity.version == 3)
    assert new.within is not None
    assert new.within.seconds == present
    for metric in ("p50", "mean", "service_p90"):
        ends = new.within.interval(metric, 0.98)
        assert ends is not None
        assert all(map(math.isfinite, ends)) == stated, metric
    assert (effective(*new.within.requests_of("error_share"), 0.98) > 0) == stated
    (tmp_path / "limits.toml").write_text(
        "goodput_ms = 900\n[limits]\np50_ms = 9\ngoodput = 0.5\n[[cells]]\nversion = 3\nlimits = { p90_ms = 9 }"
    )
    judged = gate(LimitsFile.read(tmp_path / "limits.toml"), read_trials(find_runs([tmp_path / "run"])))
    outcomes = {f.outcome for f in judged.findings if f.identity and f.identity.version == 3}
    assert outcomes == ({"pass"} if stated else {"inconclusive"})


def in_clusters(seconds: int) -> list[Chunk]:
    """Every second a stretch of requests takes 20 ms and more; in one of them some take a second."""
    chunks = []
    for second in range(seconds):
        rows = requests(second, count=500, rate=500, start=float(second), spread=0.05)
        long = np.full(500, 0.002)
        long[:50] = 0.02 * (1 + second / 10)
        if second == 2:
            long[:100] = 1.0
        chunks.append(Chunk.of(**rows | {"done": rows["due"] + long}, keep_samples=False))
    return chunks


@pytest.mark.parametrize(
    ("seconds", "limit", "outcome"),
    [
        (6, "p99_ms = 5", "FAIL"),  # every second holds ten times as many beyond it as are allowed
        (12, "p99_ms = 5", "FAIL"),
        (4, "p99_ms = 5", "inconclusive"),  # nothing shows how it varies
        (6, "p99_ms = 500", "inconclusive"),  # the p99 is of one bad second
        (12, "p90_ms = 5", "inconclusive"),  # about as many are beyond it as are allowed
        (12, "p50_ms = 5", "pass"),
        (12, "p50_ms = 1", "FAIL"),
    ],
)
def test_a_limit_that_every_second_breaks_is_broken_for_certain(
    tmp_path: Path, seconds: int, limit: str, outcome: str
) -> None:
    write(tmp_path / "run", in_clusters(seconds))
    (tmp_path / "limits.toml").write_text(f"[limits]\n{limit}\n")
    judged = gate(LimitsFile.read(tmp_path / "limits.toml"), read_trials(find_runs([tmp_path / "run"])))
    (found,) = judged.findings
    assert found.outcome == outcome, found
    if outcome == "FAIL":
        assert found.low > found.allowed, "the interval that is shown is the one that decides"


def test_the_same_examples_again_tell_nothing_new_of_accuracy(tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text("[limits]\naccuracy = 0.90\n")
    limits = LimitsFile.read(tmp_path / "limits.toml")
    for examples, code in ((500, 3), (10_000, 0)):
        cells = [trial(BASE, {"accuracy": 0.91}, number=i, examples=examples) for i in range(3)]
        assert gate(limits, Trials(cells, [], [])).code == code
