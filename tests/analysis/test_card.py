"""Cards of verdicts: the right cause of a gate that fails, in every form, and none where there is none."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.analysis.explaining.causes import Kind
from bench.analysis.explaining.stages import BEYOND, differences
from bench.analysis.grouping.trials import Trials, read_trials
from bench.analysis.judging.compare import match
from bench.analysis.judging.gate import Judgement, LimitsFile, gate
from bench.analysis.reading.reconciliation import Stage
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.showing import gate_text
from bench.analysis.showing.card import Card, apart, card
from bench.analysis.showing.card_text import next_steps
from bench.runs.run import find_runs
from tests.analysis.planted import LATENCY, MESSAGES, planted
from tests.analysis.simulated import BASE, trial
from tests.cli import inside

TRIALS = 4
DELAY = 0.2 * LATENCY
LIMITS = """
accept = ["short", "behind", "errors", "wrong answers", "unsteady", "not achieved", "load processes"]
[limits]
error_share = 0.01
accuracy = 0.95
[worse_than_baseline]
p50 = "5 %"
p99 = "100 %"
"""
WRONG = {"Predict": {"other label": {"count": 300, "example": "label 3, expected 7"}}}
WAYS: dict[str, tuple[dict[str, Any], Kind, str]] = {
    "send delay": ({"delays": {Stage.CLIENT_QUEUE: DELAY}}, Kind.LOAD_GENERATOR, "behind"),
    "network": ({"delays": {Stage.WIRE: DELAY}}, Kind.STAGE, Stage.WIRE),
    "server": ({"delays": {Stage.SERVER: DELAY}}, Kind.STAGE, Stage.SERVER),
    "batching": ({"delays": {Stage.BATCHING_QUEUE: DELAY}}, Kind.STAGE, Stage.BATCHING_QUEUE),
    "model": ({"delays": {Stage.RUNTIME: DELAY}}, Kind.STAGE, Stage.RUNTIME),
    "stall": ({"stall": (5.0, 1.0), "keep": True}, Kind.EVENT, "no answers"),
    "refused": ({"errors": 0.1}, Kind.ERRORS, "RESOURCE_EXHAUSTED"),
    "wrong": ({"wrong": 0.2, "wrong_answers": WRONG}, Kind.ANSWERS, "other label"),
    "load process": ({"slow_worker": 0.05, "keep": True}, Kind.LOAD_PROCESS, "1"),
    "payload": ({"slow_messages": 0.05, "keep": True}, Kind.PAYLOAD, "3, 41"),
}
"""What is planted, and the cause that is to be named first."""


def campaign(folder: Path, first_seed: int, **planted_in: Any) -> Path:
    for number in range(TRIALS):
        planted(folder, first_seed + number, **planted_in)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline, an equal candidate, and limits."""
    root = tmp_path_factory.mktemp("card")
    campaign(root / "old", 0, started="2026-11-01T10:00:00+00:00")
    campaign(root / "same", 50, candidate=True, started="2026-11-24T10:00:00+00:00")
    (root / "limits.toml").write_text(LIMITS)
    return root


@pytest.fixture(scope="module")
def failing(root: Path) -> Callable[[str], Path]:
    """The folder of candidates with something planted."""

    def folder(name: str) -> Path:
        if not (root / name).exists():
            at = 100 * (1 + list(WAYS).index(name))
            campaign(root / name, at, candidate=True, started="2026-11-24T10:00:00+00:00", **WAYS[name][0])
        return root / name

    return folder


def trials(folder: Path) -> Trials:
    return read_trials(find_runs([folder]))


def judge(root: Path, candidate: Path) -> tuple[Judgement, Card]:
    judged = gate(LimitsFile.read(root / "limits.toml"), trials(candidate), trials(root / "old"))
    found = card(judged)
    assert found is not None
    return judged, found


