"""Ways to make a gate pass wrongly: each of them must end with 1 (FAIL), 2 (bad input) or 3 (inconclusive).

A case is one entry of CASES, here or in a module of its kind beside this one. `Checkout` makes run folders, baselines and experiments from runs recorded once.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.runs.chunk import Chunk
from tests.cli.checkouts import (
    KINDS,
    MANIFEST,
    RATE,
    SECONDS,
    Checkout,
    absolute,
    against_the_committed,
    an_empty_folder,
    an_empty_path,
    by_its_runs,
    committed,
    copied,
    copied_from_the_baseline,
    copied_of_before_ids,
    deeper,
    limited,
    linked,
    mixed,
    moved_out,
    replaced,
    run_again,
    set_aside,
    the_committed_cells,
    the_committed_itself,
    tried,
    typed,
    unpaired,
    without_a_journal,
    without_a_run,
)
from tests.cli.duets import CASES as DUETS
from tests.cli.duets import RIGHT as RIGHT_DUETS
from tests.cli.edited_runs import CASES as EDITED
from tests.cli.experiment_endings import CASES as ENDINGS
from tests.cli.experiment_endings import RIGHT, begun
from tests.cli.inside import bench, process
from tests.cli.kept_answers import CASES as ANSWERS
from tests.cli.kept_answers import RIGHT as RIGHT_ANSWERS
from tests.cli.odd_checkouts import (
    a_link_to_the_baseline,
    alone,
    dangling,
    moved,
    one_of_another_version,
    one_without,
    sides,
    timed,
    told,
    without,
)
from tests.cli.other_conditions import CASES as OTHER_CONDITIONS
from tests.cli.searched_capacities import CASES as CAPACITIES
from tests.cli.searched_capacities import RIGHT as RIGHT_CAPACITIES
from tests.cli.strange_folders import CASES as STRANGE_FOLDERS
from tests.cli.unknown_facts import CASES as UNKNOWN_FACTS
from tests.cli.wrong_usage import CASES as WRONG_USAGE
from tests.recorded import edit, requests, write


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of each kind."""
    root = tmp_path_factory.mktemp("recorded")
    for kind, how in KINDS.items():
        for number in range(3):
            chunks = [
                Chunk.of(
                    **requests(
                        10 * number + second, count=RATE, rate=RATE, start=float(second),
                        **{"service": 0.002 * (1 + 0.002 * number)} | how,
                    ),
                    keep_samples=False,
                )
                for second in range(SECONDS)
            ]  # fmt: skip
            write(root / kind, chunks, note=f"t{number}", **MANIFEST)
    return root


