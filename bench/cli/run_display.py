"""Progress of an experiment and of its current trial."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from bench import BenchError
from bench.cli.run_clock import Clock
from bench.escape import one_line
from bench.experiment.plan import PlannedTrial
from bench.experiment.trial import Glance
from bench.runs.journal import Ended
from bench.wording import counted

BAR: Final = 14
"""Characters of the bar: of 80 the rest is for the trial that runs, the count and the time left."""
TYPED: Final = 4
"""Columns that stay free: `^C`, as the terminal shows it, would begin a line of its own, which nobody erases."""


class Lines:
    """A line for each thing that happens: for logs."""

    def __init__(self, folder: Path) -> None:
        """folder: of the experiment."""
        self._folder = folder
        self._clock, self._total, self._before = Clock(), 0, 0

    @contextlib.contextmanager
    def showing(self, total: int, done: int, clock: Clock) -> Iterator[None]:
        """total: trials of the plan; done: those that had ended before."""
        self._clock, self._total, self._before = clock, total, done
        yield

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(one_line(text), err=True)

    def glance(self, glance: Glance) -> None:
        """Nothing: a log is not to be filled with it."""

    def ended(self, trial: PlannedTrial, ended: Ended, seconds: float) -> None:
        """Print the result of a trial."""
        self._clock.step()
        # a plan that may end earlier is longer than what fits
        number = "" if self._clock.at_most else f"{self._before + self._clock.ended}/{self._total}, "
        text = outcome(self._folder, trial, ended, seconds)
        click.echo(f"[{number}{self._clock}] {text}", err=True)


class _Narrower:
    """Something drawn so that TYPED columns of the terminal stay free."""

    def __init__(self, drawn: RenderableType) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._drawn, options.update_width(max(1, options.max_width - TYPED)))


class _Progress(Progress):
    def get_renderables(self) -> Iterator[RenderableType]:
        yield from map(_Narrower, super().get_renderables())


class Screen:
    """A bar with the current cell, its rate and p99, and the time left, below the results of ended trials: for terminals."""

    def __init__(self, console: Console, folder: Path) -> None:
        """folder: of the experiment."""
        self._folder = folder
        self._progress = _Progress(
            TextColumn(
                "{task.fields[now]}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            BarColumn(bar_width=BAR),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            expand=True,
        )
        self._clock = Clock()
        self._task = TaskID(0)

    @contextlib.contextmanager
    def showing(self, total: int, done: int, clock: Clock) -> Iterator[None]:
        """total: trials of the plan; done: those that had ended before."""
        self._clock = clock
        with self._progress:
            self._task = self._progress.add_task("", total=total, completed=done, now="", left=str(clock))
            yield

    def say(self, text: str) -> None:
        """Show a text in place of the trial that runs."""
        self._progress.update(self._task, now=one_line(text))

    def glance(self, glance: Glance) -> None:
        """Show rate and p99 of the trial that runs."""
        # what changes comes first: on a narrow terminal the end is cut off
        numbers = [] if glance.rate is None else [f"{glance.rate:,.0f}/s"]
        if glance.p99 is not None:
            numbers.append(f"p99 {glance.p99 * 1e3:.2f} ms")
        now = ": ".join(part for part in (", ".join(numbers), glance.trial.cell.title()) if part)
        self._progress.update(self._task, now=one_line(now), left=str(self._clock))

    def ended(self, trial: PlannedTrial, ended: Ended, seconds: float) -> None:
        """Print the result of a trial above the bar."""
        self._clock.step()
        self._progress.advance(self._task)
        self._progress.update(self._task, now="", left=str(self._clock))
        self._progress.console.print(outcome(self._folder, trial, ended, seconds))


def outcome(folder: Path, trial: PlannedTrial, ended: Ended, seconds: float) -> str:
    """What came of a trial, in a line. folder: of its experiment; seconds: that it took."""
    title = f"block {trial.block}: {trial.cell.title()}"
    if ended.reason is not None:
        return one_line(f"{title}: failed: {ended.reason}")
    result = "" if ended.folder is None else _measured(folder / ended.folder)
    return one_line(f"{title}: {result or f'{seconds:.0f} s'}")


def _measured(run: Path) -> str:
    """Rate, p50 and p99 of the steady part of a run, and what speaks against it; empty where it cannot be read."""
    from bench.analysis import formatting  # half a second: not before the first trial has ended
    from bench.analysis.reading.cells import cells
    from bench.analysis.reading.checks import warnings_of
    from bench.analysis.reading.population import Population
    from bench.analysis.statistics.sample_size import supported
    from bench.runs.run import Run

    try:
        measured = Run.open(run)
        measured_cells = cells(measured)
        warnings = sorted({warning.check for warning in warnings_of(measured)})
    except BenchError:
        return ""
    if not measured_cells:
        return "no request in its steady part"
    requests = Population.sum([cell.due for cell in measured_cells])
    rate = sum(cell.answered.requests / cell.duration for cell in measured_cells if cell.duration > 0)
    parts = [f"{formatting.rate(rate)}/s"]
    parts += [
        f"p{q:g} {formatting.duration(requests.percentile(q))}"
        for q in (50.0, 99.0)
        if supported(q, requests.count)
    ]
    failed = sum(cell.failed for cell in measured_cells)
    if failed:
        parts.append(f"{formatting.share(failed / requests.count)} failed")
    if warnings:
        parts.append(f"{counted(len(warnings), 'warning')}: {', '.join(warnings)}")
    return ", ".join(parts)
