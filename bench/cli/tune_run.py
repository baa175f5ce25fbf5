"""Run `bench tune` once its files were read: rounds of trials, the last comparison, the answer."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import click
from rich.text import Text

from bench.analysis.showing.tuning_table import effects_table, rounds_table, settings_table, space_table
from bench.analysis.showing.tuning_text import grid_text, sentences, standing_text
from bench.analysis.tuning.answer import Measurements, Raced, answer
from bench.analysis.tuning.measured import measured
from bench.analysis.tuning.race import Round, ranked, rounds, survivors
from bench.analysis.tuning.standing import Standing
from bench.cli.gate import put
from bench.cli.output import note
from bench.cli.run import INTERRUPTED, NOT_ALL, dry_preflight, ended_in_order
from bench.cli.run_clock import Clock, duration
from bench.cli.run_display import Lines, Screen
from bench.cli.tables import show_table
from bench.cli.terminal import console
from bench.escape import one_line
from bench.experiment.beginning import begin
from bench.experiment.folder import Folder
from bench.experiment.plan import PlannedTrial
from bench.experiment.runner import Runner
from bench.experiment.trial import Generator, Local
from bench.experiment.tuning import Tuning, write_best
from bench.runs.journal import INTERRUPTED as STOPPED
from bench.runs.jsonl import json_text
from bench.runs.run import Run
from bench.runs.tuning import Tuning as Result
from bench.wording import counted


class Race:
    """A tuning as far as the trials of its folder have come: the plan of the folder is all that is remembered."""

    def __init__(self, tuning: Tuning, trials: list[PlannedTrial]) -> None:
        """trials: those that are planned; further ones are appended to the list by the folder."""
        self.tuning, self.trials = tuning, trials
        self.standing = Standing()
        self.names = [each.name for each in tuning.settings[1:]]
        self.default = tuning.settings[0].name
        self.finished = False
        self._by_cell = {(each.server.name, each.batch): each.name for each in tuning.settings}
        self._read: set[int] = set()
        self.rounds = rounds(len(self.names), tuning.prepared.study.experiment.trials)
        ends = list(accumulate((each.blocks for each in self.rounds), initial=1))
        self.blocks = [range(*both) for both in pairwise(ends)]
        """Of each round."""

    def planned(self, number: int) -> list[str]:
        """The settings that take part in a round, from 0, beside the default; none before it is planned."""
        inside = {self._name(trial) for trial in self.trials if trial.block in self.blocks[number]}
        return [name for name in self.names if name in inside]

    def to_come(self) -> list[PlannedTrial]:
        """Trials like those of the rounds that are not planned yet."""
        trials: list[PlannedTrial] = []
        for number, each in enumerate(self.rounds):
            if not self.planned(number):
                trials += self.tuning.trials(self.names[: each.settings], self.blocks[number], len(trials))
        return trials

    def run(self, runner: Runner, lock: int) -> None:
        """Run what is missing of each round, as far as settings are left that do not fail."""
        folder, able = runner.folder, self.names
        for number, each in enumerate(self.rounds):
            self.look(folder)
            if not self.planned(number):
                able = self.standing.able(self.planned(number - 1) if number else self.names)
                # its settings took part in all blocks before
                scores = self.standing.scores(range(1, self.blocks[number].start))
                chosen = survivors(scores, able, each.settings) if number else able
                if not chosen:
                    return
                folder.plan_further(*self.tuning.trials(chosen, self.blocks[number], len(self.trials)))
            runner.run(lock)
            self.look(folder)
            click.echo(one_line(self._progress(number, each)), err=True)
        self.finished = True

    def look(self, folder: Folder) -> None:
        """Read the trials that have ended since the last look."""
        ended = folder.ended()
        for trial in self.trials:
            end = ended.get(trial.number)
            if end is None or trial.number in self._read:
                continue
            self._read.add(trial.number)
            result = (
                end.reason or "failed"
                if end.outcome != "measured" or end.folder is None
                else measured(Run.open(folder.path / end.folder), self.tuning.objective)
            )
            self.standing.add(self._name(trial), trial.block, trial.cell.load, result)

    def result(self) -> Result:
        """What is known: the answer where all rounds were run, else the best so far."""
        tuning = self.tuning
        planned = [Raced(self.planned(number), blocks) for number, blocks in enumerate(self.blocks)]
        return answer(
            Measurements(
                settings=[(each.name, each.server.name, each.batch, each.values) for each in tuning.settings],
                parameters=tuning.parameters,
                objective=tuning.objective,
                standing=self.standing,
                rounds=[each for each in planned if each.names],
                later=self._later,
                final_blocks=self.rounds[-1].blocks,
                loads=len(tuning.prepared.study.experiment.loads),
                finished=self.finished,
            )
        )

    def _progress(self, number: int, each: Round) -> str:
        last = number + 1 == len(self.rounds)
        scores = self.standing.scores(self.blocks[number] if last else range(1, self.blocks[number].stop))
        order = ranked(scores, self.standing.able(self.planned(number)))
        title = f"{counted(len(self.planned(number)), 'setting')}, {counted(each.blocks, 'block')}"
        best = standing_text(scores, order, self.default)
        return f"round {number + 1} of {len(self.rounds)}: {title}; {best}"

    def _name(self, trial: PlannedTrial) -> str:
        return self._by_cell[trial.cell.server, trial.cell.batch]

    def _later(self, name: str, block: int) -> bool:
        """Whether a setting was measured after the default in a block."""
        order = [self._name(trial) for trial in self.trials if trial.block == block]
        return order.index(name) > order.index(self.default)


def run_tuning(
    tuning: Tuning,
    begun: Folder | None,
    *,
    workers: int = 1,
    results: Path = Path("results"),
    as_json: Path | None = None,
    generator: Generator | None = None,
    retry: bool = False,
) -> int:
    """Run a tuning, or go on with one, and show its answer; gives the exit code.

    generator: instead of `workers`; retry: run what has failed again.
    """
    prepared = tuning.prepared
    folder = begun or begin(prepared, results, None)
    race, screen = Race(tuning, folder.trials), console(error=True)
    code = None
    with folder.at_work() as lock, ended_in_order():
        folder.tidy()
        done = {n: each for n, each in folder.ended().items() if not (retry and each.outcome == "failed")}
        left = [trial for trial in folder.trials if trial.number not in done] + race.to_come()
        click.echo(
            f"{folder.path}: {counted(len(tuning.settings), 'setting')}, {counted(len(race.rounds), 'round')}, "
            f"{len(done)} of {counted(len(done) + len(left), 'trial')} done, {duration(prepared.seconds(left))} to go",
            err=True,
        )
        display = Screen(screen, folder.path) if screen.is_terminal else Lines(folder.path)
        predicted = [prepared.seconds(left[:ended]) for ended in range(len(left) + 1)]
        servers = {server.name: server for server in prepared.servers}
        runner = Runner(prepared.study, servers, folder, generator or Local(workers), display, alike=True)
        try:
            with display.showing(len(done) + len(left), len(done), Clock(predicted)):
                if retry:
                    runner.run(lock, again=lambda each: each.outcome == "failed")
                race.run(runner, lock)
        except KeyboardInterrupt:
            folder.tidy()  # reports would take what was broken off for a trial
            folder.mark(STOPPED)
            race.look(folder)
            note(f"interrupted; continue with: bench tune {folder.path} --resume; the best so far:")
            code = INTERRUPTED
        result = race.result()
        result.write(folder.path)
        folder.seal()
    files = _write_files(tuning, result, folder)
    _show(result, files, folder)
    if as_json is not None:
        written = {
            "schema": 1,
            "folder": str(folder.path),
            "sentences": sentences(result),
            "files": [str(path) for path in files],
            "tuning": result.model_dump(by_alias=True),
        }
        put(as_json, json_text(written) + "\n")
    return code or (0 if result.outcome in ("gain", "none") else NOT_ALL)


def _write_files(tuning: Tuning, result: Result, folder: Folder) -> list[Path]:
    """The best settings as files, where they are better than the default, or may be."""
    best = next((each for each in tuning.settings if each.name == result.best), None)
    if best is None or result.outcome not in ("gain", "unfinished"):
        return []
    return write_best(folder.path, best.server, tuning.settings[0].server.name)


def _show(result: Result, files: Sequence[Path], folder: Folder) -> None:
    screen = console()
    for number, text in enumerate(sentences(result)):
        screen.print(Text(text, style="" if number else "bold"))
    for table in (settings_table(result), effects_table(result)):
        if table is not None:
            show_table(screen, table)
            for text in table.notes:
                screen.print(Text(text, style="dim"))
    for text in result.remarks:
        click.echo(one_line(f"warning: {text}"), err=True)
    if files:
        click.echo(one_line(f"its settings as files: {', '.join(map(str, files))}"), err=True)
    click.echo(one_line(f"everything is in {folder.path}"), err=True)


def show_plan(tuning: Tuning, folder: Folder | None) -> int:
    """Show settings, rounds and how long they take, and look at the payload; gives the exit code."""
    prepared, screen = tuning.prepared, console()
    race = Race(tuning, [] if folder is None else folder.trials)
    show_table(screen, space_table([(each.name, each.values) for each in tuning.settings]))
    planned = [
        race.tuning.trials(race.names[: e.settings], b, 0)
        for e, b in zip(race.rounds, race.blocks, strict=True)
    ]
    seconds = [prepared.seconds(trials) for trials in planned]
    show_table(
        screen, rounds_table(race.rounds, [len(trials) for trials in planned], list(map(duration, seconds)))
    )
    ended = {} if folder is None else folder.ended()
    left = [trial for trial in race.trials if trial.number not in ended] + race.to_come()
    blocks = range(1, race.rounds[-1].blocks + 1)
    grid = prepared.seconds(tuning.trials(race.names, blocks, 0))
    text = f"{counted(len(left), 'trial')} to go: about {duration(prepared.seconds(left))}"
    if sum(seconds) < grid:
        text += f"; {grid_text(len(tuning.settings))} would take {duration(grid)}"
    screen.print(Text(text))
    return dry_preflight(prepared._replace(plan=tuning.trials([], [1], 0)))
