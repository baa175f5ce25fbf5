"""A protocol that only its own module knows, through a load, an experiment's options, the verbs and a report."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import mnist
from tests.load.locust_runs import ROOT, finish, interrupt_when, locust, start
from tests.protocol.echo import labels_of, serving

SCENARIO = """
from locust import constant
from bench.scenario import ArrivalUser, Options, Pool, PredictUser, mnist
from tests.protocol.echo import labels_of, register

register()

class Digits:
    @classmethod
    def payload(cls, options: Options) -> Pool:
        images = mnist.load("test").images[:50]
        request = options.asked.request() | {"model": "digits", "size": 50}
        return Pool.of({"images": images}, labels_of(images), output="scores", **request)

class Closed(Digits, PredictUser):
    request_name = "closed"
    wait_time = constant(0.02)

class Open(Digits, ArrivalUser):
    request_name = "open"
    schedule = "constant:20"
"""


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with serving() as address:
        yield address


def verb(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """A verb in a process that knows the protocol."""
    start = "import tests.protocol.echo as echo, runpy; echo.register(); runpy.run_module('bench', run_name='__main__')"
    command = [sys.executable, "-c", start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)


def test_a_load_is_sent_and_its_answers_are_checked(host: str, tmp_path: Path) -> None:
    scenario = tmp_path / "echoes.py"
    scenario.write_text(SCENARIO)
    results = tmp_path / "results"
    arguments = ["--host", host, "--protocol", "echo", "-u", "4", "-r", "4", "--processes", "2"]
    process = start(results, *arguments, scenario=str(scenario))
    interrupt_when(process, results, lambda run: set(run.samples["name"]) == {"closed", "open"})
    done = finish(process, results)
    assert done.code == 0, done.output
    run = done.run()
    assert (run.samples["status"] == 0).all()
    assert (run.samples["correct"] == 1).all(), "by labels"
    assert set(run.samples["version"]) == {7}
    target = run.manifest.raw["target"]
    assert (target["protocol"], target["version"], run.manifest.raw["wrong_answers"]) == ("echo", 7, {})
    report = verb("report", results)
    assert report.returncode == 0, report.stderr
    assert "closed" in report.stdout


def test_what_the_protocol_has_not_is_one_line_before_the_load(host: str, tmp_path: Path) -> None:
    scenario = tmp_path / "echoes.py"
    scenario.write_text(SCENARIO)
    arguments = ["--host", host, "--protocol", "echo", "--version-label", "canary"]
    done = locust(tmp_path / "results", *arguments, scenario=str(scenario))
    assert done.code == 2, done.output
    assert "bench: --version-label canary: an echo has no labels" in done.output
    assert done.folders == []


def test_the_verbs_send_questions(host: str, tmp_path: Path) -> None:
    where = ("--host", host, "--protocol", "echo", "--model", "digits")
    status = verb("status", *where)
    assert (status.returncode, status.stdout) == (0, "digits version 7: AVAILABLE\n"), status.stderr
    metadata = json.loads(verb("metadata", *where, "--json").stdout)
    assert metadata["signatures"][""]["outputs"]["scores"] == {"dtype": "float", "shape": [-1, 10]}
    pixels = np.round(mnist.load("test").images[:1, :, :, 0] * 255).astype(np.uint8)
    Image.fromarray(pixels[0]).save(tmp_path / "digit.png")
    predicted = verb("predict", *where, tmp_path / "digit.png", "--json")
    assert predicted.returncode == 0, predicted.stderr
    (seen,) = json.loads(predicted.stdout)
    assert (seen["label"], seen["version"]) == (int(labels_of(pixels / 255)[0]), 7)
    refused = verb("status", *where[:-1], "nobody")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"{host}, model nobody: NOT_FOUND: no echo of nobody" in refused.stderr
