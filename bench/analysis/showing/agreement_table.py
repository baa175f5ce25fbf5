"""A table of the agreement of two conditions' outputs."""

from collections.abc import Sequence

from bench.analysis.formatting import ABSENT, difference
from bench.analysis.formatting import share as share_text
from bench.analysis.showing.table import Column, Table
from bench.runs.answers import Answers, OutputAgreement


def outputs_table(answers: Answers) -> Table | None:
    """A row for each output; None where a sentence says all."""
    rows = answers.outputs
    if not rows:
        return None
    calm = [False] * len(rows)
    columns = [
        Column("output", True, [each.output for each in rows], calm),
        Column("compared as", True, [each.kind for each in rows], calm),
        Column(
            "differ",
            False,
            [f"{each.differing:,} of {each.compared:,}" for each in rows],
            [each.differing > 0 for each in rows],
        ),
        Column("largest", False, [_size(each.largest) for each in rows], calm),
        Column("mean", False, [_size(each.mean) for each in rows], calm),
        *_more(rows, calm),
    ]
    return Table(columns, [], [])


def _more(rows: Sequence[OutputAgreement], calm: list[bool]) -> list[Column]:
    """Columns that most models have no need of."""
    columns = []
    if any(each.incomparable for each in rows):
        columns.append(
            Column("not comparable", False, [str(each.incomparable or ABSENT) for each in rows], calm)
        )
    if any(each.first is not None for each in rows):
        texts = [
            ABSENT if each.first is None else share_text(each.first / max(1, each.compared)) for each in rows
        ]
        columns.append(Column("same best", False, texts, calm))
    if any(each.top is not None for each in rows):
        texts = [ABSENT if each.top is None else f"{share_text(each.overlap)} of {each.top}" for each in rows]
        columns.append(Column("shared of the best", False, texts, calm))
    if any(each.note for each in rows):
        columns.append(Column("note", False, [each.note or ABSENT for each in rows], calm))
    return columns


def _size(size: float | None) -> str:
    return ABSENT if size is None else difference(size)
