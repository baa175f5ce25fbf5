"""Comparisons as a table, as sentences and as JSON."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from bench import escape
from bench.analysis import formatting
from bench.analysis.explaining.stages import Differences, differences
from bench.analysis.grouping.identity import PARTS
from bench.analysis.judging.change import CONFIDENCE, Change
from bench.analysis.judging.compare import Comparison, Comparisons
from bench.analysis.reading.metric import Metric
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.showing.table import Column, Table, rows_in_markdown
from bench.analysis.statistics.needed import Needed
from bench.wording import counted

IN_FULL: Final = 2
"""Comparisons that a terminal shows whole; of more it has a row each, unless it is to show all."""
WEIGHT: Final = {
    "requests_per_second": 1,
    "inferences_per_second": 1,
    "error_share": 2,
    "accuracy": 2,
    "cpu_per_request": 3,
    "p90": 4,
    "p999": 4,
}
"""Of a metric's column beside the others: a narrow terminal leaves out those of the greatest first."""
FURTHEST: Final = 10.0
"""Factor beyond which the end of an interval is not shown."""
UNSPLIT: Final = (
    "network and server are one stage: the counters of both servers were not read (--server-metrics)"
)
VERDICTS = {"better": "better", "worse": "WORSE", "same": "same", "unknown": "inconclusive"}
"""In texts; JSON has the keys."""


def metric_title(metric: Metric) -> str:
    """Its name as a table shows it: `requests/s` of `requests_per_second`."""
    return metric.name.replace("_per_second", "/s").replace("_per_", "/")


def value_text(metric: Metric, value: float) -> str:
    """A value of a metric with its unit."""
    if metric.unit == "s":
        return formatting.duration(value)
    if metric.unit == "1/s":
        return f"{formatting.rate(value)}/s" if math.isfinite(value) else formatting.ABSENT
    if metric.unit in ("J", "price"):
        joules = " J" if metric.unit == "J" and math.isfinite(value) else ""
        return f"{formatting.significant(value)}{joules}"
    return formatting.accuracy(value) if metric.better == "higher" else formatting.share(value)


def size_text(metric: Metric, size: float) -> str:
    """A change such as `+12.3 %`, or of shares `+0.4 pt` (percentage points)."""
    if not math.isfinite(size):
        return formatting.ABSENT
    percent = 100 * (size - 1) if metric.ratio else 100 * size
    digits = 2 if abs(percent) < 1 else 1 if abs(percent) < 100 else 0
    return f"{percent:+,.{digits}f} {'%' if metric.ratio else 'pt'}"


def interval_text(each: Change) -> str:
    """Such as `+1.2 … +3.4 %`."""
    if not (math.isfinite(each.low) and math.isfinite(each.high)):
        return formatting.ABSENT
    low, high = (end_text(each.metric, end, each.size) for end in (each.low, each.high))
    return f"{low.rpartition(' ')[0]} … {high}"


def end_text(metric: Metric, end: float, size: float = 1.0) -> str:
    """An end of an interval of a change; beyond a factor of ten of none, and of the change, its exact place says nothing."""
    beyond = [not 1 / FURTHEST <= each <= FURTHEST for each in (end, end / (size or 1.0))]
    if metric.ratio and all(beyond):
        return "< -90 %" if end < 1 else "> +900 %"
    return size_text(metric, end)


def remark(each: Change) -> str:
    """What is to be said of a verdict that is none."""
    if each.reason:
        return each.reason
    if each.verdict != "unknown" or each.estimate is None:
        return ""
    if each.needed is None:
        return "more than 500 trials would be needed: they differ too much, or the change is at the edge of the tolerance"
    return needed_text(each.needed)


def needed_text(needed: Needed) -> str:
    """Such as `8 to 30 trials in all would decide`."""
    if needed.about is not None:
        return f"about {needed.about} trials in all would decide"
    if needed.most is None:
        return f"at least {needed.least} trials in all would be needed"
    return f"{needed.least} to {needed.most} trials in all would decide"


def plain_needed(needed: Needed | None) -> dict[str, int | None]:
    """For JSON: trials in all that would decide, and the range in which nine tenths of the possible truths lie."""
    if needed is None:
        return {"needed": None, "needed_low": None, "needed_high": None}
    return {"needed": needed.about, "needed_low": needed.least, "needed_high": needed.most}


def confidence_text(confidences: Iterable[float]) -> str:
    """The title of a column of intervals: each is the one that decided. None is one of 100 %."""
    rounded = {f"{100 * confidence:.3g}": confidence for confidence in confidences}
    percents = sorted(
        (f"{math.floor(1e4 * of) / 100:g}" if text == "100" else text for text, of in rounded.items()),
        key=float,
    )
    return f"{' to '.join(dict.fromkeys((percents[0], percents[-1])))} % interval" if percents else "interval"


