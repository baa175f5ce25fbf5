"""Gates: kept, broken, or not decidable, and never open without reason."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from bench import BenchError
from bench.analysis.grouping.trials import Trial, Trials, read_trials
from bench.analysis.judging.gate import Judgement, LimitsFile, gate
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.showing import gate_text
from bench.analysis.statistics.clustered import FEWEST_SECONDS
from bench.runs.chunk import Chunk
from bench.runs.manifest import Manifest
from bench.runs.run import Unreadable, find_runs
from tests.analysis.simulated import BASE, Shown, campaign, trial
from tests.recorded import requests, write


def limits(tmp_path: Path, text: str) -> LimitsFile:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    return LimitsFile.read(path)


def several(**values: list[float]) -> Trials:
    length = len(next(iter(values.values())))
    return Trials(
        [trial(BASE, {name: of[i] for name, of in values.items()}, number=i) for i in range(length)], [], []
    )


def codes(judged: Judgement) -> tuple[int, list[str]]:
    return judged.code, [finding.outcome for finding in judged.findings]


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("p99_ms = 25", {"p99": [0.020, 0.021, 0.019]}, (0, ["pass"])),
        ("p99_ms = 25", {"p99": [0.030, 0.031, 0.029]}, (1, ["FAIL"])),
        ("p99_ms = 25", {"p99": [0.020, 0.030, 0.024]}, (3, ["inconclusive"])),
        ("p99_ms = 25", {"p99": [0.025, 0.025, 0.025]}, (0, ["pass"])),
        ("requests_per_second = 100", {"requests_per_second": [120, 121, 119]}, (0, ["pass"])),
        ("requests_per_second = 100", {"requests_per_second": [80, 81, 79]}, (1, ["FAIL"])),
        ("accuracy = 0.9", {"accuracy": [0.93, 0.93]}, (0, ["pass"])),
        ("accuracy = 0.9", {"accuracy": [0.62, 0.62]}, (1, ["FAIL"])),
        ("accuracy = 0.9", {"accuracy": [0.93]}, (0, ["pass"])),
        ("p99_ms = 25", {"p99": [0.02, math.nan]}, (3, ["inconclusive"])),
        ("p99_ms = 25", {"p50": [0.02, 0.02]}, (3, ["inconclusive"])),
        ("cpu_per_request_ms = 1", {"p50": [0.02]}, (3, ["inconclusive"])),
        ("cost_per_million = 0.5", {"cost_per_million": [0.40, 0.41, 0.39]}, (0, ["pass"])),
        ("cost_per_million = 0.5", {"cost_per_million": [0.60, 0.61, 0.59]}, (1, ["FAIL"])),
        ("cost_per_million = 0.5", {"p50": [0.02]}, (3, ["inconclusive"])),
        (
            "p99_ms = 25\naccuracy = 0.9",
            {"p99": [0.02, 0.02], "accuracy": [0.5, 0.5]},
            (1, ["pass", "FAIL"]),
        ),
        ("p99_ms = 25\naccuracy = 0.9", {"p99": [0.02, 0.02]}, (3, ["pass", "inconclusive"])),
    ],
)
def test_absolute_limits(tmp_path: Path, text: str, values: dict[str, list[float]], expected: object) -> None:
    assert codes(gate(limits(tmp_path, "[limits]\n" + text), several(**values))) == expected


@pytest.mark.parametrize(
    ("value", "ends", "expected"),
    [
        (0.020, (0.018, 0.022), (0, ["pass"])),
        (0.020, (0.018, 0.027), (3, ["inconclusive"])),
        (
            0.024,
            (0.0239, 0.0241),
            (3, ["inconclusive"]),
        ),  # sure of itself, but not that the next run is like it
        (0.026, (0.0259, 0.0261), (3, ["inconclusive"])),
        (0.031, (0.029, 0.033), (1, ["FAIL"])),
    ],
)
def test_a_single_trial_is_judged_by_what_it_shows_itself(
    tmp_path: Path, value: float, ends: tuple[float, float], expected: object
) -> None:
    alone = Trials([trial(BASE, {"p99": value}, ends={"p99": ends})], [], [])
    judged = gate(limits(tmp_path, "[limits]\np99_ms = 25"), alone)
    assert codes(judged) == expected
    assert "no statement beyond this run" in judged.findings[0].how


def test_a_single_trial_that_is_too_short_says_so(tmp_path: Path) -> None:
    short = replace(
        trial(BASE, {"p99": 0.031}), within=Shown({"p99": (-math.inf, math.inf)}, seconds=FEWEST_SECONDS - 1)
    )
    judged = gate(limits(tmp_path, "[limits]\np99_ms = 25"), Trials([short], [], []))
    assert codes(judged) == (3, ["inconclusive"])
    assert "measure for longer" in judged.findings[0].how


@pytest.mark.parametrize(
    ("text", "values", "seconds", "expected"),
    [
        ("std_ms = 25", {"std": 0.020}, 60, (0, ["pass"])),
        ("std_ms = 25", {"std": 0.024}, 60, (3, ["inconclusive"])),  # runs differ by more
        ("cpu_per_request_ms = 25", {"cpu_per_request": 0.026}, 60, (3, ["inconclusive"])),
        ("cpu_per_request_ms = 25", {"cpu_per_request": 0.031}, 60, (1, ["FAIL"])),
        ("cost_per_million = 0.5", {"cost_per_million": 0.40}, 60, (0, ["pass"])),
        ("cost_per_million = 0.5", {"cost_per_million": 0.48}, 60, (3, ["inconclusive"])),
        ("joules_per_thousand = 20", {"joules_per_thousand": 25.0}, 60, (1, ["FAIL"])),
        ("sustained_rate = 20", {"sustained_rate": 25.0}, 60, (0, ["pass"])),
        ("sustained_rate = 20", {"sustained_rate": 20.0}, 60, (3, ["inconclusive"])),
        ("max_ms = 25", {"max": 0.026}, FEWEST_SECONDS - 1, (1, ["FAIL"])),  # a longer run has no smaller one
        ("max_ms = 25", {"max": 0.024}, FEWEST_SECONDS - 1, (3, ["inconclusive"])),
        *(
            (f"{name} = {bound}", {metric: value}, FEWEST_SECONDS - 1, (3, ["inconclusive"]))
            for name, bound, metric, value in (
                ("std_ms", 25, "std", 0.001),
                ("sustained_rate", 20, "sustained_rate", 90.0),
                ("memory_growth", 0.05, "memory_growth", 0.0),
                ("recovery_seconds_s", 2, "recovery_seconds", 0.1),
            )
        ),
    ],
)
def test_a_value_of_one_run_without_an_interval(
    tmp_path: Path, text: str, values: dict[str, float], seconds: int, expected: object
) -> None:
    alone = replace(trial(BASE, values), within=Shown({}, seconds=seconds))
    assert codes(gate(limits(tmp_path, f"[limits]\n{text}"), Trials([alone], [], []))) == expected


def test_runs_of_one_start_of_the_server_say_so(tmp_path: Path) -> None:
    file = limits(tmp_path, "[limits]\np99_ms = 25")
    for session, told in (("same", True), ("", False)):
        runs = [trial(BASE, {"p99": 0.02 + i / 1e4}, number=i, session=session) for i in range(3)]
        (finding,) = gate(file, Trials(runs, [], [])).findings
        assert ("one start of the server" in finding.how) is told


def test_errors_are_judged_by_their_counts(tmp_path: Path) -> None:
    file = limits(tmp_path, "[limits]\nerror_share = 0.001")
    # 10,000 requests: 0 failed, or 50; of 1,000 none is too few for a thousandth
    assert codes(gate(file, several(error_share=[0.0])))[0] == 0
    assert codes(gate(file, several(error_share=[0.005])))[0] == 1
    assert codes(gate(file, several(error_share=[0.0011])))[0] == 3
    few = trial(BASE, {"error_share": 0.0})
    few = Trial(**{**few.__dict__, "requests": 1000})
    assert codes(gate(file, Trials([few], [], [])))[0] == 3
    cancelled = Trial(**{**trial(BASE, {"error_share": 0.0}).__dict__, "cancelled": 9900})
    finding = gate(file, Trials([cancelled], [], [])).findings[0]
    assert (finding.outcome, finding.low, finding.high) == (
        "inconclusive",
        0.0,
        pytest.approx(0.99, abs=0.01),
    )
    assert "9,900 more were cancelled" in finding.how
    one = Trial(**{**trial(BASE, {"error_share": 0.5}).__dict__, "cancelled": 1})
    (found,) = gate(file, Trials([one], [], [])).findings
    assert found.outcome == "FAIL", "whatever would have become of it"
    assert found.low == pytest.approx(0.488, abs=0.002)
    none = limits(tmp_path, "[limits]\nerror_share = 0")
    assert codes(gate(none, several(error_share=[0.0])))[0] == 0
    assert codes(gate(none, several(error_share=[0.0001])))[0] == 1


def compared(
    change: float, noise: float = 0.01, trials: int = 8, seed: int = 1, **changed: Any
) -> tuple[Trials, Trials]:
    before, after = campaign(
        np.random.default_rng(seed), trials=trials, change=change, noise=noise, **changed
    )
    return Trials(after, [], []), Trials(before, [], [])


@pytest.mark.parametrize(
    ("change", "noise", "expected"),
    [(1.0, 0.005, 0), (0.8, 0.005, 0), (1.10, 0.005, 1), (1.05, 0.03, 3), (1.0, 0.1, 3)],
)
def test_limits_against_a_baseline(tmp_path: Path, change: float, noise: float, expected: int) -> None:
    file = limits(tmp_path, "[worse_than_baseline]\np50 = 0.05")
    assert gate(file, *compared(change, noise)).code == expected


def test_one_trial_on_a_side_is_never_enough_for_a_baseline(tmp_path: Path) -> None:
    judged = gate(limits(tmp_path, "[worse_than_baseline]\np50 = 0.05"), *compared(0.5, trials=1))
    assert codes(judged) == (3, ["inconclusive"])
    assert "two or more" in judged.findings[0].how


def test_a_missing_baseline_is_bad_input(tmp_path: Path) -> None:
    file = limits(tmp_path, "[worse_than_baseline]\np50 = 0.05")
    for baseline in (None, Trials([], [], [])):
        with pytest.raises(BenchError, match="bench baseline set"):
            gate(file, several(p50=[0.1, 0.1]), baseline)


def test_a_cell_that_is_missing_on_a_side_is_not_decidable(tmp_path: Path) -> None:
    file = limits(tmp_path, "[worse_than_baseline]\np50 = 0.05")
    candidate = [trial(BASE._replace(batch=b), {"p50": 0.001}, number=i) for i in range(3) for b in (8, 32)]
    baseline = [trial(BASE, {"p50": 0.001}, number=i) for i in range(3)]
    judged = gate(file, Trials(candidate, [], []), Trials(baseline, [], []))
    assert codes(judged) == (3, ["pass", "inconclusive"])
    other = limits(tmp_path, "[[cells]]\nbatch = 64\nlimits = { p50_ms = 2 }")
    judged = gate(other, Trials(candidate, [], []))
    assert codes(judged) == (3, ["inconclusive"])
    assert "no cell that was measured" in judged.findings[0].how


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("version = 1", 2),
        ("batch = 32", 1),
        ('server = "embedded"', 2),
        ('model = "mnist"', 2),
        ('model = "wide"', 0),
        ('load = "16 users"', 2),
        ('server = "x"', 0),
    ],
)
def test_limits_of_some_cells(tmp_path: Path, where: str, count: int) -> None:
    cells = [trial(BASE._replace(batch=b), {"p50": 0.001}, number=i) for i in range(2) for b in (8, 32)]
    judged = gate(limits(tmp_path, f"[[cells]]\n{where}\nlimits = {{ p50_ms = 2 }}"), Trials(cells, [], []))
    assert sum(finding.identity is not None for finding in judged.findings) == count


def test_a_run_with_a_warning_is_never_released(tmp_path: Path) -> None:
    warning = RunWarning("client saturated", "a load process used 99% of a core", "use more")
    warned = Trials([trial(BASE, {"p99": 0.01}, warnings=(warning,), number=i) for i in range(3)], [], [])
    judged = gate(limits(tmp_path, "[limits]\np99_ms = 25"), warned)
    assert codes(judged) == (3, ["pass"])
    assert judged.verdict == "measurement invalid: 1 pass, 1 warning"
    broken = gate(limits(tmp_path, "[limits]\np99_ms = 1"), warned)
    assert broken.code == 3
    accepted = gate(limits(tmp_path, 'accept = ["client saturated"]\n[limits]\np99_ms = 25'), warned)
    assert accepted.code == 0
    assert [each.check for each in accepted.accepted] == ["client saturated"]


def test_warnings_of_the_baseline_and_of_other_surroundings_count(tmp_path: Path) -> None:
    file = limits(tmp_path, "[worse_than_baseline]\np50 = 0.05")
    candidate, baseline = compared(1.0, 0.003)
    assert gate(file, candidate, baseline).code == 0
    baseline.trials[0].warnings.append(RunWarning("short", "too short", "run longer"))
    assert gate(file, candidate, baseline).code == 3
    candidate, baseline = compared(1.0, 0.003)
    other = {"machine": {"cpu_model": "other"}}
    candidate.trials[:] = [
        replace(each, manifest=Manifest.of({**each.manifest.raw, **other})) for each in candidate.trials
    ]
    assert gate(file, candidate, baseline).code == 3


def test_what_could_not_be_read_or_is_empty_counts(tmp_path: Path) -> None:
    file = limits(tmp_path, "[limits]\np99_ms = 25")
    good = several(p99=[0.01, 0.01]).trials
    assert gate(file, Trials(good, [], [])).code == 0
    assert gate(file, Trials(good, [Unreadable(Path("x"), "x: no JSON")], [])).code == 3
    assert gate(file, Trials(good, [], [Path("y")])).code == 3
    assert gate(file, Trials([], [], [Path("y")])).code == 3
    assert gate(file, Trials([], [], [])).code == 3


def test_runs_that_are_empty_failed_or_unfinished_are_not_released(tmp_path: Path) -> None:
    file = limits(tmp_path, '[limits]\np99_ms = 1000\nerror_share = "100 %"')
    results = tmp_path / "results"
    good = [
        Chunk.of(**requests(i, count=600, rate=600, start=float(i)), keep_samples=False) for i in range(8)
    ]
    failed = [
        Chunk.of(**requests(i, count=600, rate=600, start=float(i), errors=1.0), keep_samples=False)
        for i in range(8)
    ]
    cases = {"good": (good, True), "empty": ([], True), "failed": (failed, True), "unfinished": (good, False)}
    found = {}
    for name, (chunks, finish) in cases.items():
        run = write(results, chunks, note=name, finish=finish)
        found[name] = gate(file, read_trials(find_runs([run.path]))).code
    assert found == {"good": 0, "empty": 3, "failed": 1, "unfinished": 3}


def test_equal_things_rarely_break_a_gate(tmp_path: Path) -> None:
    """1,000 gates on equal things of two noises, each with four relative limits without tolerance."""
    metrics = ("p50", "p90", "p99", "requests_per_second")
    file = limits(tmp_path, "[worse_than_baseline]\n" + "\n".join(f"{name} = 0.0" for name in metrics))
    broken = 0
    for seed in range(1000):
        candidate, baseline = compared(1.0, (0.003, 0.03)[seed % 2], 5, seed, metrics=metrics)
        broken += gate(file, candidate, baseline).code == 1
    assert broken < 18  # 10 are allowed; 18 happen by chance in 1 % of such tests


def test_regressions_are_found_with_enough_trials(tmp_path: Path) -> None:
    file = limits(tmp_path, "[worse_than_baseline]\np50 = 0.02")
    found = [gate(file, *compared(1.05, 0.01, 12, seed)).code for seed in range(200)]
    assert found.count(1) >= 0.95 * 200
    assert 0 not in found


@pytest.fixture
def mixed(tmp_path: Path) -> Judgement:
    file = limits(
        tmp_path, "[limits]\np99_ms = 25\naccuracy = 0.9\n[[cells]]\nbatch = 64\nlimits = { p50_ms = 1 }"
    )
    odd = RunWarning("odd <&>", "100 % odd: x,y\nz", "look")
    cells = [
        trial(BASE, {"p99": 0.03 + 0.0001 * i, "accuracy": 0.93}, number=i, warnings=(odd,) if i else ())
        for i in range(3)
    ]
    return gate(file, Trials(cells, [], []))


def test_every_form_tells_the_same(mixed: Judgement) -> None:
    told = json.loads(json.dumps(gate_text.plain(mixed), allow_nan=False))
    assert [each["outcome"] for each in told["findings"]] == ["FAIL", "pass", "inconclusive"]
    assert told["code"] == 3
    root = ElementTree.fromstring(gate_text.junit(mixed, "mnist").split("\n", 1)[1])  # noqa: S314  # made here
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "1", "2")
    assert len(root.findall("testcase/failure")) == 1
    assert len(root.findall("testcase/error")) == 2
    table = gate_text.markdown(mixed)
    assert table.count("\n| p99 |") == 1
    assert "100 % odd: x,y z; look" in table
    drawn = gate_text.judgement_table(mixed)
    assert next(c.texts for c in drawn.columns if c.title == "outcome") == ["FAIL", "pass", "inconclusive"]


def test_annotations_are_one_line_each(mixed: Judgement) -> None:
    lines = gate_text.annotations(mixed)
    assert [line.split(" ", 1)[0] for line in lines] == ["::error", "::warning", "::warning"]
    assert all("\n" not in line for line in lines)
    assert "100 %25 odd: x,y%0Az" in lines[2]


def test_a_limit_by_its_name_of_the_release_before(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("[limits]\nborne_rate = 20\n")
    (limit,) = LimitsFile.read(path).limits
    assert (limit.metric.name, limit.bound) == ("sustained_rate", 20)


def test_an_end_far_away_is_a_bound_and_no_riddle(tmp_path: Path) -> None:
    """`? ... ?` stood in the column where four trials differed much."""
    (finding,) = gate(limits(tmp_path, "[limits]\np99_ms = 25"), several(p99=[0.02, 0.021, 0.019])).findings
    far = replace(finding, measured=0.020, low=0.0001, high=9.0)
    assert gate_text.interval_text(far) == "< 2.00 ms … > 200 ms"
    assert gate_text.interval_text(replace(far, low=0.018)) == "18.0 ms … > 200 ms"