SOON = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
"""Later than what is recorded, within the time by which clocks may be apart."""
CASES: dict[str, tuple[Callable[[Checkout], list[str]], int, str]] = {
    # worse is worse
    "slower than the baseline": (replaced("slow"), 1, "FAIL"),
    "slower than the committed baseline": (against_the_committed, 1, "FAIL"),
    "slower than allowed": (typed("new", "--limits", "absolute.toml", new="slow"), 1, "FAIL"),
    "nothing is answered in time any more": (
        limited('goodput_ms = 1\n[worse_than_baseline]\ngoodput = "50 %"\n'), 1, "FAIL"),
    # failed trials
    "half of the trials crashed": (tried(("fine", "half failed")), 1, "of 3 trials failed: signal 11"),
    "one server of two crashed": (tried(("fine", "good"), ("bad", "half failed")), 1, "1 of 3 trials failed"),
    "a declared server never started": (tried(("fine", "good"), ("bad", "failed")), 1, "3 of 3 trials failed"),
    "no server started": (tried(("bad", "failed")), 1, "3 of 3 trials failed"),
    "the measured runs of a crashing server, one by one": (by_its_runs, 1, "1 of 3 trials failed"),
    "a run that was set aside as failed": (set_aside, 1, "3 of 3 trials failed"),
    "run again until it did not crash": (run_again, 1, "signal 11"),
    "every request failed": (typed("new", "--limits", "absolute.toml", new="failing"), 1, "every request failed"),
    "every request of one trial failed": (
        typed("new", "more", "--limits", "absolute.toml", more="failing"), 1, "3 of 6 trials failed"),
    "more failed than are allowed": (
        lambda p: (
            p.experiment("new", ("fine", "half failed")),
            (p.path / "own.toml").write_text('failed_trials = "30 %"\n[limits]\np50_ms = 3\n'),
            ["new", "--limits", "own.toml"],
        )[-1], 1, "1 of 3 trials failed"),
    "the baseline crashed": (
        lambda p: (
            p.experiment("base", ("fine", "half failed")),
            p.experiment("new", ("fine", "good")),
            ["new", "--baseline", "base", "--limits", "relative.toml"],
        )[-1], 3, "[failed trials]"),
    "a planned server was never run": (tried(("fine", "good"), ("other", "not run")), 3, "[missing cells]"),
    # calls that the load generator cancelled: nobody knows what would have become of them
    **{
        f"cancelled calls, with a limit on {limit}": (limited(f"[limits]\n{limit}\n", "cancelled"), 3, "[cancelled]")
        for limit in (
            "error_share = 0.1", "error_share = 0", "requests_per_second = 50", "accuracy = 0.5",
            "mismatch_share = 0.1", "p50_ms = 900",
        )
    },
    # missing cells and limits
    "a cell of the baseline is missing": (
        lambda p: (
            p.runs("base", "batch"),
            typed("new", "--baseline", "base", "--limits", "relative.toml")(p),
        )[-1], 3, "[missing cells]"),
    "a cell of the committed baseline is missing": (the_committed_cells, 3, "[missing cells]"),
    "one of two requests is missing": (
        typed("new", "--baseline", "base", "--limits", "relative.toml", base="two requests"), 3, "Classify"),
    "a limit has no cell": (limited("[[cells]]\nbatch = 512\nlimits = { p50_ms = 9 }\n"), 3, "no cell"),
    "a limit has no metric": (limited("[limits]\nrecovery_seconds_s = 9\n", "good"), 3, "not measured"),
    "a baseline of something else, with absolute limits only": (
        typed("new", "--baseline", "base", "--limits", "absolute.toml", base="batch"), 2, "batch: 32 and 1"),
    # no new measurement
    "the baseline itself": (typed("base", "--baseline", "base", "--limits", "relative.toml"), 2, "same run"),
    "the committed baseline's own runs": (the_committed_itself, 2, "same run"),
    "one run copied four times": (copied, 2, "same run"),
    "one run linked": (linked, 2, "same run"),
    "a run of the baseline among the candidate's": (copied_from_the_baseline, 2, "same run"),
    "a copy of a run from before there were ids": (copied_of_before_ids, 2, "same run"),
    # mixtures
    "an older good commit beside the new one": (
        lambda p: mixed(p, git={"commit": "b" * 40}), 2, "--latest"),
    "another model beside": (lambda p: mixed(p, model={"sha256": "9" * 64}), 2, "model files"),
    "another payload beside": (
        lambda p: mixed(p, payload={"PredictUser": {"sha256": "9" * 64, "messages": 100, "batch": 1}}), 2, "payload"),
    "another machine beside": (lambda p: mixed(p, machine={"cpu_model": "B"}), 3, "CPU differs between its runs"),
    "the slow one is the newest": (
        lambda p: [*mixed(p, git={"commit": "b" * 40}, started=SOON), "--latest"],
        3, "left out: 3 of 4 trials, with --latest"),
    "a commit that there is not": (lambda p: [*mixed(p), "--commit", "cccc"], 2, "no run is of it"),
    # silent loss
    "slow runs two folders deeper": (deeper, 3, "inconclusive"),
    "an empty folder among the runs": (an_empty_folder, 3, "[unreadable]"),
    "an empty folder beside the runs": (an_empty_path, 3, "[unreadable]"),
    "a run of the experiment is deleted": (without_a_run, 3, "its run is not there"),
    "measured runs moved out of an experiment": (moved_out, 3, "whether others failed is not known"),
    "the journal of the experiment is deleted": (without_a_journal, 3, "whether trials failed is not known"),
    "slow trials without a partner": (unpaired, 3, "[unpaired trials]"),
    # where runs lie
    "a slow run in a hidden folder": (moved(lambda new, _: new / ".slow"), 3, ".slow: a hidden run"),
    "a slow run within another's folder": (
        moved(lambda _, good: good[0] / "slow"), 3, "a run within another run's folder"),
    "a slow run deep in a hidden folder": (moved(lambda new, _: new / ".old/more/slow"), 3, "in a hidden folder"),
    "a slow run deep within another's folder": (
        moved(lambda _, good: good[0] / "x/y/slow"), 3, "a run within another run's folder"),
    "a link to a run that is not there": (dangling, 3, "a broken link"),
    "a link to the baseline": (a_link_to_the_baseline, 2, "same run"),
    # when they began
    "--latest of two commits that began at once": (
        timed("2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00", "--latest"), 2, "differ in commit"),
    "--latest over time zones": (  # 23:30 in New York is later than 03:00 of the next day in London
        timed("2020-01-01T23:30:00-05:00", "2020-01-02T03:00:00+00:00", "--latest"), 1, "left out: 3 of 4"),
    "--commit of a variable that is empty": (
        lambda p: [*typed("new", "--limits", "absolute.toml")(p), "--commit", ""], 2, "no run is of it"),
    "a beginning that two commits share": (
        timed("2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00", "--commit", "aaab"), 2, "no run is of it"),
    # journals
    "a failed trial behind its measured one": (
        told(lambda rows: [*rows, rows[0] | {"outcome": "failed", "reason": "signal 11"}]), 1, "signal 11"),
    "a failed trial that no plan knows": (
        told(lambda rows: [*rows, rows[0] | {"number": 99, "outcome": "failed"}]), 3, "trial 99 failed and is not in the plan"),
    "measured trials of a journal in another order, one without its folder": (
        told(lambda rows: [*rows[::-1], rows[0] | {"number": 4, "folder": None}]), 3, "trial 4 was measured"),
    # what one side does not know
    "a request timeout that the baseline had not": (without("load", "deadline"), 3, "load.deadline differs: unknown"),
    "an option that the baseline does not know": (without("options", "pool"), 3, "options.pool differs: unknown"),
    "a request timeout that one run of the candidate had not": (one_without("deadline"), 3, "of the candidate only"),
    "another HTTP/2 client": (
        sides({"load": {"transport": "native"}}, {"load": {"transport": "grpcio"}}), 2, "load.transport"),
    "REST against gRPC": (
        sides({"load": {"user_classes": ["PredictUser"]}}, {"load": {"user_classes": ["RestUser"]}}), 2, "load.user_classes"),
    "one trial of the candidate was answered by another version": (
        one_of_another_version, 3, "the baseline did not measure this cell"),
    # warnings, and what they are accepted for
    "a lost load process": (
        absolute(lambda run: edit(run, workers=[{"worker": 0, "recorded": 9, "lost": True}])), 3, "[lost worker]"),
    "a load process whose clock is not known": (
        absolute(lambda run: edit(run, workers=[{"worker": 0, "clock_bound": 5.0}])), 3, "[clocks]"),
    "answers without numbers": (
        absolute(lambda run: edit(run, wrong_answers={"Predict": {"nan": {"count": 9, "example": "nan"}}})), 3, "[not a number]"),
    "accepted errors among which the percentile falls": (
        alone('accept = ["errors"]\n[limits]\np99_ms = 900\n', "some errors"), 1, "not reached"),
    "goodput with accepted cancelled calls": (
        alone('accept = ["cancelled"]\ngoodput_ms = 20\n[limits]\ngoodput = 0.8\n', "cancelled"), 3, "not determined"),
    "rate of goodput with accepted cancelled calls": (
        alone('accept = ["cancelled"]\ngoodput_ms = 20\n[limits]\ngoodput_rate = 100\n', "cancelled"), 3, "inconclusive"),
    "a rate of goodput of one run that chance decides": (
        alone("goodput_ms = 20\n[limits]\ngoodput_rate = 195\n"), 3, "inconclusive"),
    "accepted is the end by an interrupt, not that of a kill": (
        alone('accept = ["interrupted"]\n[limits]\np50_ms = 9\n', state="running"), 3, "[unfinished]"),
    "a state that there is not": (alone("[limits]\np50_ms = 9\n", state="Finished"), 3, "[unfinished]"),
    # limits files
    "limits of a cell that stand behind their table": (
        limited("[[cells]]\nbatch = 1\n[limits]\np50_ms = 9\n"), 2, "cells[0]: no limit in it"),
    "a request in another spelling": (
        limited('[[cells]]\nrequest = "predict"\nlimits = { p50_ms = 9 }\n'), 3, "no cell"),
    "a table's name misspelt": (limited('[limits]\np50_ms = 9\n[worse-than-baseline]\np50 = "1 %"\n'), 2, "did you mean"),
    "an empty value for a limit": (limited('[limits]\np50_ms = ""\n'), 2, "a finite number"),
    "infinity": (limited("[limits]\np50_ms = inf\n"), 2, "a finite number"),
    "not a number": (limited('[worse_than_baseline]\np50 = nan\n'), 2, "a finite number"),
    **OTHER_CONDITIONS,
    **EDITED,
    **WRONG_USAGE,
    **UNKNOWN_FACTS,
    **ENDINGS,
    **DUETS,
    **ANSWERS,
    **CAPACITIES,
    **STRANGE_FOLDERS,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_no_gate_passes_wrongly(name: str, tmp_path: Path, recorded: Path) -> None:
    make, code, text = CASES[name]
    done = bench("gate", *make(Checkout(tmp_path, recorded)), cwd=tmp_path)
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, shown
    assert text in shown


def test_there_are_enough_cases_and_none_may_pass() -> None:
    assert len(CASES) >= 40
    assert {code for _, code, _ in CASES.values()} <= {1, 2, 3}


@pytest.mark.parametrize(
    "make",
    [
        replaced(),
        replaced(git={"commit": "b" * 40}),
        replaced("version"),
        lambda p: [*replaced(target={"protocol": "tfs-rest"})(p), "--by", "protocol"],
        typed("new", "--limits", "absolute.toml"),
        tried(("fine", "good"), ("other", "good")),
        lambda p: [*replaced("version", git={"commit": "b" * 40})(p), "--by", "version", "--by", "commit"],
        lambda p: committed(p, str(p.runs("new")[0].parent.relative_to(p.path))),
        lambda p: [
            *[
                p.runs("new"),
                p.runs("new", "slow", git={"commit": "b" * 40}),
                ["new", "--limits", "absolute.toml"],
            ][-1],
            "--commit",
            "aaaa",
        ],
        lambda p: (
            p.experiment("new", ("fine", "half failed")),
            (p.path / "own.toml").write_text('failed_trials = "40 %"\n[limits]\np50_ms = 3\n'),
            ["new", "--limits", "own.toml"],
        )[-1],
        *RIGHT,
        *RIGHT_ANSWERS,
        *RIGHT_CAPACITIES,
        *RIGHT_DUETS,
    ],
)
def test_what_is_right_passes(make: Callable[[Checkout], list[str]], tmp_path: Path, recorded: Path) -> None:
    """The same checkouts without the fault: a suite of which everything fails would show nothing."""
    done = bench("gate", *make(Checkout(tmp_path, recorded)), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_other_verbs_name_an_interrupted_experiment(tmp_path: Path, recorded: Path) -> None:
    place = Checkout(tmp_path, recorded)
    begun(place, "new", "interrupted", {10}, "a", "b")
    for verb, *more in (("report",), ("report", "--markdown"), ("compare", "--by", "server"), ("history",)):
        done = bench(verb, "new", *more, cwd=tmp_path)
        assert "interrupted after 4 of 5 blocks" in " ".join((done.stdout + done.stderr).split()), verb
    assert json.loads(bench("report", "new", "--json", cwd=tmp_path).stdout)["cut_short"]
    assert bench("compare", "new", "--by", "server", "--check", cwd=tmp_path).returncode == 3
    assert bench("baseline", "set", "new", cwd=tmp_path).returncode == 3
    assert bench("baseline", "set", "new", "--accept", "interrupted", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(("kind", "code"), [("good", 0), ("slow", 1)])
def test_a_reader_that_leaves_changes_no_verdict(
    kind: str, code: int, tmp_path: Path, recorded: Path
) -> None:
    import os
    import subprocess
    import sys

    Checkout(tmp_path, recorded).runs("new", kind)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "bench", "gate", "new", "--limits", "absolute.toml"]
    done = subprocess.run(command, stdout=writing, stderr=writing, cwd=tmp_path, check=False, timeout=120)
    os.close(writing)
    assert done.returncode == code


def test_a_crash_within_a_gate_is_no_verdict(
    tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Checkout(tmp_path, recorded).runs("new")
    monkeypatch.setattr("bench.analysis.judging.gate.judge_absolute", lambda *_: 1 // 0)
    assert bench("gate", "new", "--limits", "absolute.toml", cwd=tmp_path).returncode == 70
    assert process("gate", "nowhere", cwd=tmp_path).returncode == 2


def test_a_candidate_that_answers_nothing_is_worse(tmp_path: Path, recorded: Path) -> None:
    place = Checkout(tmp_path, recorded)
    place.runs("base")
    place.runs("new", "failing")
    done = bench("compare", "base", "new", "--check", cwd=tmp_path)
    assert (done.returncode, "every request failed" in done.stderr) == (1, True), done.stderr
    assert "only the baseline measured" in done.stdout
    assert bench("compare", "base", "new", cwd=tmp_path).returncode == 0
    turned = bench("compare", "new", "base", cwd=tmp_path)
    assert (turned.returncode, "every trial of the baseline failed" in turned.stderr) == (2, True)


@pytest.mark.parametrize("form", ["--json", "--markdown"])
def test_comparisons_list_what_gave_no_trial(form: str, tmp_path: Path, recorded: Path) -> None:
    """In every form: a table in a pull request has no standard error beside it."""
    place = Checkout(tmp_path, recorded)
    place.runs("base")
    place.experiment("new", ("fine", "half failed"), ("other", "not run"))
    (place.runs("new", count=1)[0] / "manifest.json").unlink()
    done = bench("compare", "base", "new", "--by", "server", form, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split()).replace("\\", "")
    assert "signal 11" in shown and "not run" in shown and "manifest.json" in shown
    told = bench("history", "base", "new", cwd=tmp_path).stderr
    assert "signal 11" in told and "not run" in told and "manifest.json" in told


def test_a_baseline_within_results_is_neither_a_side_nor_a_line_for_each_run(
    tmp_path: Path, recorded: Path
) -> None:
    """Its runs are copies: a comparison of all results refused them."""
    place = Checkout(tmp_path, recorded)
    place.runs("results")
    place.runs("results", "version")
    assert bench("baseline", "set", "results", cwd=tmp_path).returncode == 0
    compared = bench("compare", "results", "--by", "version", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert "left out: results/baseline: the baseline" in compared.stderr
    told = bench("report", "results", "--csv", cwd=tmp_path).stderr
    assert "results/baseline: copies of 6 runs that are shown" in told
    assert told.count("left out") == 1