def remarks(comparison: Comparison) -> list[str]:
    """Remarks with the metrics that they hold for."""
    by_text: dict[str, list[str]] = {}
    for each in comparison.changes:
        if text := remark(each):
            by_text.setdefault(text, []).append(metric_title(each.metric))
    return [f"{', '.join(names)}: {text}" for text, names in by_text.items()]


def changes_table(comparison: Comparison) -> Table:
    """A row for each metric."""
    rows = comparison.changes
    calm = [False] * len(rows)
    columns = [
        Column("metric", True, [metric_title(each.metric) for each in rows], calm),
        Column("baseline", False, [value_text(each.metric, each.before) for each in rows], calm),
        Column("candidate", False, [value_text(each.metric, each.after) for each in rows], calm),
        Column("change", False, [size_text(each.metric, each.size) for each in rows], calm),
        Column(
            confidence_text([each.confidence for each in rows]),
            False,
            [interval_text(each) for each in rows],
            calm,
        ),
        Column("verdict", False, [VERDICTS[e.verdict] for e in rows], [e.verdict == "worse" for e in rows]),
    ]
    return Table(columns, [], [])


def overview(comparisons: Comparisons) -> Table | None:
    """A row for each candidate and a column for each metric; None of few comparisons, which are shown whole.

    A change without a word is inconclusive.
    """
    compared = comparisons.found
    if len(compared) <= IN_FULL:
        return None
    calm = [False] * len(compared)
    differ = [part for part in PARTS if len({getattr(each.after, part) for each in compared}) > 1]
    columns = [
        Column(part, True, [str(getattr(each.after, part) or formatting.ABSENT) for each in compared], calm)
        for part in differ
    ]
    changes = [{each.metric.name: each for each in comparison.changes} for comparison in compared]
    for metric in {name: each.metric for of in changes for name, each in of.items()}.values():
        own = [of.get(metric.name) for of in changes]
        texts = [formatting.ABSENT if each is None else _with_verdict(each) for each in own]
        worse = [each is not None and each.verdict == "worse" for each in own]
        columns.append(Column(metric_title(metric), False, texts, worse, WEIGHT.get(metric.name, 0)))
    before = {each.before.words(each.varied) for each in compared}
    against = f"changes against {before.pop()}" if len(before) == 1 else "changes against the baseline"
    return Table(
        columns,
        [],
        [f"{against}; without a word: inconclusive; --wide shows each comparison with its intervals"],
    )


def _with_verdict(each: Change) -> str:
    word = "" if each.verdict == "unknown" else f" {VERDICTS[each.verdict]}"
    return f"{size_text(each.metric, each.size)}{word}"


def warnings_together(comparisons: Comparisons) -> list[RunWarning]:
    """Each kind of warning once, in the words of the first, with the number of comparisons that have it."""
    by_check: dict[str, list[RunWarning]] = {}
    for comparison in comparisons.found:
        for check, warning in {each.check: each for each in comparison.warnings[::-1]}.items():
            by_check.setdefault(check, []).append(warning)
    of = len(comparisons.found)
    return [
        own[0]._replace(reason=f"{len(own)} of {of} comparisons, such as {own[0].reason}")
        for own in by_check.values()
    ]


def stages_text(comparison: Comparison) -> str:
    """The stages of the mean latency that became longer or shorter, the largest first; empty: none, or not known."""
    split = _split(comparison)
    if split is None or split.without_server:
        return ""  # without the server's counters it is the latency again
    like = [split.before, split.after]
    changes = sorted(
        (each for each in split.stages if each.change.verdict in ("worse", "better")),
        key=lambda each: -abs(each.change.size),
    )
    signed = formatting.signed
    return ", ".join(
        f"{each.stage} {signed(each.change.size, like)} "
        f"({signed(each.change.low, like, name=False)} to {signed(each.change.high, like, name=False)})"
        for each in changes
    )


def stages_table(comparison: Comparison) -> Table | None:
    """The stages of the mean latency on both sides; None where they are not known."""
    split = _split(comparison)
    if split is None:
        return None
    like = [split.before, split.after]
    changes = [each.change for each in split.stages]
    rows = [
        *((each.stage, each.change.before, each.change.after) for each in split.stages),
        ("mean latency", split.before, split.after),
    ]
    unit = formatting.fitting_unit(like)
    signed = partial(formatting.signed, like=like, name=False)
    intervals = [
        f"{signed(each.low)} … {signed(each.high)}"
        if math.isfinite(each.low) and math.isfinite(each.high)
        else formatting.ABSENT
        for each in changes
    ]
    calm = [False] * len(rows)
    columns = [
        Column(f"stage, {unit.name}", True, [name for name, _, _ in rows], calm),
        Column("baseline", False, [signed(before, sign=False) for _, before, _ in rows], calm),
        Column("candidate", False, [signed(after, sign=False) for _, _, after in rows], calm),
        Column("difference", False, [signed(after - before) for _, before, after in rows], calm),
        Column(
            confidence_text([each.confidence for each in changes]),
            False,
            [*intervals, formatting.ABSENT],
            calm,
        ),
    ]
    return Table(columns, [], [UNSPLIT] if split.without_server else [])


