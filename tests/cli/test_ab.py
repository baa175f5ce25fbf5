"""`bench ab` from beginning to end, on two versions of a model with two inputs, and what it refuses."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.launch import server_process
from bench.runs.answers import DIFFERENT, Answers
from tests.analysis.test_schemas import check
from tests.cli.inside import bench, process
from tests.server.saved_models import RISEN

EXAMPLES, FEW = 1000, 200
CHANGED = 17
"""Among the first: a machine that is busy compares no more in little time."""
CONFIG = """model_config_list {{ config {{
  name: "ranker" base_path: "{path}" model_platform: "tensorflow" model_version_policy {{ all {{}} }}
  version_labels {{ key: "stable" value: 6 }} version_labels {{ key: "canary" value: 7 }}
}} config {{ name: "random" base_path: "{random}" model_platform: "tensorflow" }} }}
"""
LABELS_FIRST = "--allow_version_labels_for_unavailable_models"
SECOND = """model_config_list {{ config {{
  name: "ranker" base_path: "{path}" model_platform: "tensorflow" version_labels {{ key: "stable" value: 7 }}
}} }}
"""


@pytest.fixture(scope="module")
def address(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = tmp_path_factory.mktemp("config") / "models.config"
    saved = written / "saved"
    config.write_text(CONFIG.format(path=saved / "ranker", random=saved / "random"))
    with server_process.embedded(["--model_config_file", str(config), LABELS_FIRST]) as server:
        yield server.address


@pytest.fixture(scope="module")
def second(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another server, of version 7 alone, where this is the stable one."""
    config = tmp_path_factory.mktemp("second") / "models.config"
    config.write_text(SECOND.format(path=written / "saved" / "ranker"))
    with server_process.embedded(["--model_config_file", str(config), LABELS_FIRST]) as server:
        yield server.address


