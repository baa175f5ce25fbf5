"""Limits files: what they may hold, and one line for what they may not."""

from pathlib import Path

import pytest

from bench import BenchError
from bench.analysis.judging.gate import LimitsFile
from bench.config.limits import read_limits


def write(path: Path, text: str) -> Path:
    file = path / "limits.toml"
    file.write_text(text)
    return file


def test_all_limits_in_order_with_where_they_hold(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        accept = ["short"]
        [limits]
        p99_ms = 25
        accuracy = 0.9
        [worse_than_baseline]
        p50 = 0.03
        [[cells]]
        version = 2
        batch = 32
        limits = { p999_us = 40_000 }
        """,
    )
    said, bounds = read_limits(path)
    assert said.accept == ["short"]
    assert [bound.dotted for bound in bounds] == [
        "limits.p99_ms",
        "limits.accuracy",
        "worse_than_baseline.p50",
        "cells[0].limits.p999_us",
    ]
    limits = LimitsFile.read(path).limits
    assert [(each.metric.name, each.bound, each.relative) for each in limits] == [
        ("p99", 0.025, False),
        ("accuracy", 0.9, False),
        ("p50", 0.03, True),
        ("p999", pytest.approx(0.04), False),
    ]
    assert limits[3].words == "version 2, batch 32"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no limit in it"),
        ("[limits]\np98_ms = 3", r"limits\.p98_ms: unknown metric, did you mean p9"),
        ("[limits]\np99 = 3", r"limits\.p99 = 3: without a unit; write p99_ms"),
        ("[limits]\np99_ms = nan", r"p99_ms = nan: expected a finite number >= 0"),
        ("[limits]\np99_ms = -1", r"p99_ms = -1: expected a finite number >= 0"),
        ("[limits]\np99_ms = inf", r"p99_ms = inf: expected a finite"),
        ('[limits]\np99_ms = "3"', r'p99_ms = "3": expected a finite number'),
        ('[limits]\np99_ms = "3 %"', r'limits\.p99_ms = "3 %": p99 is not a share'),
        ('[limits]\nerror_share = "3 ms"', r'error_share = "3 ms": expected a finite number'),
        ('[limits]\nerror_share = "120 %"', r"error_share = 1\.2: expected a share from 0 to 1"),
        ("[limits]\nerror_share = 1", r'error_share = 1: ambiguous; write "1 %" or "100 %"'),
        ("[limits]\naccuracy = 1.0", r'accuracy = 1: ambiguous; write "1 %" or "100 %"'),
        ("[limits]\naccuracy = 0", r"accuracy = 0: every run satisfies that"),
        ("[limits]\nrequests_per_second = 0", r"requests_per_second = 0: every run satisfies that"),
        ("[worse_than_baseline]\np50 = 5", r'p50 = 5: allows 500%; ambiguous; write "5 %" or "500 %"'),
        ("[worse_than_baseline]\np50 = 1", r'p50 = 1: allows 100%; ambiguous; write "1 %"'),
        ("[worse_than_baseline]\nerror_share = 1.0", r"error_share = 1: allows 100%"),
        ('[worse_than_baseline]\np50 = "-5 %"', r'p50 = "-5 %": expected a finite number'),
        ('[worse_than_baseline]\np50 = "5 ms"', r'p50 = "5 ms": expected a finite number'),
        ("[[cells]]\nworse_than_baseline = { p50 = 3 }", r"cells\..*p50 = 3: allows 300%"),
        ("failed_trials = 1\n[limits]\np99_ms = 3", r"failed_trials = 1: expected a share below 1"),
        ('failed_trials = "100 %"\n[limits]\np99_ms = 3', r"failed_trials = 100 %: expected a share below 1"),
        (
            'accept = ["client satured"]\n[limits]\np99_ms = 3',
            r"accept 'client satured': unknown warning, did you mean client saturated",
        ),
        ("[limits]\nerror_share_ms = 3", "unknown metric"),
        ("[limits]\naccuracy = 95", r"accuracy = 95: expected a share from 0 to 1"),
        (
            "[worse_than_baseline]\np99_ms = 0.1",
            r"worse_than_baseline\.p99_ms: unknown metric, did you mean p99",
        ),
        ("[limit]\np99_ms = 3", r"limit = .*: unknown key, did you mean limits\?"),
        (
            "[[cells]]\nverison = 2\nlimits = { p99_ms = 3 }",
            r"verison = 2: unknown key, did you mean version\?",
        ),
        ("[[cells]]\nversion = '2'\nlimits = { p99_ms = 3 }", r"version = \"2\": expected an integer"),
        ("[limits\np99_ms = 3", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BenchError, match=reason) as error:
        LimitsFile.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_shares_with_a_unit(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        failed_trials = "10 %"
        [limits]
        error_share = "0.5 %"
        mismatch_share = "100 %"
        accuracy = "100 %"
        accuracy_gap = 0
        [worse_than_baseline]
        p50 = "5 %"
        p99 = "150%"
        """,
    )
    read = LimitsFile.read(path)
    assert [each.bound for each in read.limits] == [0.005, 1.0, 1.0, 0.0, 0.05, 1.5]
    assert read.failed_share == 0.1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such file"):
        LimitsFile.read(tmp_path / "limits.toml")


def test_the_limits_beside_the_scenarios_can_be_read() -> None:
    for path in (Path(__file__).parents[2] / "scenarios").glob("*.toml"):
        if "[limits]" in path.read_text():
            assert LimitsFile.read(path).limits
