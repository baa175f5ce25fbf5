"""Starts from the web form that are refused: by the class picker, of a load shape, and the good one after each."""

import json
from collections.abc import Iterator

import pytest

from bench.launch import server_process
from bench.runs.run import Run
from tests.load.locust_runs import ROOT
from tests.load.web_form import Form, opened
from tests.server.clients import eventually

SCENARIO = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locust import LoadTestShape
from scenarios.mnist import Mnist

class Chosen(Mnist):
    pass

class Brief(LoadTestShape):
    def reset_time(self):
        super().reset_time()
        self.ticks = 0

    def tick(self):
        self.ticks += 1  # one each second from the beginning of the load on, however long that takes
        return (2, 9) if self.ticks < 3 else None
"""


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    place = tmp_path_factory.mktemp("picker")
    (place / "chosen.py").write_text(SCENARIO)
    picker = ("--class-picker", "--schedule", "closed:5ms")
    with (
        server_process.embedded(["--backend", "null"]) as server,
        opened(place, server.address, *picker, file=place / "chosen.py") as form,
    ):
        yield form


@pytest.mark.parametrize("shape", ["Default", "Brief"])
def test_after_a_start_that_is_refused_a_good_one_works(form: Form, shape: str) -> None:
    before = form.runs()
    chosen = {"user_classes": "Chosen", "shape_class": shape}
    for _ in range(2):
        _, answer = form.swarm(**chosen, batch_size="0")
        assert not answer["success"], answer
        assert answer["message"].startswith("--batch-size 0: ")
    assert form.runs() == before
    _, answer = form.swarm(**chosen, batch_size="1")
    assert answer["success"], answer

    def finished() -> bool:
        runs = json.loads(form.ask("/bench/runs")[2])["runs"]
        return [run["finished"] for run in runs] == [True] * (len(before) + 1)

    eventually(finished)
    (name,) = set(form.runs()) - set(before)
    run = Run.open(form.results / name)
    assert run.manifest.state == "finished"
    assert run.manifest.raw["load"]["user_classes"] == ["Chosen"]
    assert (run.manifest.planned_end is None) == (shape == "Brief")
    assert run.manifest.counts.recorded == run.manifest.counts.sent > 0
