"""Both conditions' answers to the same examples, compared and written into the result folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench.analysis.agreement.compare import Differences, Rule
from bench.analysis.agreement.summary import different, paired_accuracy, summary
from bench.cli.ab_conditions import Looked
from bench.cli.output import note
from bench.escape import one_line
from bench.load.both_answers import Answer, Both, ask_both, distinct, labels_met
from bench.payload.arrays import Array
from bench.runs.answers import Answers, PairedAccuracy
from bench.wording import counted

_FIRST, _AGAIN = 0.6, 0.1
"""Of the time: for each example once, and for each of the rounds that ask again."""


def compare_answers(looked: Looked, folder: Path, seconds: float, options: Mapping[str, Any]) -> Answers:
    """Send each different example to both, some again, and write how the answers agree.

    seconds: for all of it. options: those of `bench ab`.
    """
    examples = looked.examples
    numbers = distinct(examples)
    click.echo(
        one_line(f"comparing the answers to {counted(len(numbers), 'distinct example')} ({examples.origin})"),
        err=True,
    )

    def ask(chosen: Sequence[int], share: float) -> Both:
        return ask_both(
            looked.sides,
            examples,
            chosen,
            in_flight=options["users"],
            deadline=options["deadline"],
            seconds=share * seconds,
            seed=options["seed"],
        )

    both = ask(numbers, _FIRST)
    compared = [number for number in numbers if number in both]
    before, after = ([both[number][side] for number in compared] for side in (0, 1))
    rule = Rule(options["tolerance"], options["top"], options["outputs"])
    differences = Differences(before, after, rule, seed=options["seed"])
    place = {number: at for at, number in enumerate(compared)}
    differences.repeat(
        lambda chosen: {place[n]: pair for n, pair in ask([compared[at] for at in chosen], _AGAIN).items()}
    )
    two = looked.two
    titles = (two.before.title(two.part), two.after.title(two.part))
    answers = summary(
        differences,
        before=titles[0],
        after=titles[1],
        origin=examples.origin,
        examples=len(numbers),
        accuracy=_accuracy(looked, compared, before, after),
    )
    inputs: list[Mapping[str, Array]] = []
    if options["save_inputs"]:
        inputs = [{name: each[number] for name, each in examples.inputs.items()} for number in compared]
    answers.write(folder, different(differences, compared, *titles, inputs))
    return answers


def _accuracy(
    looked: Looked, compared: Sequence[int], before: Sequence[Answer], after: Sequence[Answer]
) -> PairedAccuracy | None:
    labels, output = looked.examples.labels, looked.output
    if labels is None or output is None:
        return None
    try:
        first, second = (labels_met(side, labels[list(compared)], output) for side in (before, after))
    except ValueError as unfit:
        note(f"labels are not compared: {unfit}")
        return None
    return paired_accuracy(first, second)
