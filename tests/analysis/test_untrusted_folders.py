"""Run folders of somebody else: whatever is in them is `left out` with its reason, and no verdict.

A case is one entry of CASES: how a good folder is damaged, and what the line must name.
"""

import copy
import json
import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.grouping.conditions import conditions
from bench.analysis.grouping.trials import read_trials
from bench.analysis.showing.report import report
from bench.runs import checksums
from bench.runs.run import find_runs
from tests.cli.inside import bench
from tests.damaged import (
    DEEP,
    GIB,
    Damage,
    deep_plane,
    folder,
    histograms,
    large,
    line,
    link,
    listening,
    many_names,
    pipe,
    record,
    record_of,
    replaced,
    said,
    text,
)

CASES: dict[str, tuple[Damage, str]] = {
    # the manifest as a file
    "no manifest": (lambda run: (run / "manifest.json").unlink(), "no manifest.json in it"),
    "a named pipe": (pipe("manifest.json"), "manifest.json: a named pipe"),
    "a device that never ends": (link("manifest.json", "/dev/zero"), "manifest.json: a device"),
    "a file of the kernel's": (link("manifest.json", "/proc/self/environ"), "manifest.json: a file of the kernel's"),
    "a folder": (folder("manifest.json"), "manifest.json: a folder"),
    "a socket": (listening("manifest.json"), "manifest.json: "),
    "a link to itself": (link("manifest.json", "manifest.json"), "manifest.json: Too many levels"),
    "a terabyte": (large("manifest.json", 1 << 40), "manifest.json: a file of 1,048,576 MiB"),
    "no UTF-8": (text("manifest.json", b'{"schema": "\xff"}'), "manifest.json: not UTF-8 text"),
    "empty": (text("manifest.json", ""), "manifest.json: not valid JSON"),
    "deep lists": (text("manifest.json", DEEP), "nested deeper"),
    "deep objects": (text("manifest.json", '{"schema": 3, "x": ' + '{"a":' * 60 + "1" + "}" * 61), "nested deeper"),
    "another schema": (said(schema=10**6), "schema 1000000"),
    "schema true": (said(schema=True), "no schema in it"),
    "nan": (replaced("manifest.json", '"stopped": 4.2', '"stopped": NaN'), "NaN is not a JSON number"),
    "infinity": (replaced("manifest.json", '"stopped": 4.2', '"stopped": -Infinity'), "-Infinity is not a JSON number"),
    "1e999": (replaced("manifest.json", '"stopped": 4.2', '"stopped": 1e999'), "1e999 is out of range"),
    "10^400": (replaced("manifest.json", '"seed": 1', '"seed": 1' + "0" * 400), "a number of 401 digits"),
    "a number of 5,000 digits": (replaced("manifest.json", '"seed": 1', '"seed": 1' + "0" * 5000), "5,001 digits"),
    # its values
    "stopped in the far future": (said(stopped=1e12), "stopped = 1000000000000.0"),
    "stopped is true": (said(stopped=True), "stopped = True"),
    "started is none": (said(started=None), "started = None: expected a string"),
    "started is a list": (said(started=[]), "started = []: expected a string"),
    "a scenario of a megabyte": (said(scenario="x" * 10**6), "scenario = 'xxx"),
    "load is a list": (said(load=[1]), "load = [1]: expected an object"),
    "load's users is a text": (said(load__users="many"), "load.users = 'many': expected an integer"),
    "load's schedule is a number": (said(load__schedule=5), "load.schedule = 5: expected an object"),
    "turns of no second": (said(load__turns={"names": ["a"], "seconds": 0}), "load.turns.seconds = 0"),
    "turns without a name": (said(load__turns={"names": [], "seconds": 1}), "load.turns.names = []"),
    "steps of no second": (said(load__schedule={"kind": "steps", "each": 0, "steps": [1]}), "load.schedule.each = 0"),
    "span is a text": (said(span__first_due="x"), "span.first_due = 'x': expected a number"),
    "counts below 0": (said(counts__sent=-1), "counts.sent = -1"),
    "counts beyond all": (said(counts__recorded=10**15), "counts.recorded = 1000000000000000"),
    "counts is a fraction": (said(counts__sent=1.5), "counts.sent = 1.5"),
    "addresses is a list": (said(counts__addresses=[1]), "counts.addresses = [1]: expected an object"),
    "workers is an object": (said(workers={}), "workers = {}: expected a list"),
    "a worker is a number": (said(workers=[5]), "workers.0 = 5: expected an object"),
    "a worker left never": (said(workers=[{"left": "never"}]), "workers.0.left = 'never'"),
    "doubts without a reason": (said(doubts=[{"check": "behind"}]), "doubts.0.reason: missing"),
    "wrong answers of a list": (said(wrong_answers={"Predict": [1]}), "wrong_answers.Predict = [1]"),
    "a count of wrong answers": (
        said(wrong_answers={"P": {"shape": {"count": "x", "example": ""}}}), "wrong_answers.P.shape.count = 'x'"),
    "payload of a list": (said(payload={"PredictUser": [1]}), "payload.PredictUser = [1]"),
    "bytes of a payload": (said(payload={"PredictUser": {"bytes": {}}}), "payload.PredictUser.bytes = {}"),
    "arrivals of a number": (said(arrivals={"PredictUser": 5}), "arrivals.PredictUser = 5"),
    "arrivals of users": (
        said(arrivals={"PredictUser": {"begin": 0, "users": [[0]]}}), "arrivals.PredictUser.users.0"),
    "counters of nothing": (said(server_counters__before={"ok": 1.0}), "before.request_count: missing"),
    "counters of texts": (said(server_counters__before__ok="x"), "server_counters.before.ok = 'x'"),
    "a ceiling of a text": (said(ceiling__requests_per_second="fast"), "ceiling.requests_per_second = 'fast'"),
    "a warm-up of a text": (said(warmup={"seconds": "long"}), "warmup.seconds = 'long'"),
    "an experiment of a text": (said(experiment="mine"), "experiment = 'mine'"),
    "a block of a text": (said(experiment={"block": "first"}), "experiment.block = 'first'"),
    "a cell of a list": (said(experiment={"cell": [1]}), "experiment.cell = [1]"),
    "models of a list": (said(experiment={"server": {"models": [1]}}), "experiment.server.models = [1]"),
    "packages of a number": (said(machine__packages=5), "machine.packages = 5"),
    "cores of a text": (said(machine__usable_cores="two"), "machine.usable_cores = 'two'"),
    "a commit of a number": (said(git__commit=5), "git.commit = 5"),
    "a command of numbers": (said(command=[5]), "command.0 = 5"),
    "a bound of a text": (
        said(question="mlperf", load__user_classes=["Server"], options={"latency-bound": "soon"}), "'soon': expected seconds"),
    # counts
    "counts are a pipe": (pipe("counts.jsonl"), "counts.jsonl: a named pipe"),
    "counts are gone": (lambda run: (run / "counts.jsonl").unlink(), "counts.jsonl: missing"),
    "counts of a terabyte": (large("counts.jsonl", 1 << 40), "counts.jsonl: a file of 1,048,576 MiB"),
    "a second in the far future": (line("counts.jsonl", second=1e15), "counts.jsonl:1: second = 1000000000000000"),
    "a second of nan": (replaced("counts.jsonl", '"second":0', '"second":NaN'), "counts.jsonl:1: "),
    "requests beyond all": (line("counts.jsonl", requests=10**30), "counts.jsonl:1: requests = 1000"),
    "requests of a text": (line("counts.jsonl", requests="x"), "counts.jsonl:1: requests = 'x'"),
    "a name of a list": (line("counts.jsonl", name=["x"]), "counts.jsonl:1: name = ['x']"),
    "a version of a fraction": (line("counts.jsonl", version=1.5), "counts.jsonl:1: version = 1.5"),
    "a version beyond 64 bits": (line("counts.jsonl", version=2**64), "counts.jsonl:1: version = 1844"),
    "deep counts": (text("counts.jsonl", DEEP + "\n"), "counts.jsonl:1: not valid JSON: recursion limit"),
    "20,000 names": (many_names, "kinds of requests"),
    # histograms
    "histograms are a pipe": (pipe("histograms.hlog"), "histograms.hlog: a named pipe"),
    "no histogram": (text("histograms.hlog", "x\n"), "histograms.hlog:1: no interval"),
    "a histogram's second": (
        text("histograms.hlog", "Tag=P|2|1|OK|latency,1e15,1,3,HIST\n"), "histograms.hlog:1: no interval"),
    "a histogram's second of infinity": (
        text("histograms.hlog", "Tag=P|2|1|OK|latency,inf,1,3,HIST\n"), "histograms.hlog:1: no interval"),
    "a histogram that unpacks to 200 MB": (histograms(b"\x00", 200_000_000), "bytes of counts"),
    "a log that unpacks to a thousand times its size": (
        histograms(b"\x02", 33_792, times=4000), "unpack to more than 8 times"),
    "counts that overflow": (histograms(b"\xfe\xff\xff\xff\xff\xff\xff\x7f"), "a count of"),
    # the other files
    "telemetry of a text": (line("telemetry.jsonl", cpu_seconds="x"), "telemetry.jsonl:1: cpu_seconds = 'x'"),
    "telemetry of a list": (line("telemetry.jsonl", cpu_seconds=[]), "telemetry.jsonl:1: cpu_seconds = []"),
    "telemetry without a time": (text("telemetry.jsonl", '{"source": "server"}\n'), "telemetry.jsonl:1: time: missing"),
    "telemetry in the far future": (line("telemetry.jsonl", time=1e15), "telemetry.jsonl:1: time = 1"),
    "telemetry is a pipe": (pipe("telemetry.jsonl"), "telemetry.jsonl: a named pipe"),
    "events of numbers": (line("events.jsonl", kind=5), "events.jsonl:1: kind = 5"),
    "events are lists": (text("events.jsonl", "[]\n"), "events.jsonl:1: []: expected an object"),
    # single requests
    "a record of a billion rows": (
        record_of(10**9, "Predict", struct.pack("<qB", 0, 0) * 9), "1000000000 packed rows"),
    "a record of rows below 0": (record_of(-1, "Predict", b""), "-1 packed rows"),
    "a plane that unpacks to 100 MB": (record_of(1000, "Predict", deep_plane), "a plane of 1001 values"),
}  # fmt: skip


