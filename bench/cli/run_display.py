"""Progress of an experiment and of its current trial."""

import contextlib
import time
from collections.abc import Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from bench.escape import one_line
from bench.experiment.plan import PlannedTrial
from bench.experiment.trial import Glance
from bench.runs.journal import Ended


class _Clock:
    """How long the rest will take, from the prediction first and from what trials took later."""

    def __init__(self, left: int, seconds: float) -> None:
        self._left, self._each = left, seconds / left if left else 0.0
        self._started = time.monotonic()
        self._done = 0

    def step(self) -> None:
        """One trial more has ended."""
        self._done += 1
        # starts of servers are in it
        self._each = (time.monotonic() - self._started) / self._done

    @property
    def left(self) -> float:
        """Seconds."""
        return self._each * (self._left - self._done)


class Lines:
    """A line for each thing that happens: for logs."""

    def __init__(self) -> None:
        self._clock = _Clock(0, 0.0)
        self._total = self._ended = 0

    @contextlib.contextmanager
    def showing(self, total: int, done: int, seconds: float) -> Iterator[None]:
        self._total, self._ended = total, done
        self._clock = _Clock(total - done, seconds)
        yield

    def say(self, text: str) -> None:
        click.echo(one_line(text), err=True)

    def glance(self, glance: Glance) -> None:
        """Nothing: a log is not to be filled with it."""

    def ended(self, trial: PlannedTrial, ended: Ended, seconds: float) -> None:
        self._ended += 1
        self._clock.step()
        left = duration(self._clock.left)
        click.echo(f"[{self._ended}/{self._total}, {left} left] {_outcome(trial, ended, seconds)}", err=True)


class Screen:
    """A bar with the current cell, its rate and p99, and the time left: for terminals."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[now]}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]} left", markup=False),
            console=console,
            transient=True,
        )
        self._clock = _Clock(0, 0.0)
        self._task = TaskID(0)

    @contextlib.contextmanager
    def showing(self, total: int, done: int, seconds: float) -> Iterator[None]:
        self._clock = _Clock(total - done, seconds)
        with self._progress:
            self._task = self._progress.add_task(
                "", total=total, completed=done, now="", left=duration(seconds)
            )
            yield

    def say(self, text: str) -> None:
        self._progress.update(self._task, now=one_line(text))

    def glance(self, glance: Glance) -> None:
        now = glance.trial.cell.title()
        if glance.rate is not None:
            now += f": {glance.rate:,.0f}/s"
        if glance.p99 is not None:
            now += f", p99 {glance.p99 * 1e3:.2f} ms"
        self._progress.update(self._task, now=one_line(now), left=duration(self._clock.left))

    def ended(self, trial: PlannedTrial, ended: Ended, seconds: float) -> None:
        self._clock.step()
        self._progress.advance(self._task)
        self._progress.console.print(_outcome(trial, ended, seconds))


def duration(seconds: float) -> str:
    """Such as 45 s, 3:20 min or 2:05 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def _outcome(trial: PlannedTrial, ended: Ended, seconds: float) -> str:
    what = f"block {trial.block}: {trial.cell.title()}"
    return one_line(f"{what}: {seconds:.0f} s" if ended.reason is None else f"{what}: failed: {ended.reason}")
