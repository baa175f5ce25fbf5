"""Two conditions in sentences, as a person would tell what came out."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

from bench.analysis.answers.versions import Pair, gap
from bench.analysis.formatting import accuracy, difference
from bench.analysis.formatting import share as share_text
from bench.analysis.judging.change import CONFIDENCE, Change
from bench.analysis.reading.metric import GOODPUT, GOODPUT_RATE
from bench.analysis.statistics.intervals import proportion
from bench.runs.answers import Answers
from bench.wording import counted

SPEED: Final = {
    "p50": "at the median",
    "p99": "at p99",
    "requests_per_second": "in requests/s",
    "inferences_per_second": "in examples/s",
    GOODPUT: "in the share answered rightly in time",
    GOODPUT_RATE: "in requests/s answered rightly in time",
}
"""Metrics that the first sentence is about, and where it says that they are."""
_FAR: Final = 10.0
"""A factor beyond which the end of an interval says nothing."""


class _Phrase(NamedTuple):
    word: str
    """What comes first and is not repeated: `36 % slower` and `12 %`."""
    size: str
    where: str
    interval: str


def claims(each: Change) -> bool:
    """Whether the sentences say that the two differ in this metric."""
    if each.verdict != "unknown":
        return each.verdict != "same"
    nothing = 1.0 if each.metric.ratio else 0.0
    return each.estimate is not None and not each.low <= nothing <= each.high


def sentences(
    title: str, changes: Sequence[Change], answers: Answers | None, *, answers_first: bool = False
) -> list[str]:
    """What is to be said of a candidate: its speed with its answers, and what else there is.

    title: the candidate, as a sentence begins. changes: of a comparison; none: not measured. answers_first: whether it
    gives the same answers has a sentence of its own, before how fast it is.
    """
    speed, agreement = _speed(changes), _agreement(answers, alone=not changes)
    texts = []
    if agreement and (answers_first or not speed):
        texts.append(f"{title}: {agreement}.")
        agreement = ""
    if speed:
        texts.append(f"{title} is {', '.join(filter(None, (speed, agreement)))}.")
    texts += [text for each in changes if (text := _not_compared(each))]
    if changes and "p99" not in {each.metric.name for each in changes}:
        texts.append("Not compared at p99: trials have too few requests; more time or users would help.")
    texts += [text for each in changes if (text := _errors(each))]
    return texts + ([] if answers is None else _remarks(answers))


def _speed(changes: Sequence[Change]) -> str:
    """Such as `36 % slower at the median (34 to 38 %) and 12 % at p99 (3 to 22 %)`."""
    phrases = [_phrase(each) for each in changes if each.metric.name in SPEED and not _silent(each)]
    clauses = []
    for word, same in groupby(phrases, key=lambda each: each.word):
        group = list(same)
        first = f"{group[0].size}{word} {group[0].where}{group[0].interval}"
        rest = [
            f"{each.size.strip()}{' ' if each.size else ''}{each.where}{each.interval}" for each in group[1:]
        ]
        clauses += [first, *rest]
    return (
        clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}" if clauses else ""
    )


def _silent(each: Change) -> bool:
    """Whether nothing is known of a change, so that it has a sentence of its own."""
    nothing = each.low <= 1 / _FAR and each.high >= _FAR
    return each.verdict == "unknown" and (each.estimate is None or nothing)


def _phrase(each: Change) -> _Phrase:
    where = SPEED[each.metric.name]
    slow, fast = ("slower", "faster") if each.metric.unit == "s" else ("lower", "higher")
    if each.verdict in ("worse", "better") and not math.isfinite(
        math.log(each.size) if each.size else math.inf
    ):
        return _Phrase(
            "far " + (slow if each.verdict == "worse" else fast),
            "",
            where,
            ": too many requests got no answer" if slow == "slower" else f": {each.reason}",
        )
    if each.verdict == "same":
        low, high = (100 * (end - 1) for end in (each.low, each.high))
        return _Phrase(
            f"as {'fast' if slow == 'slower' else 'high'}", "", where, f" ({low:+.1f} to {high:+.1f} %)"
        )
    if each.low <= 1 <= each.high:
        return _Phrase(
            "not significantly different", "", where, f" ({_signed(each.low)} to {_signed(each.high)} %)"
        )
    more = each.size > 1
    word = (slow if more else fast) if each.metric.unit == "s" else (fast if more else slow)
    ends = sorted(abs(100 * (end - 1)) for end in (each.low, each.high))
    # as few digits as tell the ends apart
    digits = 0 if ends[1] - ends[0] >= (1 if ends[0] >= 10 else 5) else 1
    least, most = (f"{end:,.{digits}f}" for end in ends)
    size = abs(100 * (each.size - 1))
    return _Phrase(f" {word}", f"{size:,.{0 if size >= 10 else 1}f} %", where, f" ({least} to {most} %)")


def _signed(end: float) -> str:
    if not 1 / _FAR <= end <= _FAR:
        return "?"
    return f"{100 * (end - 1):+.1f}"


def _not_compared(each: Change) -> str:
    if each.metric.name not in SPEED or not _silent(each):
        return ""
    reason = each.reason or "the trials differ too much, or are too few"
    return f"Not compared {SPEED[each.metric.name]}: {reason}."


def _errors(each: Change) -> str:
    """Where requests failed, or answers were of another model or shape."""
    failure = {"error_share": "of its requests failed", "mismatch_share": "of its answers were wrong"}.get(
        each.metric.name
    )
    if failure is None or not (each.before or each.after) or math.isnan(each.after):
        return ""
    return f"{share_text(each.after)} {failure} under load; of the baseline's {share_text(each.before)}."


def _agreement(answers: Answers | None, *, alone: bool) -> str:
    """Such as `answers differ in 0.3 % of 1,000 examples (0.06 to 0.9 %; largest relative difference 0.02)`."""
    if answers is None:
        return ""
    if not answers.compared:
        return "no example was answered"
    low, high = proportion(answers.differing, answers.compared, CONFIDENCE)
    examples = counted(answers.compared, "example")
    largest = "" if answers.largest is None else f"largest relative difference {difference(answers.largest)}"
    if not answers.differing:
        inside = f"at most {_percent(high)} % differ" + (f"; {largest}" if largest else "")
        return f"answers agree in all {examples} ({inside})"
    inside = f"{_percent(low)} to {_percent(high)} %" + (f"; {largest}" if largest else "")
    return f"answers differ in {_percent(answers.differing / answers.compared)} % of {examples} ({inside})"


def _percent(share: float) -> str:
    """Two digits, as many as an interval deserves; 100 only of all."""
    percent = 100 * share
    if percent >= 99.95:
        return "100" if percent == 100 else ">99.9"
    if percent >= 10:
        return f"{percent:.1f}"
    return f"{percent:.2g}" if percent >= 0.01 else "<0.01" if percent else "0"


def _remarks(answers: Answers) -> list[str]:
    texts = []
    for side, unsteady in (
        (answers.before, answers.unsteady_before),
        (answers.after, answers.unsteady_after),
    ):
        if unsteady:
            texts.append(
                f"{side} differs from itself in {unsteady} of {counted(answers.repeated, 'example')} sent again: only what "
                "goes beyond that counts as a difference."
            )
    for side, failed, reason in (
        (answers.before, answers.failed_before, answers.failure_before),
        (answers.after, answers.failed_after, answers.failure_after),
    ):
        if failed:
            texts.append(f"{side} did not answer {counted(failed, 'example')}: {reason}.")
    texts += [f"{note}." for note in answers.notes]
    left = answers.examples - answers.compared
    if left > 0:
        texts.append(f"{counted(left, 'more example')} not compared (no time left, or no answer).")
    if answers.accuracy is not None and answers.accuracy.examples:
        texts.append(_accuracy(answers))
    return texts


def _accuracy(answers: Answers) -> str:
    seen = answers.accuracy
    assert seen is not None  # noqa: S101 - for the type checker
    difference = gap(
        Pair(seen.examples, seen.right_before, seen.right_after, seen.only_before, seen.only_after, 0)
    )
    was, is_ = (accuracy(right / seen.examples) for right in (seen.right_before, seen.right_after))
    clear = difference.low > 0 or difference.high < 0
    return (
        f"Accuracy {is_} against {was} on {counted(seen.examples, 'labelled example')}: {difference.value:+.4f} "
        f"(95 %: {difference.low:+.4f} to {difference.high:+.4f}{'' if clear else '; no difference shown'})."
    )