ONLY_REPORTS = ("a bound of a text",)
"""What only the answers of a report read, and comparisons do not."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("good"), "good")


def damaged(good: Path, place: Path, name: str) -> Path:
    """A copy that says of itself to be another run, then damaged; the checksums are those of the damaged one."""
    run = place / name.replace(" ", "-").replace(",", "").replace("^", "").replace("'", "")
    shutil.copytree(good, run)
    said(run_id=name)(run)
    CASES[name][0](run)
    return run


@pytest.fixture(scope="module")
def all_damaged(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case in one folder, with two good runs."""
    place = tmp_path_factory.mktemp("all")
    for name in CASES:
        if name not in ONLY_REPORTS:
            damaged(good, place / "new", name)
    for number in range(3):
        shutil.copytree(good, place / "new" / f"good-{number}")
        said(run_id=f"good {number}", doubts=[])(place / "new" / f"good-{number}")
        checksums.seal(place / "new" / f"good-{number}")
    shutil.copytree(place / "new", place / "base", symlinks=True, copy_function=_copy)
    for run in (place / "base").iterdir():
        if run.name.startswith("good-"):
            said(run_id=run.name + " base")(run)
            checksums.seal(run)
        else:
            shutil.rmtree(run)
    (place / "limits.toml").write_text("[limits]\np50_ms = 900\n")
    return place


