"""Faults at known instants of a load are named by the report, with begin and length."""

import signal
from pathlib import Path

from bench.runs.run import Run
from tests.benchmarks.faults.kinds import falsified, origin, reported, stopped
from tests.benchmarks.faults.scenery import Scene, scenery
from tests.load.locust_runs import finish, start, wait_for


def test_wrong_answers_and_a_server_that_hung(tmp_path: Path) -> None:
    with scenery("embedded") as (server, proxy):
        options = ["--host", proxy.address, "--schedule", "constant:400"]
        load = start(tmp_path, *options, scenario="scenarios/mnist_open.py")
        folder, begun = origin(tmp_path, load)
        scene = Scene(server, proxy, load, folder)

        def recorded(more: int) -> None:
            since = len(Run.open(folder).samples)
            wait_for(lambda: len(Run.open(folder).samples) - since > more, load)

        recorded(2100)  # each digit twice: its answer is known for good
        wrong = falsified(scene, "flip")
        recorded(100)
        hung = stopped(server.pid)
        recorded(100)
        load.send_signal(signal.SIGINT)
        finish(load, tmp_path)
        told = reported(folder)["interruptions"]
    for kind, (begin, end) in (("wrong answers", wrong), ("no answers", hung)):
        # what else the machine did meanwhile may be there too
        assert any(
            each["kind"] == kind and each["begin"] < end - begun and begin - begun < each["end"]
            for each in told
        ), (kind, told)