@pytest.mark.parametrize("way", WAYS)
def test_the_card_names_the_cause_first(root: Path, failing: Callable[[str], Path], way: str) -> None:
    judged, found = judge(root, failing(way))
    _, kind, what = WAYS[way]
    assert judged.code == 1, judged.verdict
    assert found.causes, found.lines
    first = found.causes[0].what.partition(" from ")[0]
    if kind is Kind.PAYLOAD:  # that with the most slow requests comes first
        first = ", ".join(sorted(first.split(", "), key=int))
    assert (found.causes[0].kind, first) == (kind, what), found.lines
    if kind is Kind.ANSWERS:
        assert re.match(
            r"(19|2\d) % of the examples were answered with another label than theirs", found.of("cause")[0]
        )
    stages = [cause.what for cause in found.causes if cause.kind is Kind.STAGE]
    planted_in = next(iter(WAYS[way][0].get("delays", {})), None)
    if kind in (Kind.STAGE, Kind.LOAD_GENERATOR):
        assert stages == [planted_in]
        (named,) = [each for each in found.breakdowns[0].differences.stages if each.named]
        assert named.change.low < DELAY < named.change.high
        assert named.change.size == pytest.approx(DELAY, rel=0.15)
    texts = [row.title for row in found.rows]
    assert texts[0] == "failed"
    assert {"cause", "baseline", "candidate", "runs", "reproduce", "next"} <= set(texts)


def test_slow_requests_of_any_payload_have_none_named(root: Path, failing: Callable[[str], Path]) -> None:
    """Nor where a load process or a second holds them."""
    for way in ("stall", "load process"):
        _, found = judge(root, failing(way))
        tail = found.causes[0].tail
        assert tail is not None
        assert tail.messages is None
    _, found = judge(root, failing("payload"))
    tail = found.causes[0].tail
    assert tail is not None
    assert (tail.workers, tail.stretches) == ({}, [])
    assert tail.messages is not None
    assert tail.messages.of == MESSAGES
    assert tail.messages.slow > 0.9 * tail.messages.known
    (text,) = found.of("cause")[:1]
    assert "send 2 of the 100 messages in the pool: numbers " in text


def test_what_disturbed_a_few_trials_or_another_part_of_the_latency_comes_last(
    root: Path, failing: Callable[[str], Path]
) -> None:
    """A late load process sends late as often as it reads late, and makes no stage of the server longer."""
    late = RunWarning("client paused", "the event loop was late", "leave it a core")
    last, first = [Kind.STAGE, Kind.LOAD_GENERATOR], [Kind.LOAD_GENERATOR, Kind.STAGE]
    for way, load, disturbed, kinds in (
        ("send delay", "poisson", 1, last),
        ("send delay", "poisson", 3, first),
        ("network", "poisson", 3, last),
        ("network", "closed", 3, first),
        ("model", "poisson", 3, last),
        ("model", "closed", 3, last),
    ):
        judged, _ = judge(root, failing(way))
        for number, each in enumerate(judged.candidate.trials):
            vars(each.manifest.load.plan)["kind"] = load  # as if it were recorded of such a load
            each.warnings[:] = [late] if number < disturbed else []
        found = card(judged)
        assert found is not None
        assert [cause.kind for cause in found.causes] == kinds, (way, load, disturbed)


def test_a_stall_is_told_by_its_second_and_the_rest_of_the_run(
    root: Path, failing: Callable[[str], Path]
) -> None:
    _, found = judge(root, failing("stall"))
    tail = found.causes[0].tail
    assert tail is not None
    assert {(each.first, each.last) for each in tail.stretches} <= {(4, 5), (5, 5), (5, 6)}
    assert len(tail.stretches) == TRIALS
    assert tail.share > 0.9
    assert tail.without is not None
    assert tail.without.percentile(99) < 2 * LATENCY
    assert "second 5 in 4 of 4 runs" in found.of("cause")[0]


def test_pauses_that_come_often_are_told_by_tenths_of_a_second(root: Path) -> None:
    """0.4 s of every 1.9 s touch most seconds, which hold too many other requests to be named."""
    for number in range(TRIALS):
        planted(root / "pausing", 5000 + number, candidate=True, keep=True, pauses=(1.9, 0.4))
    judged, found = judge(root, root / "pausing")
    assert judged.code == 1
    cause = found.causes[0]
    assert (cause.kind, cause.what.partition(" from ")[0]) == (Kind.EVENT, "no answers"), found.lines
    assert cause.tail is not None
    assert cause.tail.tenths > 2 * TRIALS
    assert cause.tail.inside.requests < 0.25 * cause.tail.all.requests
    assert f"stretches of 4 runs, together {cause.tail.tenths / 10:.1f} s" in found.of("cause")[0]


