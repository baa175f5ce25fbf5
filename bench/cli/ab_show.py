"""Print and write the results of `bench ab`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.text import Text

from bench.analysis.judging.change import Change
from bench.analysis.judging.compare import Comparison
from bench.analysis.judging.gate import Judgement
from bench.analysis.judging.limit_of_share import of_answers
from bench.analysis.showing import comparison_table, gate_text, verdict
from bench.analysis.showing.agreement_table import outputs_table
from bench.analysis.showing.card import Card, card
from bench.analysis.statistics.intervals import ERROR_RATE
from bench.cli.ab_limits import Limits
from bench.cli.ab_load import Outcome
from bench.cli.gate import own_command, put, show_judgement, write_judgement
from bench.cli.tables import hanging, show_table, warning_text
from bench.cli.terminal import console
from bench.escape import one_line
from bench.experiment.folder import Folder
from bench.experiment.two_conditions import TwoConditions
from bench.runs.answers import DIFFERENT, Answers
from bench.runs.jsonl import json_text

INCOMPLETE = 3
"""Exit code without limits where trials failed, or nothing was answered."""
_RANDOM = "Inputs were random: real ones, with --requests FILE, may take other times and get other answers."


class Result(NamedTuple):
    """Everything that was measured."""

    two: TwoConditions
    folder: Folder
    answers: Answers | None
    outcome: Outcome | None
    limits: Limits | None
    random: bool
    """Whether inputs were."""
    card: Card | None = None

    def explained(self) -> "Result":
        """With the card of a verdict that is no pass."""
        judged = self.judged
        return self if judged is None else self._replace(card=card(judged, own_command()))

    @property
    def comparison(self) -> Comparison | None:
        """Of the speed; None: it was not measured."""
        return None if self.outcome is None else self.outcome.comparison

    @property
    def changes(self) -> list[Change]:
        """Of the load."""
        if self.outcome is None or self.comparison is None:
            return []
        return [*self.comparison.changes, *self.outcome.failures]

    @property
    def sentences(self) -> list[str]:
        """What a person would tell."""
        two = self.two
        texts = verdict.sentences(
            two.after.title(two.part), self.changes, self.answers, answers_first=two.two_protocols
        )
        return texts + [_RANDOM] * self.random

    @property
    def judged(self) -> Judgement | None:
        """What became of the limits; None where there are none."""
        if self.outcome is not None or self.limits is None or self.answers is None:
            return self.outcome.judged if self.outcome else None
        findings = [of_answers(limit, None, self.answers, ERROR_RATE) for limit in self.limits.limits]
        return Judgement(findings, [], [], 0)

    @property
    def code(self) -> int:
        """The exit code."""
        if (judged := self.judged) is not None:
            return judged.code
        if self.answers is not None and not self.answers.compared:
            return INCOMPLETE
        if self.outcome is None:
            return 0
        return INCOMPLETE if self.outcome.trials.failed or self.outcome.comparison is None else 0


def show(result: Result) -> None:
    """Sentences, then the numbers that they rest on, then the verdict on the limits."""
    screen = console()
    for number, text in enumerate(result.sentences):
        screen.print(Text(text, style="" if number else "bold"))
    parts = (_show_speed, _show_answers)
    for part in reversed(parts) if result.two.two_protocols else parts:
        part(result, screen)
    comparison, judged = result.comparison, result.judged
    if judged is not None:
        screen.print()
        show_judgement(screen, judged, result.card)
    elif comparison is not None:
        for warning in comparison.warnings:
            hanging(screen, warning_text(warning))
    for each in result.outcome.trials.failed if result.outcome else []:
        click.echo(one_line(f"failed: {each}"), err=True)
    path = result.folder.path
    if result.answers is not None and result.answers.differing:
        click.echo(one_line(f"the examples that differ most: {path / DIFFERENT}"), err=True)
    click.echo(one_line(f"everything is in {path}: bench report, compare and gate read it"), err=True)


def _show_speed(result: Result, screen: Console) -> None:
    """The changes, and the stages of the latency: those that changed, of two protocols all."""
    comparison = result.comparison
    if comparison is None:
        return
    screen.print(Text(f"\n{comparison.title}  {comparison_table.how(comparison)}", style="dim"))
    show_table(screen, comparison_table.changes_table(comparison))
    stages = comparison_table.stages_table(comparison) if result.two.two_protocols else None
    if stages is not None:
        show_table(screen, stages)
        for note in stages.notes:
            hanging(screen, Text(note, style="dim"), indent=0)
    elif stages_text := comparison_table.stages_text(comparison):
        hanging(screen, Text.assemble(("stages  ", "dim"), stages_text))


def _show_answers(result: Result, screen: Console) -> None:
    table = outputs_table(result.answers) if result.answers else None
    if table is not None:
        screen.print()
        show_table(screen, table)


def write(result: Result, files: Mapping[str, Any]) -> None:
    """The files that are asked for. Raises BenchError."""
    judged = result.judged
    if judged is not None:
        write_judgement(
            judged, result.card, "ab", junit=files["junit"], markdown=files["markdown"], as_json=None
        )
    if files["as_json"] is not None:
        put(files["as_json"], json_text(_plain(result, result.sentences, judged)) + "\n")


def _plain(result: Result, texts: Sequence[str], judged: Judgement | None) -> dict[str, Any]:
    return {
        "schema": 1,
        "folder": str(result.folder.path),
        "sentences": list(texts),
        "changes": [
            {**comparison_table.plain_change(each), "claimed": verdict.claims(each)}
            for each in result.changes
        ],
        "stages": None if result.comparison is None else comparison_table.stages_of(result.comparison),
        "answers": None if result.answers is None else result.answers.model_dump(by_alias=True),
        "gate": None if judged is None else gate_text.plain(judged, result.card),
    }