def _split(comparison: Comparison) -> Differences | None:
    return None if comparison.match is None else differences(comparison.match)


def stages_of(comparison: Comparison) -> list[dict[str, Any]] | None:
    """As `plain_stages`, of the trials of a comparison."""
    return plain_stages(_split(comparison))


def plain_stages(split: Differences | None) -> list[dict[str, Any]] | None:
    """The stages of both sides for programs: durations in seconds; None where they are not known."""
    if split is None:
        return None

    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return [
        {
            "stage": each.stage,
            "baseline": known(each.change.before),
            "candidate": known(each.change.after),
            "difference": known(each.change.size),
            "low": known(each.change.low),
            "high": known(each.change.high),
            "named": each.named,
        }
        for each in split.stages
    ]


def how(comparison: Comparison) -> str:
    """How many trials were compared in which way."""
    first, second = comparison.trials
    if comparison.paired:
        return f"{counted(first, 'pair')} of interleaved trials"
    return f"{first} and {counted(second, 'trial')}, not interleaved"


def summary(comparisons: Comparisons) -> str:
    """The answer in a sentence."""
    by_verdict: dict[str, list[str]] = {}
    candidates = [comparison.after for comparison in comparisons.found]
    differ = [part for part in PARTS if len({getattr(each, part) for each in candidates}) > 1]
    for comparison in comparisons.found:
        for each in comparison.changes:
            text = f"{metric_title(each.metric)} {size_text(each.metric, each.size)}"
            if differ:
                text += f" ({comparison.after.words(differ)})"
            by_verdict.setdefault(each.verdict, []).append(text)
    parts = [
        f"{verdict}: {_few(by_verdict[verdict])}" for verdict in ("worse", "better") if verdict in by_verdict
    ]
    parts += [
        f"{VERDICTS[verdict]}: {len(by_verdict[verdict])}"
        for verdict in ("same", "unknown")
        if verdict in by_verdict
    ]
    return "; ".join(parts) or "nothing to compare"


def _few(texts: list[str], most: int = 6) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def plain(comparisons: Comparisons, missing: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Every number for programs: durations in seconds, unknown ones as None; missing: what gave no trial."""
    return {
        "schema": 1,
        "confidence": CONFIDENCE,
        "comparisons": [
            {
                "baseline": comparison.before._asdict(),
                "candidate": comparison.after._asdict(),
                "varied": list(comparison.varied),
                "trials": list(comparison.trials),
                "paired": comparison.paired,
                "doubts": [warning._asdict() for warning in comparison.warnings],
                "changes": [plain_change(each) for each in comparison.changes],
                "stages": stages_of(comparison),
            }
            for comparison in comparisons.found
        ],
        "unmatched": [{"side": side, **identity._asdict()} for side, identity in comparisons.unmatched],
        "missing": [{"what": word, "reason": text} for word, text in missing],
    }


def plain_change(each: Change) -> dict[str, Any]:
    """One change for programs."""
    ends = each.bootstrap or (math.nan, math.nan)
    numbers = {
        "before": each.before,
        "after": each.after,
        "size": each.size,
        "low": each.low,
        "high": each.high,
        "bootstrap_low": ends[0],
        "bootstrap_high": ends[1],
    }
    return {
        "metric": each.metric.name,
        "told_as": "ratio" if each.metric.ratio else "difference",
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "tolerance": each.tolerance,
        "verdict": each.verdict,
        "p": each.p,
        "method": each.estimate.method if each.estimate else None,
        "confidence": each.confidence,
        **plain_needed(each.needed),
        "reason": each.reason,
    }


def markdown(comparisons: Comparisons, missing: Sequence[tuple[str, str]] = ()) -> str:
    """Tables in GitHub's Markdown; missing: what gave no trial."""
    parts = [f"**{escape.markdown(summary(comparisons))}**"]
    for comparison in comparisons.found:
        table = rows_in_markdown(changes_table(comparison).columns)
        parts += [f"{escape.markdown(comparison.title)}: {escape.markdown(how(comparison))}", table]
        if stages := stages_text(comparison):
            parts.append(f"- stages of the mean latency: {escape.markdown(stages)}")
        if notes := remarks(comparison):
            parts.append("\n".join(f"- {escape.markdown(text)}" for text in notes))
        if comparison.warnings:
            parts.append(
                "\n".join(f"- warning: {escape.markdown(str(warning))}" for warning in comparison.warnings)
            )
    if comparisons.unmatched:
        parts.append(
            "\n".join(
                f"- only the {side} measured {escape.markdown(i.words(i._fields))}"
                for side, i in comparisons.unmatched
            )
        )
    if missing:
        parts.append("\n".join(f"- {word}: {escape.markdown(text)}" for word, text in missing))
    return "\n\n".join(parts) + "\n"
