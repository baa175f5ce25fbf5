"""How is a gate decided with as few trials as possible, within a budget of time?

Baseline and candidate are cells of one experiment, interleaved in blocks. Blocks are added until every limit is kept
or one is broken, or the budget is spent; looking again and again costs no error (see `bench.analysis.sequential`).
"""

import time
from dataclasses import dataclass
from pathlib import Path

import click

from bench import BenchError
from bench.analysis.gate import UNDECIDED, Judgement, LimitsFile, gate
from bench.analysis.sequential import LEAST, Look, looks
from bench.analysis.trials import Trial, Trials, read_trials
from bench.cli.gate import VARIED
from bench.cli.run_display import Lines
from bench.experiment.beginning import Prepared, begin, prepare
from bench.experiment.folder import Folder
from bench.experiment.plan import cells, predicted_seconds
from bench.experiment.runner import Runner
from bench.experiment.trial import Generator
from bench.run import find_runs


@dataclass(frozen=True)
class Sides:
    """Which cells of an experiment are the baseline, and which the candidate."""

    part: str
    baseline: str

    def split(self, trials: Trials) -> tuple[Trials, Trials]:
        """The candidate's trials and the baseline's."""

        def side(baseline: bool) -> list[Trial]:
            return [
                t for t in trials.trials if (str(getattr(t.identity, self.part)) == self.baseline) == baseline
            ]

        # what was left out is told once, with the candidate's
        return Trials(side(False), trials.unreadable, trials.empty), Trials(side(True), [], [])


def run_until_decided(
    experiment: Path,
    limits: LimitsFile,
    *,
    by: str | None,
    baseline: str | None,
    budget: float,
    results: Path,
) -> tuple[Judgement, Folder, Sides]:
    """Run blocks of the experiment and judge them; gives the last judgement. Raises BenchError."""
    one = prepare(experiment, {"trials": 1})
    sides = _sides(one, by, baseline, experiment)
    most = _blocks(one, budget)
    if most < LEAST:
        seconds = _block_seconds(one)
        raise BenchError(
            f"--budget {budget:g}: a block takes {seconds:.0f} s, and {LEAST} are the least; give {LEAST * seconds:.0f} s"
        )
    prepared = prepare(experiment, {"trials": most})
    folder = begin(prepared, results, "gate")
    plan, started = folder.trials, time.monotonic()
    servers = {server.name: server for server in prepared.servers}
    display = Lines()
    judged: Judgement | None = None
    with folder.locked() as lock, display.showing(len(plan), 0, budget):
        for look in looks(most):
            folder.trials = [trial for trial in plan if trial.block <= look.blocks]
            Runner(prepared.study, servers, folder, Generator(), display).run(lock)
            judged = _judge(folder, sides, limits, look)
            click.echo(f"after {look.blocks} of at most {most} blocks: {judged.verdict}", err=True)
            late = time.monotonic() - started > budget
            if judged.code != UNDECIDED or judged.doubts or late:
                break
    if judged is None:
        raise BenchError(f"{experiment}: nothing was judged")
    return judged, folder, sides


def _judge(folder: Folder, sides: Sides, limits: LimitsFile, look: Look) -> Judgement:
    candidate, base = sides.split(read_trials(find_runs([folder.path])))
    return gate(limits, candidate, base, look.rate)


def _sides(prepared: Prepared, by: str | None, baseline: str | None, file: Path) -> Sides:
    """What differs between baseline and candidate, and the baseline's value: the first in the file. Raises BenchError."""
    every = cells(prepared.study.experiment, prepared.servers)
    values = {part: list(dict.fromkeys(str(getattr(cell, part)) for cell in every)) for part in VARIED}
    if by is None:
        different = [part for part in VARIED if len(values[part]) > 1]
        # each server has its build: of the two, the server is the one with a name
        different = [part for part in different if not (part == "build" and "server" in different)]
        if len(different) != 1:
            raise BenchError(
                f"{file}: {', '.join(different) or 'nothing'} differs; say what is compared with --by"
            )
        by = different[0]
    if len(values[by]) < 2:
        raise BenchError(f"{file}: --by {by}: one {by} only; a baseline and a candidate are needed")
    if baseline is not None and baseline not in values[by]:
        raise BenchError(f"--baseline {baseline}: {by} is one of {', '.join(values[by])}")
    return Sides(by, baseline or values[by][0])


def _block_seconds(one: Prepared) -> float:
    kinds = {server.name: server.spec.kind for server in one.servers}
    return predicted_seconds(one.plan, one.study.experiment.seconds, kinds)


def _blocks(one: Prepared, budget: float) -> int:
    return int(budget // _block_seconds(one))