def test_equal_things_have_no_stage_and_a_pass_no_card(root: Path) -> None:
    judged = gate(LimitsFile.read(root / "limits.toml"), trials(root / "same"), trials(root / "old"))
    assert judged.code == 0
    assert card(judged) is None
    (same,), _ = match(trials(root / "old").trials, trials(root / "same").trials)
    split = differences(same)
    assert split is not None
    assert [each.stage for each in split.stages] == list(Stage)
    assert not split.named
    done = inside.bench("gate", "same", "--limits", "limits.toml", "--baseline", "old", cwd=root)
    assert done.returncode == 0
    assert done.stdout.startswith("gate  pass: 4 pass: ")
    assert done.stdout.count("\n") <= 4, "one line, wrapped where the terminal is narrow"


def test_a_stage_that_holds_the_difference_is_likely_where_trials_differ(root: Path) -> None:
    for number, delay in enumerate((0.028, 0.038, 0.058)):
        planted(root / "wild", 3000 + number, candidate=True, delays={Stage.WIRE: delay})
    judged, found = judge(root, root / "wild")
    assert judged.code == 1
    (cause,) = found.causes
    assert (cause.what, cause.sure) == (Stage.WIRE, False)
    assert not any(each.named for each in found.breakdowns[0].differences.stages)
    assert "likely" in found.of("cause")[0]


def test_without_counters_the_server_is_one_stage(root: Path) -> None:
    campaign(root / "uncounted", 1000, counted=False, candidate=True, delays={Stage.WIRE: DELAY})
    (found,), _ = match(trials(root / "old").trials, trials(root / "uncounted").trials)
    split = differences(found)
    assert split is not None
    assert [each.stage for each in split.stages] == [Stage.CLIENT_QUEUE, BEYOND]
    assert [each.stage for each in split.named] == [BEYOND]


def test_all_forms_show_the_same_card(root: Path, failing: Callable[[str], Path], tmp_path: Path) -> None:
    files = {name: tmp_path / f"gate.{name}" for name in ("junit", "markdown", "json")}
    arguments = [part for name, path in files.items() for part in (f"--{name}", path)]
    done = inside.bench(
        *("gate", failing("batching"), "--limits", "limits.toml", "--baseline", "old", *arguments),
        cwd=root,
        GITHUB_ACTIONS="true",
    )
    assert done.returncode == 1
    cause = "batching queue +"
    printed = " ".join(done.stdout.split())
    assert f"cause {cause}" in printed
    (annotation,) = [line for line in done.stdout.splitlines() if line.startswith("::error")]
    assert f"%0Acause: {cause}" in annotation
    assert f"- cause: {cause.replace('+', '')}" in files["markdown"].read_text().replace("\\", "").replace(
        "+", ""
    )
    suite = ElementTree.fromstring(files["junit"].read_text().split("\n", 1)[1])  # noqa: S314 - made here
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.text is not None
    assert f"cause: {cause}" in failure.text
    assert "batching queue" in failure.text.split("Latency breakdown")[1]
    assert float(suite.get("time", "0")) > 0
    properties = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert "commit bbbbbbbbbbbb" in str(properties["candidate"])
    assert "23 days older" in str(properties["baseline"])
    written = json.loads(files["json"].read_text())["card"]
    assert [each["what"] for each in written["causes"]] == ["batching queue"]
    assert next(row["text"] for row in written["rows"] if row["title"] == "cause").startswith(cause)


def test_what_is_inconclusive_has_what_would_decide(root: Path) -> None:
    campaign(root / "few", 2000, candidate=True, noise=0.05)
    limits = root / "tight.toml"
    limits.write_text('accept = ["short", "unsteady"]\n[worse_than_baseline]\np50 = "3 %"\n')
    judged = gate(LimitsFile.read(limits), trials(root / "few"), trials(root / "old"))
    found = card(judged)
    assert judged.code == 3
    assert found is not None
    (text,) = found.of("undecided")
    assert "trials in all would" in text
    assert "s of load" in text
    assert not found.causes


