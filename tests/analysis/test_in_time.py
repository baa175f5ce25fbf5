"""One pair of a duet: intervals that hold the truth where seconds resemble each other, and a warning that it is one start."""

from pathlib import Path

import numpy as np
import pytest

from bench.analysis.grouping.in_time import stretches
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.change import change
from bench.analysis.judging.compare import compare_by
from bench.runs.histogram import Histogram
from bench.runs.run import find_runs
from tests.benchmarks.history_errors import NOISES
from tests.recorded import requests, seconds, write


@pytest.mark.parametrize("noise", ["independent", "AR(1) 0.7"])
def test_stretches_hold_the_truth_although_neighbouring_seconds_resemble_each_other(noise: str) -> None:
    """+5 % in runs of 60 s, of which each second has luck of its own of 5 %."""
    rng = np.random.default_rng(5)
    held = []
    for _ in range(60):
        luck = np.exp(0.05 * NOISES[noise](rng, 60))
        sides = [
            {
                at: Histogram.of(0.002 * factor * each * rng.lognormal(0, 0.2, 100))
                for at, each in enumerate(series)
            }
            for factor, series in ((1.0, np.ones(60)), (1.05, luck))
        ]
        found = stretches(*sides)
        if found is not None:
            seen = change(METRICS["p50"], *found, paired=True)
            held.append(seen.low <= 1.05 <= seen.high)
    assert len(held) > 30
    assert np.mean(held) >= 0.9  # 98 % are promised; of some 40


@pytest.mark.parametrize(("service", "verdict"), [(0.0022, "worse"), (0.002, "same")])
def test_one_pair_is_compared_within_its_time_and_warned_about(
    tmp_path: Path, service: float, verdict: str
) -> None:
    for arm, (server, each) in enumerate((("a", 0.002), ("b", service))):
        cell = {"server": server, "build": server, "model": "mnist", "load": "16 users"}
        write(
            tmp_path / "experiment",
            seconds(requests(arm, count=8000, rate=400.0, service=each, spread=0.1)),
            duet={"arm": 1 + arm, "one_server": False},
            experiment={"block": 1, "trial": 1 + arm, "cell": cell},
            warmup=0.0,
        )
    trials = read_trials(find_runs([tmp_path / "experiment"])).trials
    (found,) = compare_by(trials, "server", metrics=["p50"]).found
    assert [each.verdict for each in found.changes] == [verdict]
    assert "one session" in {warning.check for warning in found.warnings}
