"""The trials of an experiment, their order and their duration.

Every block holds each cell once, so that a drift of the machine hits all cells alike. In a block the servers come in a
balanced order, and so do the cells of each server (see `balance`): each is equally often in each position, so that what
comes first and is slower for it is no cell in particular. A server is started once a block, which is the expensive part,
and a block is a start of each server (a split-plot design). The orders depend on the seed and the block alone.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from bench.config.experiment import Experiment, Load, Model
from bench.config.servers import Declared
from bench.experiment.balance import order

TRIAL_SECONDS: Final = 1.3
"""What a trial takes beyond its load: the start and end of Locust (1.0 s on two idle cores, no samples kept)."""


class Condition(NamedTuple):
    """The settings that are constant in a trial and compared with other cells."""

    server: str
    build: str
    model: str
    version: int | None
    """None: the latest."""
    batch: int
    load: str

    def title(self) -> str:
        """In a few words."""
        version = "latest" if self.version is None else f"version {self.version}"
        return f"{self.server}, {self.model} {version}, batch {self.batch}, {self.load}"


class PlannedTrial(NamedTuple):
    """One measurement of a cell."""

    block: int
    """From 1 on."""
    number: int
    """Position in the whole plan, from 1 on."""
    cell: Condition
    seed: int
    """The same for all trials of a block: they send the same requests."""

    @property
    def id(self) -> str:
        """The word for it in folder names."""
        return f"b{self.block}t{self.number:03}"

    def plain(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"block": self.block, "number": self.number, "seed": self.seed, "cell": self.cell._asdict()}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "PlannedTrial":
        """What `plain` gave."""
        return cls(plain["block"], plain["number"], Condition(**plain["cell"]), plain["seed"])


class ServerSession(NamedTuple):
    """Trials of one block that follow each other on one server, which is started for them."""

    block: int
    server: str
    trials: tuple[PlannedTrial, ...]


def cells(experiment: Experiment, servers: Sequence[Declared]) -> list[Condition]:
    """Every combination, in the order of the file."""
    return [
        Condition(server.name, server.spec.build or server.name, name, version, batch, load.title)
        for server in servers
        for name, model in experiment.models.items()
        for version in _versions(model)
        for batch in experiment.batch_sizes
        for load in experiment.loads
    ]


def _versions(model: Model) -> list[int | None]:
    return [*model.versions] or [None]


def trials(experiment: Experiment, servers: Sequence[Declared]) -> list[PlannedTrial]:
    """All trials in the order in which they are run."""
    return of_blocks(cells(experiment, servers), range(1, experiment.trials + 1), experiment.seed)


def of_blocks(
    every: Sequence[Condition], blocks: Iterable[int], seed: int, planned: int = 0
) -> list[PlannedTrial]:
    """The trials of each cell in some blocks. planned: trials that the plan has before these."""
    planned_trials: list[PlannedTrial] = []
    names = list(dict.fromkeys(cell.server for cell in every))
    for block in blocks:
        for name in order(names, block - 1, f"{seed}/servers"):
            own = [cell for cell in every if cell.server == name]
            # another row each time that both orders would come together again: each cell comes to each place of a block
            row = block - 1 + (block - 1) // math.lcm(len(names), len(own))
            for cell in order(own, row, f"{seed}/{name}"):
                planned_trials.append(
                    PlannedTrial(block, planned + len(planned_trials) + 1, cell, seed + block - 1)
                )
    return planned_trials


def sessions(planned: Sequence[PlannedTrial]) -> Iterator[ServerSession]:
    """The trials, those of one start of a server together."""
    for (block, server), own in groupby(planned, key=lambda trial: (trial.block, trial.cell.server)):
        yield ServerSession(block, server, tuple(own))


def load_of(experiment: Experiment, cell: Condition) -> Load:
    """The load that a cell names."""
    return next(load for load in experiment.loads if load.title == cell.load)


def predicted_seconds(planned: Sequence[PlannedTrial], seconds: float, launch: Mapping[str, float]) -> float:
    """How long the trials should take. launch: server -> seconds of a start of it."""
    launches = sum(launch[session.server] for session in sessions(planned))
    return len(planned) * (seconds + TRIAL_SECONDS) + launches