def _copy(source: str, target: str) -> None:
    if Path(source).is_file() and Path(source).stat().st_size < GIB:
        shutil.copyfile(source, target)


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_folder_is_left_out_with_its_reason(name: str, good: Path, tmp_path: Path) -> None:
    run = damaged(good, tmp_path, name)
    (each,) = report(find_runs([run])).unreadable
    assert CASES[name][1] in each.reason
    assert str(run) in each.reason
    assert "error of serving-bench" not in each.reason
    assert each.reason.isprintable(), "one line"
    assert len(each.reason) < 1000
    done = bench("report", run, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert CASES[name][1] in done.stderr


VERBS: dict[str, tuple[tuple[str, ...], int]] = {
    "report": (("report", "new"), 0),
    "page": (("report", "new", "--html", "page.html", "--json"), 0),
    "markdown": (("report", "new", "--markdown"), 0),
    "csv": (("report", "new", "--csv"), 0),
    "compare": (("compare", "base", "new"), 0),
    "compare to check": (("compare", "base", "new", "--check"), 3),
    "gate": (("gate", "new", "--limits", "limits.toml", "--junit", "junit.xml", "--markdown", "gate.md"), 3),
    "gate against a baseline": (("gate", "base", "--baseline", "new", "--limits", "limits.toml"), 3),
    "baseline set": (("baseline", "set", "new", "--folder", "kept"), 2),
    "baseline show": (("baseline", "show", "--folder", "new"), 0),
    "history": (("history", "new"), 0),
    "plot": (("plot", "new", "--only", "percentile", "--dpi", "50"), 0),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_reads_folders_goes_on_without_the_damaged_ones(verb: str, all_damaged: Path) -> None:
    arguments, code = VERBS[verb]
    done = bench(*arguments, cwd=all_damaged)
    shown = done.stdout + done.stderr
    assert "Traceback" not in shown
    assert done.returncode == code, shown[-3000:]
    assert "left out" in shown or verb == "baseline set" or "[unreadable]" in shown


def test_memory_is_bounded(all_damaged: Path) -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)); "
        "from bench.cli import main; main(sys.argv[1:])"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, "report", "new", "--json"],
        capture_output=True, text=True, check=False, timeout=240, cwd=all_damaged, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    left_out = json.loads(done.stdout)["unreadable"]
    assert len(left_out) == len(CASES) - len(ONLY_REPORTS)
    assert not [each for each in left_out if "MemoryError" in each["reason"]]


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 10**18, 1e308, -1e308, 0.5, "", "x", "\x1b[2J", "a" * 2000, [], [None], [[]], {}, {"x": 1},
    {"kind": "trace", "path": "/dev/zero", "sha256": "x"}, {"kind": "poisson", "rate": 1e14}, ["x", 1], "9" * 400,
)  # fmt: skip


