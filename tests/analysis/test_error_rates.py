"""The gate's own errors: spent piece by piece, and as rare as promised."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trials
from bench.analysis.judging.change import change
from bench.analysis.judging.error_rates import Outcomes, _neighbours, replay, simulated
from bench.analysis.judging.gate import LimitsFile, gate
from bench.analysis.statistics.intervals import ERROR_RATE
from bench.analysis.statistics.sequential import FIRST, LEAST, Look, Looks, looks
from tests.analysis.simulated import campaign


@pytest.mark.parametrize("most", range(20))
def test_looks_end_at_the_budget_and_spend_no_more_than_there_is(most: int) -> None:
    found = looks(most)
    if most < LEAST:
        assert found == []
        return
    blocks = [look.blocks for look in found]
    assert blocks[-1] == most
    assert blocks[0] == min(FIRST, most)
    assert blocks == sorted(set(blocks))
    assert all(look.rate > 0 for look in found)
    assert math.fsum(look.rate for look in found) == pytest.approx(ERROR_RATE)


def test_a_budget_of_time_is_spent_to_its_end_and_no_further() -> None:
    """Blocks of uneven length: how many there will be is not known beforehand."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        seconds = np.cumsum(rng.uniform(5, 15, 60))
        fitting = int(np.searchsorted(seconds, 120.0))
        coming = Looks()
        found = [
            coming.after(block, seconds[block - 1] / 120.0, last=block == fitting)
            for block in range(1, fitting + 1)
        ]
        rates = [look.rate for look in found if look is not None]
        assert math.fsum(rates) == pytest.approx(ERROR_RATE)
        assert min(rates) > 0
        assert found[-1] is not None
        assert found[:3] == [None] * 3
    # whatever the clock says, what was spent is not spent again
    late = Looks()
    assert late.after(4, 1.5, last=False) == Look(4, ERROR_RATE, last=False)
    assert late.after(8, 1.7, last=True) is None


def test_looking_again_and_again_does_not_break_a_gate_on_equal_things(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("[worse_than_baseline]\np50 = 0.0\n")
    limits = LimitsFile.read(path)
    broken = naive = 0
    for seed in range(400):
        before, after = campaign(np.random.default_rng(seed), trials=12, noise=0.01)
        codes = [
            gate(limits, Trials(after[:n], [], []), Trials(before[:n], [], []), rate).code
            for n, rate, _ in looks(12)
        ]
        broken += 1 in codes
        values = [[math.log(t.values["p50"]) for t in side] for side in (before, after)]
        naive += any(
            change(
                METRICS["p50"],
                *([math.exp(v) for v in side[:n]] for side in values),
                paired=True,
                tolerance=0.0,
            ).verdict
            == "worse"
            for n in range(2, 13)
        )
    assert broken < 10  # 4 are allowed; 10 happen by chance in 1 % of such tests
    assert naive > 2 * broken  # what looking after every block without that care would do


def test_a_gate_decides_early_where_it_can(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("[worse_than_baseline]\np50 = 0.02\n")
    limits = LimitsFile.read(path)
    needed = []
    for seed in range(100):
        before, after = campaign(np.random.default_rng(seed), trials=12, noise=0.01, change=1.10)
        for n, rate, _ in looks(12):
            if gate(limits, Trials(after[:n], [], []), Trials(before[:n], [], []), rate).code == 1:
                needed.append(n)
                break
    assert len(needed) >= 98
    assert np.median(needed) <= 6


@pytest.mark.parametrize("noise", [0.003, 0.02])
def test_replayed_trials_give_the_promised_rates(noise: float) -> None:
    values = simulated(80, noise=noise, drift=0.05)
    equal = replay("p50", values, injected=1.0, pairs=6, campaigns=500)
    assert equal.campaigns == 500
    assert equal.share("worse")[1] <= ERROR_RATE
    assert equal.share("better")[1] <= ERROR_RATE
    if noise < 0.01:
        assert replay("p50", values, injected=1.05, pairs=6, campaigns=200).share("worse")[0] > 0.95
        faster = replay("requests_per_second", [1 / v for v in values], injected=1.05, pairs=6, campaigns=200)
        assert faster.share("worse")[0] > 0.95


def test_neighbours_share_no_trial() -> None:
    rng = np.random.default_rng(1)
    seen: Counter[int] = Counter()
    for _ in range(500):
        first = _neighbours(9, 3, rng)
        both = [*first.tolist(), *(first + 1).tolist()]
        assert len(set(both)) == 6
        assert min(both) >= 0
        assert max(both) <= 8
        seen.update(both)
    assert len(seen) == 9
    with pytest.raises(ValueError, match="too few"):
        replay("p50", [1.0] * 7, injected=1.0, pairs=4)


def test_shares_have_intervals() -> None:
    outcomes = Outcomes(METRICS["p50"], 1.0, 4, Counter(worse=1, same=99))
    value, low, high = outcomes.share("worse")
    assert value == 0.01
    assert low < 0.01 < high
