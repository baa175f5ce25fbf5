"""The row of recorded noise in the table of wrong and right verdicts: every way to compare draws from the recording."""

import numpy as np

from tests.analysis.simulated import BASE, trial
from tests.benchmarks.recorded_noise import EACH, Recorded


def test_every_way_draws_from_what_was_recorded() -> None:
    """Starts of a server differ by 0.3 %, its runs by as much, and so do the two of a duet."""
    rng = np.random.default_rng(1)
    sessions = []
    for session in range(24):
        luck, runs = 0.003 * rng.standard_normal(), []
        for number in range(EACH):
            median = 0.01 * float(np.exp(luck + 0.003 * rng.standard_normal()))
            ends = {"p90": (1.8 * median, 2.2 * median)}
            values = {"p50": median, "p90": 2 * median}
            runs.append(trial(BASE, values, ends=ends, number=EACH * session + number))
        sessions.append(runs)
    recorded = Recorded("it", sessions, np.exp(0.003 * rng.standard_normal(20)).tolist())
    single, *compared = (way(np.random.default_rng(2), 40) for way in recorded.ways)
    assert (single.campaigns, single.false_fail, single.false_pass) == (40, 0, 0)
    assert single.covered == single.found == 40
    for counts in compared:
        assert counts.false_fail <= 1
        assert counts.false_pass == 0
        assert counts.covered >= 36
        assert counts.found >= 36
