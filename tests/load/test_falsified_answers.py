"""A server that flips an answer, swaps two or answers with another version does not get through a run unnoticed.

`python -m tests.benchmarks.falsified_answers` shows it for one answer in 10,000.
"""

from pathlib import Path

from bench.analysis.reading.checks import warnings_of
from bench.launch import server_process
from tests.load.falsifier import falsifier
from tests.load.locust_runs import start, until_recorded

EVERY = 200


def test_falsified_answers_are_counted_with_a_warning(tmp_path: Path) -> None:
    arguments = ["--backend", "synthetic", "--model_name", "mnist", "--service-time", "constant(1ms)"]
    with (
        server_process.embedded(arguments) as server,
        falsifier(server.address, EVERY, ("flip", "swap", "stale")) as proxy,
    ):
        process = start(tmp_path, "--host", proxy.address, "-u", "8", "-r", "8")
        done = until_recorded(process, tmp_path, 20 * EVERY)
        falsified = dict(proxy.falsified)
    assert done.code == 0, done.output
    assert all(falsified.values()), "enough answers for each kind"
    run = done.run()
    mismatched = int(run.samples["mismatched"].sum())
    # the first answers to a question may be counted several times, and nobody knows which of two was right
    assert falsified["flip"] + falsified["swap"] <= mismatched <= 2 * (falsified["flip"] + falsified["swap"])
    versions = run.samples["version"].value_counts()
    assert sorted(versions.tolist())[0] == falsified["stale"]
    found = {warning.check for warning in warnings_of(run)}
    assert {"wrong answers", "version change"} <= found


def test_an_honest_server_is_not_accused(tmp_path: Path) -> None:
    arguments = ["--backend", "synthetic", "--model_name", "mnist", "--service-time", "constant(1ms)"]
    with server_process.embedded(arguments) as server, falsifier(server.address, 10**9, ("flip",)) as proxy:
        done = until_recorded(start(tmp_path, "--host", proxy.address, "-u", "8", "-r", "8"), tmp_path, 500)
    assert done.code == 0, done.output
    run = done.run()
    assert len(run.samples) >= 500
    assert not run.samples["mismatched"].any()
    assert not {"wrong answers", "version change"} & {warning.check for warning in warnings_of(run)}