def test_gates_without_a_baseline_have_the_seconds(root: Path, failing: Callable[[str], Path]) -> None:
    limits = root / "absolute.toml"
    limits.write_text('accept = ["short", "unsteady"]\n[limits]\np99_ms = 8\n')
    judged = gate(LimitsFile.read(limits), trials(failing("stall")))
    found = card(judged)
    assert judged.code == 1
    assert found is not None
    assert found.causes[0].kind is Kind.EVENT
    assert "over it" in found.of("failed")[0]
    lines = gate_text.annotations(judged, found)
    assert len([line for line in lines if "cause" in line]) == 1


@pytest.mark.parametrize(
    ("limit", "measured", "text"),
    [
        ("p99_ms = 25", {"p99": 1.5}, "p99 1.50 s, at most 25.0 ms allowed: 5,900 % over it"),
        (
            'error_share = "0.1 %"',
            {"error_share": 1.0},
            "error_share 100 %, at most 0.100 % allowed: 100 points over it",
        ),
    ],
)
def test_far_beyond_a_limit_there_is_no_exponent(
    tmp_path: Path, limit: str, measured: dict[str, float], text: str
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text(f"[limits]\n{limit}\n")
    ends = {metric: (value, value) for metric, value in measured.items()}
    judged = gate(
        LimitsFile.read(limits),
        Trials([trial(BASE, measured, number=n, ends=ends) for n in range(3)], [], []),
    )
    found = card(judged)
    assert found is not None
    assert found.of("failed") == [text]


def test_a_limit_that_fails_in_one_cell_shows_where_it_passes(tmp_path: Path) -> None:
    """The run folders are gone: what they would explain is left out."""
    limits = tmp_path / "limits.toml"
    limits.write_text("[limits]\np99_ms = 25\n")
    large = BASE._replace(batch=256)
    cells = [trial(BASE, {"p99": 0.020 + 1e-4 * number}, number=number) for number in range(3)]
    cells += [trial(large, {"p99": 0.040 + 1e-4 * number}, number=10 + number) for number in range(3)]
    judged = gate(LimitsFile.read(limits), Trials(cells, [], []))
    found = card(judged)
    assert found is not None
    assert found.of("failed") == ["p99 40.1 ms, at most 25.0 ms allowed: 60.4 % over it (batch 256)"]
    assert found.of("passes in") == ["batch 8"]
    assert "with a baseline" in found.of("cause")[0]
    assert not found.causes


def test_comparisons_show_the_stages_that_differ(root: Path, failing: Callable[[str], Path]) -> None:
    shown = inside.bench("compare", "old", failing("batching"), cwd=root).stdout
    assert "stages batching queue +0.4" in " ".join(shown.split())
    assert "runtime +" not in shown
    printed = json.loads(inside.bench("compare", "old", failing("batching"), "--json", cwd=root).stdout)
    (comparison,) = printed["comparisons"]
    assert [each["stage"] for each in comparison["stages"] if each["named"]] == ["batching queue"]
    assert "stages" not in inside.bench("compare", "old", "same", cwd=root).stdout


def test_a_folder_of_many_runs_has_a_history(tmp_path: Path) -> None:
    """As many as a change can be found in."""

    def steps(runs: int) -> list[str]:
        for number in range(runs):
            (tmp_path / f"run {number}").mkdir(exist_ok=True)
            (tmp_path / f"run {number}" / "manifest.json").touch()
        return list(next_steps([], [replace(trial(BASE, {"p99": 0.02}), path=tmp_path / "run 0")], None))

    assert [step for step in steps(5) if "history" in step] == []
    assert steps(6)[-1] == f"bench history {tmp_path} --html history.html"


def test_of_a_table_only_what_differs_is_shown() -> None:
    long = {"backend": "synthetic", "service_time": "constant(2ms)", "note": "x" * 80}
    old, new = (json.dumps({"flags": long | changed}) for changed in ({}, {"service_time": "constant(4ms)"}))
    assert list(apart("server settings", {old}, {new})) == [
        ("server settings flags service_time", {"constant(2ms)"}, {"constant(4ms)"})
    ]
    assert list(apart("server settings", {old}, {"{}"})) == [("server settings", {old}, {"{}"})]
    assert list(apart("kernel", {"6.1"}, {"6.8"})) == [("kernel", {"6.1"}, {"6.8"})]
