"""Trials whose load follows from the trials before, on servers that run until the last."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bench.config.experiment import Load
from bench.experiment.plan import Condition, PlannedTrial
from bench.experiment.runner import Runner
from bench.experiment.trial import Failed
from bench.runs.journal import Ended
from bench.runs.run import Run
from bench.schedule import Closed, Poisson, Steps
from bench.wording import significant

OVERHEAD: Final = 2.5
"""Seconds that a level takes beyond its load: the start and end of Locust, and reading it, with room for a busy machine."""


@dataclass
class Levels:
    """Runs levels of the load, each as a trial of the experiment's folder."""

    runner: Runner
    processes: int
    """Load processes, among which a rate is divided."""
    _run: Callable[[PlannedTrial], Ended]

    @classmethod
    @contextlib.contextmanager
    def on(cls, runner: Runner, processes: int, lock: int) -> Iterator["Levels"]:
        """With all servers started. Raises BenchError."""
        with runner.started(list(runner.servers), lock) as run:
            yield cls(runner, processes, run)

    def closed(self, cell: Condition, users: int, seconds: float) -> Run:
        """Users that send again as soon as they are answered. Raises Failed."""
        return self._measure(cell, Load(users=users, schedule=str(Closed())), seconds)

    @property
    def next(self) -> int:
        """The number of the level that is measured next."""
        return len(self.runner.folder.trials) + 1

    def poisson(self, cell: Condition, rate: float, seconds: float, *, block: int | None = None) -> Run:
        """Arrivals at one rate; those of equal block and rate are the same. Raises Failed."""
        name = f"{significant(rate)} req/s"
        each = Poisson(rate / self.processes)
        load = Load(users=self.processes, schedule=str(each), name=name)
        return self._measure(cell, load, seconds, block=block)

    def steps(self, cell: Condition, rates: list[float], each: float) -> Run:
        """Arrivals at one rate after the other. Raises Failed."""
        steps = Steps(tuple(rate / self.processes for rate in rates), each)
        name = f"{significant(rates[0])} to {significant(rates[-1])} req/s"
        load = Load(users=self.processes, schedule=str(steps), name=name)
        return self._measure(cell, load, each * len(rates))

    def _measure(self, cell: Condition, load: Load, seconds: float, *, block: int | None = None) -> Run:
        runner, folder, number = self.runner, self.runner.folder, self.next
        block = number if block is None else block
        experiment = runner.study.experiment.model_copy(
            update={"loads": [load], "seconds": math.ceil(seconds)}
        )
        runner.study = runner.study._replace(experiment=experiment)
        trial = PlannedTrial(block, number, cell._replace(load=load.title), experiment.seed + block)
        folder.plan_further(trial)
        ended = self._run(trial)
        if ended.outcome != "measured" or ended.folder is None:
            raise Failed(ended.reason or "no run")
        return Run.open(folder.path / ended.folder)