def sample(path: Path, count: int) -> Path:
    """So many different examples, of which version 7 answers one otherwise."""
    rng = np.random.default_rng(5)
    rows = [
        {"text": RISEN if number == CHANGED else f"text {number}", "numbers": rng.random(8).round(3).tolist()}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps({"inputs": row}) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample(tmp_path_factory.mktemp("requests") / "few.jsonl", FEW)


def ab(address: str, cwd: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    # a busy machine compares all examples as well, if later: it is done as soon as they are
    time = ("--time", "4m") if "--answers-only" in arguments and "--time" not in arguments else ()
    return bench("ab", address, *arguments, *time, "--results", cwd / "results", cwd=cwd)


def only_folder(cwd: Path) -> Path:
    (folder,) = (cwd / "results").iterdir()
    return folder


def test_the_verdict_in_one_command(address: str, tmp_path: Path) -> None:
    """One block is enough of a way to be tested; how long it takes to decide is for tests/benchmarks/ab_campaign.py."""
    requests = sample(tmp_path / "sample.jsonl", EXAMPLES)
    done = process(
        *("ab", address, "--model", "ranker", "--versions", "6,7", "--requests", requests, "--time", "7s"),
        *("--min-agreement", "0.99", "--users", "2", "--schedule", "closed:2ms"),
        *("--results", tmp_path / "results"),
        *("--json", tmp_path / "ab.json", "--junit", tmp_path / "ab.xml"),
        cwd=tmp_path,
    )
    told = json.loads((tmp_path / "ab.json").read_text())
    check("ab", told)
    folder = only_folder(tmp_path)
    assert Path(told["folder"]) == folder
    text = " ".join(done.stdout.split())
    compared = told["answers"]["compared"]
    assert told["answers"]["differing"] == 1
    assert f"% of {compared:,} examples" in text
    (finding,) = told["gate"]["findings"]
    assert (finding["metric"], finding["measured"]) == ("agreement", pytest.approx(1 - 1 / compared))
    assert not any("per_second" in each["metric"] for each in told["changes"])  # equal by design
    assert (
        "1 block fitted into the time of the load; two or more are needed to see how trials differ"
        in done.stderr
    )
    # warnings are the machine's: the verdict is "measurement invalid" with them
    assert done.returncode == told["gate"]["code"], done.stdout + done.stderr
    assert done.returncode in ((3,) if told["gate"]["doubts"] else (0, 3))
    assert 'name="--min-agreement 0.99' in (tmp_path / "ab.xml").read_text()
    shown = [json.loads(line) for line in (folder / DIFFERENT).read_text().splitlines()]
    assert [row["example"] for row in shown] == [CHANGED]
    assert shown[0]["Version 7"]["score"] - shown[0]["Version 6"]["score"] == pytest.approx(0.5, abs=1e-5)
    runs = [json.loads(path.read_text()) for path in folder.glob("*/manifest.json")]
    assert sorted(run["experiment"]["cell"]["version"] for run in runs) == [6, 7] * (len(runs) // 2)
    assert all(run["counts"]["recorded"] for run in runs)
    # it is an experiment's folder like any other
    report = json.loads(bench("report", folder.relative_to(tmp_path), "--json", cwd=tmp_path).stdout)
    check("report", report)
    assert [each["answers"]["differing"] for each in report["agreements"]] == [1], (
        "one experiment is told once"
    )
    compared = bench("compare", folder, "--by", "version", "--json", cwd=tmp_path)
    assert json.loads(compared.stdout)["comparisons"][0]["candidate"]["version"] == 7
    limits = tmp_path / "limits.toml"
    limits.write_text("[limits]\nagreement = 0.9995\n")
    gate = bench("gate", folder, "--limits", limits, "--json", tmp_path / "gate.json", cwd=tmp_path)
    assert gate.returncode in (1, 3)
    outcomes = {each["outcome"] for each in json.loads((tmp_path / "gate.json").read_text())["findings"]}
    assert outcomes <= {"inconclusive", "FAIL"}
    resumed = bench("run", folder, "--resume", cwd=tmp_path)
    assert resumed.returncode == 2
    assert "run bench ab again" in resumed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (("--versions", "stable,canary"), 0, ["Version 7 (canary): answers differ in 0.5 % of 200 examples"]),
        (("--versions", "7,6"), 0, ["Version 6: answers differ in 0.5 %"]),
        (
            ("--versions", "7", "--batch-size", "1,32"),
            0,
            ["Batch size 32: answers agree in all 200 examples"],
        ),
        (("--versions", "6,7", "--output", "grade"), 0, ["200 examples", "grade"]),
        (("--versions", "6,7", "--transport", "grpcio"), 0, ["differ in 0.5 %"]),
        (("--versions", "6,7", "--min-agreement", "1"), 1, ["gate FAIL: 1 FAIL"]),
        (("--versions", "6,7", "--min-agreement", "0.9"), 0, ["gate pass: 1 pass"]),
        (("--versions", "6,7", "--min-agreement", "99.5%"), 3, ["gate inconclusive: 1 inconclusive"]),
        (("--versions", "6,7", "--tolerance", "0.9"), 0, ["answers"]),
    ],
)
def test_answers_only(
    address: str, few: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, texts: list[str]
) -> None:
    done = ab(address, tmp_path, "--model", "ranker", "--requests", few, "--answers-only", *arguments)
    shown = " ".join(done.stdout.split())
    assert done.returncode == code, done.stdout + done.stderr
    for text in texts:
        assert text in shown
    assert "--output" not in arguments or "score" not in shown


@pytest.mark.parametrize("versions", [(), ("--versions", "stable")])
def test_two_servers_with_other_versions_are_each_asked_for_their_own(
    address: str, second: str, few: Path, tmp_path: Path, versions: tuple[str, ...]
) -> None:
    """The label is version 6 at the first one, where the latest is 7."""
    arguments = ("--against", second, "--model", "ranker", "--requests", few, "--answers-only", *versions)
    done = ab(address, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    agreement = "differ in 0.5 % of" if versions else "agree in all"
    assert f"{second} (version 7): answers {agreement} 200 examples" in shown


def test_a_model_that_differs_from_itself(address: str, tmp_path: Path) -> None:
    done = ab(
        address, tmp_path, "--model", "random", "--batch-size", "1,2", "--examples", "100", "--answers-only"
    )
    assert done.returncode == 0, done.stderr
    answers = Answers.read(only_folder(tmp_path))
    assert answers is not None
    assert answers.suspected > 90
    assert answers.differing <= 2
    assert "differs from itself in" in " ".join(done.stdout.split())


def test_standard_input_and_labels(address: str, tmp_path: Path) -> None:
    rows = [
        {"inputs": {"text": "a", "numbers": [number] * 8}, "label": "high" if number else "low"}
        for number in (0, 1, 1)
    ]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run(
        [*_command("ab", address, "--model", "ranker", "--versions", "6,7", "--requests", "-", "--output", "grade"),
         "--answers-only", "--save-inputs"],
        input=content, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Accuracy 1.0000 against 1.0000 on 2 labelled examples" in " ".join(done.stdout.split())


def _command(*arguments: str) -> list[str]:
    import sys

    return [sys.executable, "-m", "bench", *arguments]


REFUSED: list[tuple[tuple[Any, ...], str]] = [
    (("--model", "ranker"), "name two to compare"),
    (("--model", "ranker", "--versions", "6,7", "--batch-size", "1,2"), "one thing may differ"),
    (("--model", "ranker", "--versions", "6,7,8"), "expected one value, or two"),
    (("--model", "ranker", "--versions", "6,6"), "is named twice"),
    (("--model", "ranker", "--versions", "6,stable"), "both are version 6"),
    (("--model", "ranker", "--versions", "6,9"), "versions of ranker available there: 6, 7"),
    (("--model", "ranker", "--versions", "6,beta"), "--versions beta"),
    (("--model", "ranker", "--versions", f"6,{2**70}"), "63 bits"),
    (("--model", "nothing", "--versions", "6,7"), "--model nothing"),
    (("--model", "ranker,random"), "input"),
    (("--model", "ranker", "--versions", "6,7", "--signature", "none"), "--signature none"),
    (("--model", "ranker", "--versions", "6,7", "--output", "none"), "has the outputs grade, score"),
    (("--model", "ranker", "--versions", "6,7", "--batch-size", "0"), "expected an integer >= 1"),
    (("--model", "ranker", "--versions", "6,7", "--shape", "none=3"), "--shape none"),
    (("--model", "ranker", "--versions", "6,7", "--requests", "none.jsonl"), "none.jsonl"),
    (("--model", "ranker", "--versions", "6,7", "--schedule", "spike:1x2@3s+4s"), "--schedule spike"),
    (("--model", "ranker", "--versions", "6,7", "--time", "soon"), "a duration such as"),
    (("--model", "ranker", "--versions", "6,7", "--max-slowdown", "5"), "write 5% or 500%"),
    (("--model", "ranker", "--versions", "6,7", "--max-slowdown", "p98=5%"), "unknown metric"),
    (("--model", "ranker", "--versions", "6,7", "--min-agreement", "99"), "expected a share"),
    (("--model", "ranker", "--versions", "6,7", "--min-agreement", "1", "--latency-only"), "--latency-only"),
    (("--model", "ranker", "--versions", "6,7", "--max-slowdown", "5%", "--answers-only"), "--answers-only"),
    (("--model", "ranker", "--versions", "6,7", "--accept", "short"), "--accept needs a limit"),
    (
        ("--model", "ranker", "--versions", "6,7", "--min-agreement", "1", "--accept", "nothing"),
        "unknown warning",
    ),
    (("--model", "ranker", "--versions", "6,7", "--limits", "none.toml"), "none.toml"),
    (
        ("--model", "ranker", "--versions", "6,7", "--server-telemetry", "node:9100"),
        "node:9100: expected URLs",
    ),
    (
        ("--model", "ranker", "--versions", "6,7", *(["--server-telemetry", "http://n/m"] * 2)),
        "expected once",
    ),
    (
        ("--model", "ranker", "--against", "127.0.0.1:1", "--server-telemetry", "http://n/m"),
        "expected twice, for each server",
    ),
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED)
def test_what_is_wrong_is_one_line_before_anything_is_sent(
    address: str, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    done = ab(address, tmp_path, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert text in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("Usage:", "Try "))]
    assert len([line for line in lines if line]) == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"text": "a"}, "numbers"),
        ({"text": "a", "numbers": [1] * 8, "more": 1}, "more"),
        ({"text": "a", "numbers": [1] * 7}, "numbers"),
        ({"text": 3, "numbers": [1] * 8}, "text"),
        ({"text": "a", "numbers": ["x"] * 8}, "numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_line_and_key(
    address: str, tmp_path: Path, row: dict[str, Any], text: str
) -> None:
    path = tmp_path / "wrong.jsonl"
    rows = [{"text": "a", "numbers": [0] * 8}, row]
    path.write_text("".join(json.dumps({"inputs": each}) + "\n" for each in rows))
    done = ab(address, tmp_path, "--model", "ranker", "--versions", "6,7", "--requests", path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "wrong.jsonl" in line
    assert "line 2" in line or ":2" in line
    assert text in line


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    done = ab("localhost:1", tmp_path, "--model", "ranker", "--versions", "6,7", "--timeout", "0.2")
    assert done.returncode == 2
    assert "localhost:1" in done.stderr.splitlines()[-1]
