"""`bench gate --run` and `--self-test`, with real servers and real load."""

import json
from pathlib import Path

import pytest

from bench.runs.chunk import Chunk
from tests.cli.inside import bench, process
from tests.experiment import experiments
from tests.recorded import requests
from tests.recorded import write as write_run

# two trials of a second on a busy machine: what is tested is the way, not the measuring
LIMITS = """
accept = ["short", "client held up", "client paused", "client saturated", "errors", "unsteady", "behind", "stalled"]
[worse_than_baseline]
p50 = 0.5
"""


@pytest.mark.timeout(400)
def test_a_slower_server_breaks_the_gate_with_few_blocks(tmp_path: Path) -> None:
    experiment = experiments.write(tmp_path)
    experiment.with_suffix(".limits.toml").write_text(LIMITS)
    # a busy machine may take a second to begin a trial, which Locust counts as load
    experiment.write_text(
        experiment.read_text().replace("users = 2", "users = 4").replace("seconds = 1", "seconds = 2")
    )
    # beside these times, what a busy machine adds is little: the first look, at four blocks, decides
    servers = tmp_path / "servers.toml"
    servers.write_text(servers.read_text().replace("(4ms)", "(5ms)").replace("(12ms)", "(20ms)"))
    done = process(
        "gate",
        "--run",
        experiment,
        "--budget",
        "200",  # blocks of a few seconds; on a machine that does much else of half a minute
        "--results",
        tmp_path / "results",
        "--json",
        tmp_path / "r.json",
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "candidates against server quick" in done.stderr
    told = json.loads((tmp_path / "r.json").read_text())
    (finding,) = told["findings"]
    assert finding["outcome"] == "FAIL"
    assert 2 < finding["measured"] < 4  # three times as much on top: 5 ms and 20 ms of service time
    assert finding["cell"]["server"] == "other"
    (folder,) = (tmp_path / "results").iterdir()
    runs = list(folder.glob("*/manifest.json"))
    assert len(runs) == 2 * told["trials"]
    # the folder is an experiment's like any other
    compared = bench("compare", folder, "--by", "server", "--baseline", "quick", "--json", cwd=tmp_path)
    told = json.loads(compared.stdout)
    assert (told["comparisons"][0]["paired"], told["missing"]) == (True, [])  # decided early is not cut short


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--budget", "3"], "are needed; give"),
        (["--by", "version"], "one version only"),
        (["--baseline", "nobody"], "server is one of quick, other"),
        (["--limits", "none.toml"], "none.toml: no such file"),
        (["--json", "nowhere/r.json"], "--json nowhere/r.json: No such file or directory; name a file in"),
    ],
)
def test_what_cannot_be_run_is_one_line(tmp_path: Path, arguments: list[str], text: str) -> None:
    experiment = experiments.write(tmp_path)
    experiment.with_suffix(".limits.toml").write_text(LIMITS)
    done = bench("gate", "--run", experiment, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_runs_or_an_experiment(tmp_path: Path) -> None:
    assert bench("gate", cwd=tmp_path).returncode == 2
    assert bench("gate", "results", "--run", "x.toml", cwd=tmp_path).returncode == 2


def test_the_self_test_prints_its_table(tmp_path: Path) -> None:
    done = bench("gate", "--self-test", cwd=tmp_path)
    assert done.returncode == 0
    assert "pass" in done.stdout.splitlines()[-1]
    for number in range(9):
        chunks = [
            Chunk.of(**requests(100 * number + i, count=300, rate=300, start=float(i)), keep_samples=False)
            for i in range(4)
        ]
        write_run(tmp_path / "runs", chunks)
    recorded = bench("gate", "--self-test", "runs", cwd=tmp_path)
    assert "self-test on 9 trials" in recorded.stdout
    assert recorded.returncode in (0, 1)
    assert bench("gate", "--self-test", "nowhere", cwd=tmp_path).returncode == 2
