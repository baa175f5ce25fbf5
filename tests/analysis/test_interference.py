"""Relative verdicts on duets: the ratio of two conditions that wait for each other is not that of each alone."""

from pathlib import Path

import numpy as np
import pytest

from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.compare import compare_by
from bench.analysis.judging.interference import of_ratio
from bench.runs.chunk import Chunk
from bench.runs.interference import Interference
from bench.runs.run import find_runs
from tests.recorded import requests, write

BLOCKS = 4


@pytest.mark.parametrize(
    ("alone", "noise", "warned"),
    [
        (1.3, 0.002, True),
        (1.06, 0.002, False),  # beyond 5 % by less than runs differ
        (1.0, 0.002, False),
        (1.3, 0.25, False),  # measured once on such a machine, it says nothing
    ],
)
def test_a_ratio_that_each_has_alone_is_another(
    alone: float, noise: float, warned: bool, tmp_path: Path
) -> None:
    home, rng = tmp_path / "duet", np.random.default_rng(3)
    for block in range(BLOCKS):
        service = 0.002 * float(np.exp(noise * rng.standard_normal()))  # both arms have the same noise
        for arm, server in enumerate("ab"):
            cell = {"server": server, "build": server, "model": "mnist", "load": "16 users"}
            write(
                home,
                [
                    Chunk.of(
                        **requests(arm, count=200, rate=200.0, service=service, spread=0.02),
                        keep_samples=False,
                    )
                ],
                duet={"arm": 1 + arm, "one_server": False},
                experiment={"block": block, "trial": 2 * block + arm, "cell": cell},
                warmup=0.0,
            )
    (home / "experiment.json").write_text('{"schema": 1, "scenario": "x.py", "plan": []}')
    Interference(("a", "b"), (0.002, 0.002 * alone), (0.002, 0.002)).write(home)
    trials = read_trials(find_runs([home])).trials
    before, after = ([trial for trial in trials if trial.identity.server == side] for side in "ab")
    assert [warning.check for warning in of_ratio(before, after)] == ["interference"] * warned
    if warned:
        (found,) = compare_by(trials, "server", metrics=["p50"]).found
        assert "interference" in {warning.check for warning in found.warnings}
