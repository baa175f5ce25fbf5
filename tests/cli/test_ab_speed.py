"""`bench ab` on servers of known service times: the verdict on speed, its gate, limits that could not be decided, REST and OIP."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from bench import mnist
from bench.cli import ab_load, blocks
from bench.config.experiment import Load
from bench.experiment.plan import Condition
from bench.experiment.runner import Runner
from bench.experiment.two_conditions import ServedCondition, TwoConditions
from bench.launch import server_process
from bench.launch.server_process import Server
from bench.runs.journal import Ended
from tests.analysis.test_schemas import check
from tests.cli.inside import bench
from tests.experiment import experiments
from tests.recorded import requests, seconds, write

ACCEPTED = ("short", "unsteady")
"""Trials have six seconds."""
CONFIG = """model_config_list {{
  config {{ name: "digits" base_path: "{path}" model_platform: "tensorflow" }}
  config {{ name: "small" base_path: "{path}" model_platform: "tensorflow" }}
}}
"""


def synthetic(folder: Path, milliseconds: int) -> Iterator[Server]:
    (folder / "model" / "3").mkdir(parents=True)
    (folder / "models.config").write_text(CONFIG.format(path=folder / "model"))
    flags = [
        "--backend",
        "synthetic",
        "--service_time",
        f"constant({milliseconds}ms)",
        "--rest_api_port",
        "0",
    ]
    with server_process.embedded([*flags, "--model_config_file", str(folder / "models.config")]) as server:
        yield server


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from synthetic(tmp_path_factory.mktemp("quick"), 2)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from synthetic(tmp_path_factory.mktemp("slow"), 6)


@contextlib.contextmanager
def trials(service: Callable[[Condition], float]) -> Iterator[None]:
    """In place of load processes, trials of known service times, in seconds: six seconds of two users.

    They take six seconds by the clock that says when to look at them: how sure a look has to be depends on it.
    """
    now = [0.0]

    def run(runner: Runner, _lock: int, **_: Any) -> None:
        ended = runner.folder.ended()
        for trial in runner.folder.trials:
            if trial.number in ended:
                continue
            now[0] += 6.0
            cell, each = trial.cell, service(trial.cell)
            duet = {"duet": {"arm": 1 + (trial.number - 1) % 2, "one_server": False}}
            found = write(
                runner.folder.path,
                seconds(
                    *(
                        requests(
                            100 * trial.number + second, count=int(1 / each), rate=1 / each, start=float(second),
                            service=each, version=cell.version or 0, accuracy=1.0,
                        )
                        for second in range(6)
                    )
                ),
                scenario="model",
                note=trial.id,
                target={
                    "address": cell.server, "kind": "remote", "model": cell.model, "version": cell.version,
                    "protocol": runner.servers[cell.server].spec.protocol,
                },
                load={"kind": "closed", "users": 2, "batch": 1, "processes": 1},
                experiment={"name": "ab", "cell": cell._asdict(), "block": trial.block, "trial": trial.number},
                **(duet if runner.folder.description.get("duet") else {}),
            )  # fmt: skip
            runner.folder.note(Ended(trial.number, "measured", None, found.path.name))

    clock = SimpleNamespace(monotonic=lambda: now[0])
    with mock.patch.object(Runner, "run", run), mock.patch.object(blocks, "time", clock):
        yield


def judged(cwd: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """What --json holds, and what was shown."""
    accepted = (word for name in ACCEPTED for word in ("--accept", name))
    done = bench("ab", *arguments, *accepted, "--json", "ab.json", cwd=cwd)
    assert (cwd / "ab.json").exists(), done.stderr
    told: dict[str, Any] = json.loads((cwd / "ab.json").read_text())
    check("ab", told)
    assert done.returncode == told["gate"]["code"], done.stdout + done.stderr
    return told, " ".join(done.stdout.split())


def test_a_slower_server_breaks_the_limit(quick: Server, slow: Server, tmp_path: Path) -> None:
    first = ServedCondition(quick.address, "digits", 3).server
    with trials(lambda cell: 0.002 if cell.server == first else 0.006):
        told, shown = judged(
            tmp_path,
            *(quick.address, "--against", slow.address, "--model", "digits", "--users", "2"),
            *("--latency-only", "--max-slowdown", "50%", "--goodput-ms", "6", "--max-slowdown", "goodput=1%"),
            *("--markdown", "ab.md", "--junit", "ab.xml"),
        )
    assert told["gate"]["code"] == 1
    found = {each["metric"]: each for each in told["gate"]["findings"]}
    assert {name: each["outcome"] for name, each in found.items()} == {"p50": "FAIL", "goodput": "FAIL"}
    assert found["p50"]["measured"] == pytest.approx(3, rel=0.1)
    changes = {each["metric"]: each for each in told["changes"]}
    assert all(changes[name]["verdict"] == "worse" and changes[name]["claimed"] for name in found)
    assert changes["goodput"]["after"] == pytest.approx(0.5, abs=0.05)
    # users that are shared between both have equal rates
    assert not any("per_second" in name or name == "goodput_rate" for name in changes)
    assert re.search(r"\(version 3\) is \d+ % slower at the median \(", told["sentences"][0])
    assert "answered rightly" in told["sentences"][0]
    assert "gate FAIL: 2 FAIL" in shown
    assert "--max-slowdown 50%" in (tmp_path / "ab.xml").read_text()
    assert "FAIL" in (tmp_path / "ab.md").read_text()


def test_limits_of_the_starting_set_are_decided(quick: Server, tmp_path: Path) -> None:
    """Rates among them, which no duet compares; of two models."""
    assert bench("init", "start", cwd=tmp_path).returncode == 0
    digits = mnist.load("test")
    np.savez(
        tmp_path / "digits.npz", images=digits.images[:20].reshape(-1, 28, 28, 1), label=digits.labels[:20]
    )
    with trials(lambda cell: 0.002):
        told, shown = judged(
            tmp_path,
            *(quick.address, "--model", "digits,small", "--requests", "digits.npz", "--latency-only"),
            *("--limits", "start/experiment.limits.toml"),
        )
    assert told["gate"]["code"] == 0, shown
    outcomes = {each["metric"]: each["outcome"] for each in told["gate"]["findings"]}
    assert outcomes == dict.fromkeys(("error_share", "accuracy", "p99", "p50", "requests_per_second"), "pass")
    assert told["sentences"][0].startswith("Model small (version 3) is ")
    assert "in requests/s" in told["sentences"][0]


@pytest.mark.parametrize("protocol", ["tfs", "tfs-rest", "oip", "oip-typed"])
def test_answers_of_two_models_over_each_protocol(quick: Server, tmp_path: Path, protocol: str) -> None:
    address = quick.rest if protocol == "tfs-rest" else quick.address
    done = bench(
        *("ab", address or "", "--protocol", protocol, "--model", "digits,small", "--examples", "20"),
        *("--answers-only", "--min-agreement", "0.5"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Model small (version 3): answers agree in all 20 examples" in " ".join(done.stdout.split())


@pytest.mark.parametrize("protocol", ["tfs-rest", "oip"])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--model", "digits,none"), "--model none: 127.0.0.1:"),
        (("--model", "digits,small", "--versions", "9"), "versions of digits available there: 3"),
        (("--model", "digits,small", "--output", "none"), "--output none: signature "),
        (("--model", "digits,small", "--requests", "wrong.jsonl"), "wrong.jsonl: line 1, key 'image'"),
        (("--model", "digits,small", "--requests", "short.jsonl"), "short.jsonl: line 1, input 'images'"),
    ],
)
def test_what_is_wrong_is_one_line_over_rest_and_oip(
    quick: Server, tmp_path: Path, protocol: str, arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "wrong.jsonl").write_text('{"inputs": {"image": [0]}}')
    (tmp_path / "short.jsonl").write_text('{"inputs": {"images": [[0, 1], [2, 3]]}}')
    address = quick.rest if protocol == "tfs-rest" else quick.address
    done = bench("ab", address or "", "--protocol", protocol, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.splitlines()
    assert text in line


@pytest.mark.parametrize(
    ("part", "schedule", "rates", "duet", "slice"),
    [
        ("version", "closed", False, True, ab_load.SLICE),
        ("version", "closed", True, False, None),
        ("version", "poisson:200", False, False, None),
        ("server", "poisson:200", False, True, None),
        ("server", "poisson:200", True, False, None),
        ("batch", "closed", False, False, None),
    ],
)
def test_how_both_get_their_load(
    part: str, schedule: str, rates: bool, duet: bool, slice: float | None
) -> None:
    """A duet shares users, or arrivals, between the two: where rates have limits each has a time of its own."""
    before = ServedCondition("blue:1", "ranker", 6)
    other = {"address": "green:1"} if part == "server" else {part: 7}
    two = TwoConditions(before, before._replace(**other), part)  # type: ignore[arg-type]
    assert ab_load.in_turn(two, Load(users=1, schedule=schedule).schedule, over_http=False, rates=rates) == (
        duet,
        slice,
    )
    assert ab_load.in_turn(two, schedule, over_http=True, rates=rates) == (False, None)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ('[limits]\naccuracy = "90 %"', "limits.accuracy: the requests hold no labels"),
        ("[limits]\nrecovery_seconds_s = 2", "limits.recovery_seconds_s: bench ab does not measure"),
        ('[worse_than_baseline]\ncpu_per_request = "5 %"', "cpu_per_request: bench ab does not measure"),
        (
            "[[cells]]\nbatch = 32\nlimits = { p99_ms = 9 }",
            "cells[0].limits.p99_ms: it applies to batch 32, but",
        ),
        (
            'scenario = "mnist"\n[limits]\np99_ms = 9',
            "it applies to scenario mnist, but this measures",
        ),
        (
            "version = 4\n[limits]\np99_ms = 9",
            "it applies to version 4, but this measures model, ",
        ),
        ("[limits]\ngoodput = 0.9", "goodput needs a time limit"),
    ],
)
def test_limits_that_could_not_be_decided_are_refused_before_the_load(
    quick: Server, tmp_path: Path, limits: str, text: str
) -> None:
    (tmp_path / "limits.toml").write_text(limits)
    done = bench(*("ab", quick.address, "--model", "digits,small", "--limits", "limits.toml"), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert "limits.toml: " in line
    assert text in line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "limits", "text"),
    [
        (["--duet"], '[worse_than_baseline]\nrequests_per_second = "5 %"', "leave out --duet, or the limit"),
        ([], "batch = 8\n[limits]\np99_ms = 9", "it applies to batch 8, but this measures"),
        ([], 'server = "quick"\n[limits]\np99_ms = 9', "server quick, but this measures"),
    ],
)
def test_so_are_those_of_bench_gate_with_run(
    tmp_path: Path, arguments: list[str], limits: str, text: str
) -> None:
    experiment = experiments.write(tmp_path)
    experiment.with_suffix(".limits.toml").write_text(limits)
    done = bench("gate", "--run", experiment, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert text in line
    assert not (tmp_path / "results").exists()