def mutated(value: Any, rng: random.Random) -> Any:
    """The value with one place in it set to something odd, taken out or repeated."""
    value = copy.deepcopy(value)
    place: Any = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        at = rng.choice(keys)
        inner = place[at]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
            place = inner
            continue
        if rng.random() < 0.1:
            del place[at]
        else:
            place[at] = rng.choice(ODD)
        return value


@pytest.mark.parametrize("seed", range(3))
def test_mutated_folders_never_crash_a_reader(seed: int, good: Path, tmp_path: Path) -> None:
    """Of some hundred mutations each is either read or left out, by a reason that is none of a crash."""
    rng = random.Random(seed)
    whole = {name: (good / name).read_text() for name in ("manifest.json", "counts.jsonl", "telemetry.jsonl")}
    run = tmp_path / "run"
    shutil.copytree(good, run)
    for _ in range(int(os.environ.get("BENCH_MUTATIONS", "60"))):
        name = rng.choice(list(whole))
        if name == "manifest.json":
            content = json.loads(whole[name]) | {
                "question": rng.choice(("spike", "bound", "mlperf", "batches", "apis"))
            }
            for _ in range(rng.randint(1, 3)):
                content = mutated(content, rng)
            changed = json.dumps(content)
        else:
            rows = [json.loads(row) for row in whole[name].splitlines()]
            changed = "".join(json.dumps(row) + "\n" for row in mutated(rows, rng))
        (run / name).write_text(changed)
        found = report(find_runs([tmp_path]))
        wrong = [each.reason for each in found.unreadable if "error of serving-bench" in each.reason]
        assert not wrong, changed
        assert len(found.runs) + len(found.unreadable) == 1
        trials = read_trials(find_runs([tmp_path]))
        wrong = [each.reason for each in trials.unreadable if "error of serving-bench" in each.reason]
        assert not wrong, changed
        for trial in trials.trials:
            conditions(trial.manifest)
        (run / name).write_text(whole[name])
