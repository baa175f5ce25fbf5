"""Blocks of trials until a look at them decides: of a gate, and of an experiment."""

import time
from collections.abc import Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

import click

from bench import BenchError
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.compare import compare_by, compared_value
from bench.analysis.showing.comparison_table import summary
from bench.analysis.statistics.intervals import ERROR_RATE
from bench.analysis.statistics.sequential import LEAST, Look, Looks
from bench.experiment.folder import Folder
from bench.experiment.runner import Runner
from bench.runs.journal import DECIDED, OUT_OF_TIME
from bench.runs.run import find_runs
from bench.wording import counted

Judged = TypeVar("Judged")
DECIDING: Final = ("p50", "p99", "requests_per_second")
"""What `bench run --until-decided` waits for."""


class Seen(NamedTuple, Generic[Judged]):
    """The result of a look."""

    judged: Judged
    verdict: str
    over: bool
    """Whether further blocks are of no use."""


def run_blocks(
    runner: Runner,
    lock: int,
    budget: float | None,
    look_at: Callable[[Look], Seen[Judged]],
    *,
    one_will_do: bool = False,
) -> Judged:
    """Run block by block until a look decides, or the budget of seconds (None: the plan) is spent.

    one_will_do: look at a single block where no other one fits. Else raises BenchError there.
    """
    plan, began, coming = runner.folder.trials, time.monotonic(), Looks()
    most, longest, used, first = max(trial.block for trial in plan), 0.0, 0.0, 0.0
    for block in range(1, most + 1):
        runner.folder.trials = [trial for trial in plan if trial.block <= block]
        runner.run(lock)
        before, used = used, time.monotonic() - began
        alone, runner.alone_seconds = runner.alone_seconds, 0.0
        first += alone
        longest = max(longest, used - before - alone)
        last = block == most or (budget is not None and used + longest > budget)
        look = coming.after(block, block / most if budget is None else used / budget, last=last)
        alone_in_time = look is None and last and one_will_do
        if alone_in_time:
            look = Look(block, ERROR_RATE, last)
        if look is not None:
            seen = look_at(look)
            of = "" if budget is None else f" ({used:.0f} s, budget {budget:.0f} s)"
            click.echo(f"after {counted(block, 'block')}{of}: {seen.verdict}", err=True)
            if alone_in_time:
                click.echo(
                    f"{counted(block, 'block')} fitted into the time of the load; two or more are needed to see how trials differ: "
                    f"that takes {_needed(first, longest):.0f} s",
                    err=True,
                )
            if seen.over or last:
                runner.folder.mark(DECIDED if seen.over else OUT_OF_TIME)
                return seen.judged
        elif last:
            break
    runner.folder.mark(OUT_OF_TIME)
    raise BenchError(
        f"--budget {budget or 0:g}: a block took {longest:.0f} s{f', and {first:.0f} s what comes before the first' if first else ''}; "
        f"at least {LEAST} are needed; give {_needed(first, longest):.0f} s"
    )


def _needed(first: float, longest: float) -> float:
    """Seconds for the least blocks. first: what comes before the first one; longest: seconds of a block."""
    return first + 1.2 * LEAST * longest


class Undecided(NamedTuple):
    """The questions that the last look at an experiment left open."""

    more: list[str]
    """Metrics that further blocks may decide."""
    never: list[str]
    """What no further block decides, with the reason."""


def compared(
    folder: Folder,
    part: str,
    look: Look,
    metrics: Iterable[str] = DECIDING,
    *,
    baseline: str | None = None,
    also: Iterable[str] = (),
) -> Seen[Undecided]:
    """The comparisons by a part of the cells, over where further blocks decide nothing.

    baseline: the value that the others are compared with, or the least; also: what else differs.
    """
    trials = read_trials(find_runs([folder.path])).trials
    measured = {str(compared_value(trial, part)) for trial in trials}
    missing = sorted({str(getattr(trial.cell, part)) for trial in folder.trials} - measured)
    if missing:
        left = Undecided([], [f"{part} {name}: no trial of it was measured" for name in missing])
        return Seen(left, "; ".join(left.never), True)
    comparisons = compare_by(trials, part, baseline=baseline, metrics=metrics, rate=look.rate, also=also)
    unknown = [each for each in comparisons.changes if each.verdict == "unknown"]
    left = Undecided(
        [each.metric.name for each in unknown if each.estimate is not None],
        [f"{each.metric.name}: {each.reason}" for each in unknown if each.estimate is None],
    )
    against = "" if baseline is None else f"against {part} {baseline}: "
    return Seen(left, f"{against}{summary(comparisons)}", not left.more)
