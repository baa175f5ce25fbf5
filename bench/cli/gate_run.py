"""A gate decided with as few trials as possible within a time budget.

Baseline and candidate are cells of one experiment, interleaved in blocks. Blocks are added until every limit passes
or one fails, or the budget is spent; looking again and again costs no error (see `bench.analysis.statistics.sequential`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.analysis.grouping.identity import FailedTrial, Identity
from bench.analysis.grouping.trials import Trial, Trials, read_trials
from bench.analysis.judging.gate import INCONCLUSIVE, Judgement, LimitsFile, gate
from bench.analysis.statistics.sequential import LEAST, Look
from bench.cli.blocks import Seen, run_blocks
from bench.cli.run_clock import Clock
from bench.cli.run_display import Lines
from bench.experiment.beginning import Prepared, begin, prepare
from bench.experiment.folder import Folder
from bench.experiment.plan import cells
from bench.experiment.runner import Runner
from bench.experiment.trial import Local
from bench.runs.run import find_runs

VARIED: Final = ("version", "build", "server", "model")
"""What the cells of an experiment may differ in where --by names nothing; of --by also `ALSO`."""
ALSO: Final = ("batch", "load")
LEAST_OVERHEAD: Final = 1.5
"""Seconds that no trial can do without beyond its load: Locust's start and end."""


@dataclass(frozen=True)
class Sides:
    """The cells of an experiment that are the baseline, and those that are the candidate."""

    part: str
    baseline: str
    also: tuple[str, ...] = ()
    """What differs because of it."""

    def candidates(self, prepared: Prepared) -> set[Identity]:
        """The cells of a plan that limits are for; the names of their requests are not known yet."""
        scenario = prepared.study.scenario.stem
        cells = {trial.cell for trial in prepared.plan}
        return {
            Identity(scenario, "", *cell) for cell in cells if str(getattr(cell, self.part)) != self.baseline
        }

    def split(self, trials: Trials) -> tuple[Trials, Trials]:
        """The candidate's trials and the baseline's."""

        def side(baseline: bool) -> list[Trial]:
            return [
                t for t in trials.trials if (str(getattr(t.identity, self.part)) == self.baseline) == baseline
            ]

        def failed(baseline: bool) -> list[FailedTrial]:
            return [
                t for t in trials.failed if (str(getattr(t.identity, self.part)) == self.baseline) == baseline
            ]

        # what was left out is told once, with the candidate's; what is not run yet comes in later blocks
        candidate = Trials(side(False), trials.unreadable, trials.empty, failed(False))
        return candidate, Trials(side(True), [], [], failed(True))


def run_until_decided(
    experiment: Path,
    limits: LimitsFile,
    *,
    by: str | None,
    baseline: str | None,
    budget: float,
    results: Path,
    duet: bool = False,
) -> tuple[Judgement, Folder, Sides]:
    """Run blocks of the experiment and judge them; gives the last judgement. Raises BenchError."""
    single = prepare(experiment, {"trials": 1}, duet=duet)
    sides = _sides(single, by, baseline, experiment)
    limits.check_cells(sides.candidates(single))
    if duet:
        _check_rates(limits, single)
    seconds = single.seconds(single.plan)
    if budget < LEAST * seconds:
        raise BenchError(
            f"--budget {budget:g}: a block takes {seconds:.0f} s, and at least {LEAST} are needed; give {LEAST * seconds:.0f} s"
        )
    # as many as would fit on a quick machine; how many do shows on the way
    quickest = len(single.plan) // (2 if duet else 1) * (single.study.experiment.seconds + LEAST_OVERHEAD)
    prepared = prepare(experiment, {"trials": max(LEAST, int(budget // quickest))}, duet=duet)
    folder = begin(prepared, results, "gate")
    display = Lines(folder.path)
    with folder.at_work() as lock, display.showing(len(folder.trials), 0, Clock(budget=budget)):
        runner = Runner(
            prepared.study, {server.name: server for server in prepared.servers}, folder, Local(), display
        )
        most = max(trial.block for trial in folder.trials)
        judged = run_blocks(runner, lock, budget, lambda look: _look(folder, sides, limits, look, most))
    return judged, folder, sides


def _check_rates(limits: LimitsFile, prepared: Prepared) -> None:
    """Raise BenchError for a limit of a rate that a duet makes equal."""
    closed = [load.title for load in prepared.study.experiment.loads if load.closed]
    for limit in limits.rates:
        if limit.relative and any(limit.where.load in (None, title) for title in closed):
            raise BenchError(
                f"{limits.path}: {limit.dotted}: with --duet the same users wait for both in turn, so that rates are equal "
                "by design; leave out --duet, or the limit"
            )


def _look(folder: Folder, sides: Sides, limits: LimitsFile, look: Look, most: int) -> Seen[Judgement]:
    judged = judge(read_trials(find_runs([folder.path])), sides, limits, look, most)
    return Seen(judged, judged.verdict, decided(judged))


def judge(trials: Trials, sides: Sides, limits: LimitsFile, look: Look, most: int) -> Judgement:
    """What limits say of an experiment's trials so far. most: blocks that are planned."""
    candidate, base = sides.split(trials)
    # a share of failed trials that is allowed is one of all trials, of which some are still to come
    planned = look.blocks if look.last else most
    return gate(limits, candidate, base, look.rate, by=(sides.part, *sides.also), planned=planned)


def decided(judged: Judgement) -> bool:
    """Whether further blocks are of no use: a warning makes all of them useless."""
    return judged.code != INCONCLUSIVE or bool(judged.warnings)


def _sides(prepared: Prepared, by: str | None, baseline: str | None, file: Path) -> Sides:
    """What differs between baseline and candidate, and the baseline's value: the first in the file. Raises BenchError."""
    every = cells(prepared.study.experiment, prepared.servers)
    values = {
        part: list(dict.fromkeys(str(getattr(cell, part)) for cell in every)) for part in (*VARIED, *ALSO)
    }
    if by is None:
        different = [part for part in VARIED if len(values[part]) > 1]
        # each server has its build: of the two, the server is the one with a name
        different = [part for part in different if not (part == "build" and "server" in different)]
        if len(different) != 1:
            raise BenchError(f"{file}: {', '.join(different) or 'nothing'} differs; name it with --by")
        by = different[0]
    if by not in values:
        raise BenchError(f"--by {by}: with --run one of {', '.join(values)} differs between the sides")
    if len(values[by]) < 2:
        raise BenchError(f"{file}: --by {by}: one {by} only; a baseline and a candidate are needed")
    if baseline is not None and baseline not in values[by]:
        raise BenchError(f"--baseline {baseline}: {by} is one of {', '.join(values[by])}")
    return Sides(by, baseline or values[by][0])
