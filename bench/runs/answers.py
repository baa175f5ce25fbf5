"""Agreement of the answers of two conditions, beside the runs of an experiment.

answers.json          counts, by output; which condition was which
different.jsonl       the examples that differ most, with both answers
"""

from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import Field

from bench.runs.jsonl import json_line, json_text
from bench.runs.manifest import Amount, Count, Name, Part, Text
from bench.runs.misfit import read_checked

ANSWERS, DIFFERENT = "answers.json", "different.jsonl"
SCHEMA: Final = 1


class OutputAgreement(Part):
    """Agreement of one output of two conditions, over the examples that both answered."""

    output: Name
    kind: Name
    """`numbers`, `ids` or `texts`."""
    compared: Count
    differing: Count
    largest: Amount | None = None
    """Relative difference; None of ids and texts, and where no two numbers were compared."""
    mean: Amount | None = None
    """Of each example's largest one."""
    incomparable: Count = 0
    """Examples with a number against NaN, or values of another shape or kind."""
    first: Count | None = None
    """Examples with the same greatest value, or the same first id; None of outputs with one value."""
    top: Count | None = None
    """How many best values, or first ids, `overlap` is about."""
    overlap: Annotated[float, Field(ge=0, le=1)] | None = None
    """Mean share of these that both have."""
    note: Text = ""
    """What dtypes or shapes differ in."""


class PairedAccuracy(Part):
    """Labels met by both, on the same examples."""

    examples: Count
    right_before: Count
    right_after: Count
    only_before: Count
    only_after: Count


class Answers(Part):
    """Agreement of the answers of two conditions to the same examples."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    before: Name
    """The baseline, in words."""
    after: Name
    origin: Text
    """Where the examples come from."""
    examples: Count
    """Different ones that there are."""
    compared: Count
    """Different ones that one condition at least has answered, in both orders."""
    differing: Count
    """Those whose answers differ by more than a condition's own answers to them do."""
    suspected: Count
    """Those whose first two answers differ."""
    repeated: Count
    """Examples that both were asked again."""
    unsteady_before: Count = 0
    """Of these, those to which a condition's own answers differ."""
    unsteady_after: Count = 0
    failed_before: Count = 0
    """Examples that a condition did not answer."""
    failed_after: Count = 0
    failure_before: Text = ""
    """The first error."""
    failure_after: Text = ""
    tolerance: Amount
    rule: Name
    """What has to agree: `values`, or `top N`."""
    largest: Amount | None = None
    """The largest relative difference of numbers in any output; None: none were compared."""
    largest_output: Name = ""
    outputs: Annotated[list[OutputAgreement], Field(max_length=10_000)]
    notes: Annotated[list[Text], Field(max_length=1_000)]
    accuracy: PairedAccuracy | None = None

    @property
    def agreement(self) -> float:
        """Share of the compared examples that do not differ; nan of none."""
        return 1 - self.differing / self.compared if self.compared else float("nan")

    def write(self, folder: Path, different: list[dict[str, Any]]) -> None:
        """Write it into an experiment's folder; different: the examples that differ most, largest first."""
        (folder / ANSWERS).write_text(json_text(self.model_dump(by_alias=True)) + "\n")
        with (folder / DIFFERENT).open("wb") as file:
            file.writelines(json_line(each) for each in different)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What an experiment's folder holds; None where no answers were compared. Raises BenchError."""
        try:
            return read_checked(cls, folder / ANSWERS, "restore the file, or compare again")
        except FileNotFoundError:
            return None
