"""Faults at known instants of a load are named by the report, with begin and length."""

import signal
from pathlib import Path

from bench.runs.run import Run
from tests.benchmarks.faults.kinds import falsified, origin, reported, starvation, stopped
from tests.benchmarks.faults.scenery import Scene, scenery
from tests.load.locust_runs import finish, start, wait_for
from tests.test_mnist import write_idx


def test_wrong_answers_and_a_server_that_hung(tmp_path: Path) -> None:
    write_idx(
        tmp_path
    )  # six digits: their answers are soon known for good, however few requests a machine sends
    with scenery("embedded") as (server, proxy):
        options = ["--host", proxy.address, "--schedule", "constant:200", "--mnist", str(tmp_path)]
        load = start(tmp_path, *options, scenario="scenarios/mnist_open.py")
        folder, begun = origin(tmp_path, load)
        scene = Scene(server, proxy, load, folder)

        def recorded(count: int, after: float) -> None:
            """What was due before may come later still."""
            wait_for(lambda: (Run.open(folder).samples["due"] > after - begun).sum() > count, load)

        recorded(400, after=begun)
        wrong = falsified(scene, "flip")
        recorded(100, after=wrong[1])
        hung = stopped(server.pid)
        recorded(100, after=hung[1])
        load.send_signal(signal.SIGINT)
        finish(load, tmp_path)
        told = reported(folder)["interruptions"]
    for kind, (begin, end) in (("wrong answers", wrong), ("no answers", hung)):
        # what else the machine did meanwhile may be there too
        named = any(
            each["kind"] == kind and each["begin"] < end - begun and begin - begun < each["end"]
            for each in told
        )
        # beside pauses of the load process itself, no answers are nothing unusual
        assert named or (kind == "no answers" and starvation(folder)), (kind, told)
