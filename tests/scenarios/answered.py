"""A run's answers and limits, for the tests of this folder."""

from dataclasses import replace
from pathlib import Path

from bench.analysis.answers.answer import Answer
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.gate import FAIL, Judgement, LimitsFile, gate
from bench.analysis.reading.checks import warnings_of
from bench.analysis.statistics.clustered import effective
from bench.runs.run import Run
from tests.load.locust_runs import ROOT

BUSY = {"client held up", "client paused", "client saturated", "not achieved", "stolen time"}
"""What a run says of itself where the machine was not its own."""
ENOUGH = 100
"""Requests of a cell in whole seconds, all of them beyond a limit, that show it broken among as many as a file has."""
TELLING = 300
"""Examples of which the share that is answered right says something: three times its standard error is 5 %."""


def values(found: list[Answer]) -> dict[str, float | None]:
    return {name: value for answer in found for name, value in answer.values.items()}


def known(found: dict[str, float | None], name: str) -> float:
    value = found[name]
    assert value is not None, f"{name} in {found}"
    return value


def unsent(run: Run) -> int:
    """Requests that the load process itself did not come to send."""
    return int(run.manifest.raw["counts"]["unsent"])


def sent(run: Run) -> Run:
    """The seconds of a run until a busy load process fell so far behind that its last requests were left out."""
    if not unsent(run):
        return run
    return run.within(run.seconds[0], int(run.samples["due"][run.samples["status"].notna()].max()))


def hold_to_limits(asked: str, run: Run, folder: Path) -> None:
    """The limits beside the scenario are kept, and with one that nothing can keep they are broken.

    As `bench gate` judges; that the load was short, and the machine shared, is no matter here. Where it cannot tell
    of so short a run, what was measured is on the right side of the limit all the same.
    """
    beside = ROOT / "scenarios" / f"{asked.split(maxsplit=1)[0]}.toml"
    judged = _judged(beside, run)
    excused = set()
    if unsent(
        run
    ):  # what a busy load process did not come to send counts as an error, of which the server knows nothing
        excused |= {"error_share"}
    if run.samples.groupby("name")["batch"].sum().min() < TELLING:
        excused |= {"accuracy"}
    if BUSY & {warning.check for warning in warnings_of(run)}:  # durations are then those of the machine
        excused |= {found.limit.metric.name for found in judged.findings if found.limit.metric.unit == "s"}
    assert [found for found in _beyond(judged) if found[0] not in excused] == []
    assert judged.findings
    unkept = folder / beside.name
    text = beside.read_text()
    assert text.count("\n[limits]\n") == 1
    # of a maximum there is no interval: it is broken however short the run is, and however busy the machine
    unkept.write_text(text.replace("\n[limits]\n", "\n[limits]\nmax_us = 0.001\np50_us = 0.001\n"))
    judged = _judged(unkept, run)
    assert {name for name, *_ in _beyond(judged)} - (excused - {"max", "p50"}) == {"max", "p50"}
    assert {f.outcome for f in judged.findings if f.limit.dotted == "limits.max_us"} == {"FAIL"}
    # a percentile is, where whole seconds of the run show how it varies: however that is, all are beyond the limit
    telling = {
        trial.identity
        for trial in read_trials([run]).trials
        if trial.within and effective(*trial.within.requests_of("error_share"), 0.98) >= ENOUGH
    }
    medians = {f.identity: f for f in judged.findings if f.limit.dotted == "limits.p50_us"}
    assert [medians[cell].how for cell in telling if medians[cell].outcome != "FAIL"] == []
    assert replace(judged, warnings=[]).code == FAIL, (
        "but for the warnings of a short run on a shared machine"
    )


def _judged(limits: Path, run: Run) -> Judgement:
    return gate(LimitsFile.read(limits), read_trials([run]))


def _beyond(judged: Judgement) -> list[tuple[str, str, object, str, str]]:
    """What is broken, and what would be if what was measured were all that there is to know."""
    return [
        (found.limit.metric.name, str(found.identity), found.measured, found.outcome, found.how)
        for found in judged.findings
        if found.outcome == "FAIL"
        or (
            found.measured > found.allowed
            if found.limit.metric.better == "lower"
            else found.measured < found.allowed
        )
    ]
