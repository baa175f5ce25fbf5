"""The agreement of two conditions as numbers for a result folder, and the examples that differ most."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.analysis.agreement.compare import Answer, Differences
from bench.analysis.agreement.values import TEXTS, Array, kind_of
from bench.runs.answers import Answers, PairedAccuracy

MOST_VALUES: Final = 1000
"""Of an output, or input, that are written for an example."""


def summary(
    differences: Differences,
    *,
    before: str,
    after: str,
    origin: str,
    examples: int,
    accuracy: PairedAccuracy | None = None,
) -> Answers:
    """before, after: the conditions in words. examples: different ones that there are."""
    failed = [
        [each for each in side if isinstance(each, str)] for side in (differences.before, differences.after)
    ]
    neither = sum(
        isinstance(a, str) and isinstance(b, str)
        for a, b in zip(differences.before, differences.after, strict=True)
    )
    outputs = differences.by_output()
    largest = max(
        (each for each in outputs if each.largest is not None),
        key=lambda each: each.largest or 0.0,
        default=None,
    )
    return Answers(
        before=before,
        after=after,
        origin=origin,
        examples=examples,
        compared=len(differences.first) - neither,
        differing=differences.count,
        suspected=len(differences.suspected),
        repeated=len(differences.repeated),
        unsteady_before=differences.unsteady(0),
        unsteady_after=differences.unsteady(1),
        failed_before=len(failed[0]),
        failed_after=len(failed[1]),
        failure_before=failed[0][0] if failed[0] else "",
        failure_after=failed[1][0] if failed[1] else "",
        tolerance=differences.rule.tolerance,
        rule=differences.rule.text,
        largest=None if largest is None else largest.largest,
        largest_output="" if largest is None else largest.output,
        outputs=outputs,
        notes=differences.notes(before, after),
        accuracy=accuracy,
    )


def paired_accuracy(before: Sequence[bool | None], after: Sequence[bool | None]) -> PairedAccuracy:
    """[examples]: whether each condition met the label; None: it did not answer, and the example does not count."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    return PairedAccuracy(
        examples=len(pairs),
        right_before=sum(a for a, _ in pairs),
        right_after=sum(b for _, b in pairs),
        only_before=sum(a and not b for a, b in pairs),
        only_after=sum(b and not a for a, b in pairs),
    )


def different(
    differences: Differences,
    numbers: Sequence[int],
    before: str,
    after: str,
    inputs: Sequence[Mapping[str, Array]] = (),
) -> list[dict[str, Any]]:
    """The examples that differ most with both answers, ready for JSON.

    numbers: [examples], the place of each in the file that it comes from, from 0. inputs: what was sent; none: it is the
    user's own data and is not written.
    """
    rows = []
    for at in differences.worst:
        size = differences.first[at].size
        row: dict[str, Any] = {
            "example": numbers[at],
            "cause": differences.first[at].cause,
            "output": differences.first[at].output,
            "relative_difference": size if math.isfinite(size) else None,
            before: _plain_answer(differences.before[at], differences.outputs),
            after: _plain_answer(differences.after[at], differences.outputs),
        }
        if inputs:
            row["inputs"] = {name: plain_values(each) for name, each in inputs[at].items()}
        rows.append(row)
    return rows


def _plain_answer(answer: Answer, outputs: Sequence[str]) -> Any:
    if isinstance(answer, str):
        return {"error": answer}
    return {name: plain_values(answer[name]) for name in outputs if name in answer}


def plain_values(values: Array) -> Any:
    """Values as JSON has them: texts that are no UTF-8 in hexadecimal, NaN and infinities by name, the first of many."""
    if values.size > MOST_VALUES:
        return {"first": plain_values(values.ravel()[:MOST_VALUES]), "values": values.size}
    if kind_of(values) != TEXTS:
        if values.dtype.names:
            values = values.view(values.dtype[0])
        if values.dtype.kind == "V":
            values = values.astype("float64")
        if values.dtype.kind == "c":
            values = values.astype(str)
    return _plain(values.tolist())


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"hex": value.hex()}
    return value
