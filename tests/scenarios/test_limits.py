"""The limits beside each scenario, held against the runs of the other tests."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from bench.analysis.gate import LimitsFile, gate
from bench.analysis.trials import read_trials
from tests.load.locust_runs import ROOT, Finished
from tests.scenarios import conftest

LIMITED = sorted(set(conftest.RUNS) - {"test_a_rollout_that_cannot_be_says_so"})


@pytest.mark.parametrize("of", LIMITED)
def test_the_limits_beside_the_scenario_are_kept(of: str, started: Callable[[str], Future[Finished]]) -> None:
    """As `bench gate` judges them; that the load was short, and the machine shared, is no matter here."""
    run = started(of).result().run()
    path = ROOT / "scenarios" / f"{conftest.RUNS[of].split()[0]}.toml"
    judged = gate(LimitsFile.read(path), read_trials([run]))
    told = [
        (f.limit.dotted, str(f.identity), f.measured, f.how) for f in judged.findings if f.outcome == "BROKEN"
    ]
    assert told == []
    assert judged.findings
