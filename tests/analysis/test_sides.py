"""bench.analysis.judging.sides: what speaks against the trials of two sides."""

from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.sides import of_sides
from bench.analysis.reading.run_warning import RunWarning
from tests.analysis.simulated import BASE, trial


def test_a_warning_about_both_sides_is_one() -> None:
    brief, slow, fast = (RunWarning("short", f"{seconds} s only", "run longer") for seconds in (2, 3, 4))
    other = fast._replace(remedy="run it again")
    told = [
        [each.reason for each in of_sides({"baseline": one, "candidate": two})]
        for one, two in (
            ([_warned(brief), _warned()], [_warned(brief), _warned(slow)]),
            ([_warned(slow)], [_warned(fast)]),
            ([_warned(slow)], [_warned(other)]),
        )
    ]
    assert told == [
        ["baseline, 1 of 2 trials, and candidate, 2 of 2 trials: 2 s only"],
        ["baseline, 1 of 1 trials: 3 s only; candidate, 1 of 1 trials: 4 s only"],
        ["baseline, 1 of 1 trials: 3 s only", "candidate, 1 of 1 trials: 4 s only"],
    ]


def _warned(*warnings: RunWarning) -> Trial:
    return trial(BASE, {"p50": 0.002}, warnings=warnings)
