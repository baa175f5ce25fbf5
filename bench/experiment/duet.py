"""Duets: two conditions up at once, whose trials are run in pairs by one load process.

A block is a start of the servers, and holds a pair for each batch size and load. The pairs are trials like others, two
run folders of one block, so that they are reported, compared and gated as those of any experiment.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.config.experiment import Experiment
from bench.config.servers import Declared
from bench.experiment.plan import TRIAL_SECONDS, Condition, PlannedTrial, cells

ALONE: Final = "alone"
"""Folder of the runs in which each condition was alone."""
_COMPARED: Final = ("server", "model", "version")

Pair = tuple[PlannedTrial, PlannedTrial]


def duet_trials(experiment: Experiment, servers: Sequence[Declared], file: Path) -> list[PlannedTrial]:
    """The plan of a duet: pairs of trials that follow each other.

    Raises BenchError unless two conditions differ in one thing.
    """
    every = cells(experiment, servers)
    part = _compared(every, file)
    by_rest: dict[tuple[object, ...], list[Condition]] = {}
    for cell in every:
        rest = tuple(getattr(cell, each) for each in ("server", "model", "version") if each != part)
        by_rest.setdefault((*rest, cell.batch, cell.load), []).append(cell)
    planned: list[PlannedTrial] = []
    for block in range(1, experiment.trials + 1):
        rng = random.Random(f"{experiment.seed}/{block}")  # noqa: S311 - an order, no secret
        duets = list(by_rest.values())
        rng.shuffle(duets)
        for duet in duets:
            # each condition is started and served first in every second block
            for cell in duet if (block + experiment.seed) % 2 else duet[::-1]:
                planned.append(PlannedTrial(block, len(planned) + 1, cell, experiment.seed + block - 1))
    return planned


def _compared(every: Sequence[Condition], file: Path) -> str:
    values = {part: list(dict.fromkeys(getattr(cell, part) for cell in every)) for part in _COMPARED}
    varied = {part: distinct for part, distinct in values.items() if len(distinct) > 1}
    if len(varied) == 1:
        ((part, distinct),) = varied.items()
        if len(distinct) == 2:
            return part
    differing = ", ".join(f"{len(distinct)} {part}s" for part, distinct in varied.items()) or "one condition"
    raise BenchError(
        f"{file}: --duet compares two conditions that differ in server, model or version; here are {differing}: "
        "leave two in the file, or run it without --duet"
    )


def pairs(planned: Sequence[PlannedTrial]) -> list[Pair]:
    """The trials of a duet's plan, two by two."""
    return list(zip(planned[::2], planned[1::2], strict=True))


def predicted_seconds(planned: Sequence[PlannedTrial], seconds: float, launch: Mapping[str, float]) -> float:
    """How long a duet should take. launch: server -> seconds of a start of it."""
    blocks = {trial.block for trial in planned}
    launches = len(blocks) * sum(launch[name] for name in {trial.cell.server for trial in planned})
    alone = 2 if planned and 1 in blocks else 0
    return (len(planned) // 2 + alone) * (seconds + TRIAL_SECONDS) + launches


def starts(planned: Sequence[PlannedTrial]) -> int:
    """Starts of a server in a duet's plan."""
    return len({(trial.block, trial.cell.server) for trial in planned})
