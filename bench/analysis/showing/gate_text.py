"""A gate's verdict for people, for continuous integration and for programs."""

import math
from typing import Any, Final
from xml.etree import ElementTree

from bench import escape
from bench.analysis.formatting import ABSENT, NOT_REACHED
from bench.analysis.grouping.failures import Failures
from bench.analysis.grouping.identity import PARTS
from bench.analysis.judging.finding import Finding
from bench.analysis.judging.gate import PASS, Judgement, finite
from bench.analysis.showing.card import Card, Row, plain_card
from bench.analysis.showing.comparison_table import (
    FURTHEST,
    confidence_text,
    end_text,
    plain_needed,
    size_text,
    value_text,
)
from bench.analysis.showing.table import Column, Table, rows_in_markdown

MOST_SHOWN: Final = 3
"""Limits that a pass lists."""
MOST_CAUSES: Final = 2
"""Causes in an annotation."""
COMMANDS: Final = ("reproduce",)
"""Rows of the card that are commands."""


def judgement_table(judged: Judgement) -> Table:
    """A row for each limit and cell."""
    rows = judged.findings
    calm = [False] * len(rows)
    cells = _cells(judged)
    columns = [
        Column("limit", True, [name(each) for each in rows], calm),
        *([Column("cell", True, cells, calm)] if any(cells) else []),
        Column("measured", False, [measured_text(each) for each in rows], calm),
        Column("allowed", False, [allowed_text(each) for each in rows], calm),
        Column(
            confidence_text([each.confidence for each in rows]),
            False,
            [interval_text(each) for each in rows],
            calm,
        ),
        Column(
            "outcome",
            False,
            [each.outcome for each in rows],
            [each.outcome != "pass" for each in rows],
        ),
    ]
    return Table(columns, [], [])


def name(finding: Finding) -> str:
    """The metric, and whether it is compared with the baseline."""
    return f"{finding.limit.metric.name}{' vs baseline' if finding.limit.relative else ''}"


def _cells(judged: Judgement) -> list[str]:
    """In what the cells differ, and what is asked for where none was measured."""
    known = [each.identity for each in judged.findings if each.identity is not None]
    differ = [part for part in PARTS if len({getattr(i, part) for i in known}) > 1]
    return [
        each.identity.words(differ) if each.identity is not None else each.limit.words
        for each in judged.findings
    ]


def measured_text(finding: Finding) -> str:
    """The value, or the change of a relative limit."""
    if finding.measured == math.inf:
        return NOT_REACHED
    if not math.isfinite(finding.measured):
        return ABSENT
    metric = finding.limit.metric
    return (
        size_text(metric, finding.measured)
        if finding.limit.relative
        else value_text(metric, finding.measured)
    )


def allowed_text(finding: Finding) -> str:
    """The bound with its direction."""
    limit = finding.limit
    sign = "≤" if limit.metric.better == "lower" else "≥"
    if not limit.relative:
        return f"{sign} {value_text(limit.metric, limit.bound)}"
    if finding.identity is None or not math.isfinite(finding.measured):
        return f"{100 * limit.bound:g} % worse"
    return f"{sign} {size_text(limit.metric, finding.allowed)}"


def interval_text(finding: Finding) -> str:
    """Its two ends, open where nothing bounds it."""
    if finding.low == finding.high or not (math.isfinite(finding.low) or math.isfinite(finding.high)):
        return ABSENT
    return " … ".join(_end_text(finding, end) for end in (finding.low, finding.high))


def _end_text(finding: Finding, end: float) -> str:
    metric = finding.limit.metric
    if not math.isfinite(end):
        return "?"
    if finding.limit.relative:
        return end_text(metric, end, finding.measured)
    share = end / (finding.measured or 1.0)
    if metric.ratio and not 1 / FURTHEST <= share <= FURTHEST:  # its exact place says nothing
        bound = finding.measured * (FURTHEST if share > 1 else 1 / FURTHEST)
        return f"{'>' if share > 1 else '<'} {value_text(metric, bound)}"
    return value_text(metric, end)


def passed(judged: Judgement) -> str:
    """What a pass has to show: each limit beside what was measured, and what was accepted."""
    shown = [
        f"{name(each)} {measured_text(each)} ({allowed_text(each)})" for each in judged.findings[:MOST_SHOWN]
    ]
    more = len(judged.findings) - len(shown)
    parts = [*shown, *([f"{more} more"] if more > 0 else [])]
    accepted = sorted({warning.check for warning in judged.accepted})
    if accepted:
        parts.append(f"accepted: {', '.join(accepted)}")
    return ", ".join(parts)


def plain(judged: Judgement, card: Card | None = None) -> dict[str, Any]:
    """Everything for programs: durations in seconds."""
    return {
        "schema": 1,
        "code": judged.code,
        "verdict": judged.verdict,
        "confidence": 1 - 2 * judged.rate,
        "trials": judged.trials,
        "findings": [_plain(finding) for finding in judged.findings],
        "failed_trials": [_plain_failures(each) for each in judged.failures],
        "left_out": judged.left_out,
        "doubts": [warning._asdict() for warning in judged.warnings],
        "accepted_doubts": [warning._asdict() for warning in judged.accepted],
        "card": None if card is None else plain_card(card),
    }


def _plain_failures(each: Failures) -> dict[str, Any]:
    return {
        "cell": each.identity._asdict(),
        "failed": len(each.failed),
        "trials": each.trials,
        "allowed": each.allowed,
        "too_many": each.too_many,
        "broken": each.too_many,  # its name in 0.1, for one release
        "reasons": [failed.reason for failed in each.failed],
        "paths": [str(failed.path) for failed in each.failed],
    }


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "limit": finding.limit.dotted,
        "metric": finding.limit.metric.name,
        "relative": finding.limit.relative,
        "cell": finding.identity._asdict() if finding.identity is not None else None,
        "asked_for": finding.limit.words,
        "outcome": finding.outcome,
        "measured": finite(finding.measured),
        "low": finite(finding.low),
        "high": finite(finding.high),
        "allowed": finding.allowed,
        "how": finding.how,
        "confidence": finding.confidence,
        **plain_needed(finding.needed),
    }


def markdown(judged: Judgement, card: Card | None = None) -> str:
    """For a pull request's comment or a job's summary; the table of a pass is folded."""
    table = rows_in_markdown(judgement_table(judged).columns)
    if judged.code == PASS:
        table = f"<details><summary>limits</summary>\n\n{table}\n\n</details>"
    parts = [f"**Gate {escape.markdown(judged.verdict)}**", table]
    if card is not None:
        parts.append("\n".join(f"- {row.title}: {_code(row)}" for row in card.rows))
        parts += [
            f"{escape.markdown(each.title)}\n\n{rows_in_markdown(each.table.columns)}"
            for each in card.breakdowns
        ]
    lines = [
        f"- {'FAIL' if each.too_many else 'failed'}: {escape.markdown(each.text)}" for each in judged.failures
    ]
    lines += [f"- warning: {escape.markdown(str(warning))}" for warning in judged.warnings]
    lines += [f"- accepted warning: {escape.markdown(str(warning))}" for warning in judged.accepted]
    if lines:
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def junit(judged: Judgement, suite: str, card: Card | None = None) -> str:
    """JUnit's XML: a test case for each limit; what is not decidable, and each warning, is an error.

    The body of a failure is the card. Times are seconds of load.
    """
    root = ElementTree.Element("testsuite", name=suite)
    _properties(root, judged, card)
    body = "" if card is None else "\n" + "\n".join(card.lines) + "\n"
    undecided = "" if card is None else "\n".join(card.of("undecided"))
    for finding, cell in zip(judged.findings, _cells(judged), strict=True):
        title = f"{finding.limit.dotted}{f' ({cell})' if cell else ''}"
        seconds = sum(t.duration for t in judged.candidate.trials if t.identity == finding.identity)
        case = ElementTree.SubElement(root, "testcase", classname=suite, name=title, time=_seconds(seconds))
        text = f"{measured_text(finding)} measured, {allowed_text(finding)} allowed, {interval_text(finding)}; {finding.how}"
        if finding.outcome == "FAIL":
            ElementTree.SubElement(case, "failure", message=text, type="limit").text = body
        elif finding.outcome == "inconclusive":
            ElementTree.SubElement(case, "error", message=text, type="inconclusive").text = undecided
    for each in judged.failures:
        case = ElementTree.SubElement(root, "testcase", classname=suite, name="failed trials")
        if each.too_many:
            ElementTree.SubElement(case, "failure", message=each.text, type="failed trials").text = body
    for warning in judged.warnings:
        case = ElementTree.SubElement(root, "testcase", classname=suite, name=f"no warning: {warning.check}")
        ElementTree.SubElement(case, "error", message=str(warning), type="warning").text = warning.remedy
    failed = sum(each.too_many for each in judged.failures)
    root.set("tests", str(len(judged.findings) + len(judged.failures) + len(judged.warnings)))
    root.set("failures", str(failed + sum(each.outcome == "FAIL" for each in judged.findings)))
    root.set(
        "errors", str(sum(each.outcome == "inconclusive" for each in judged.findings) + len(judged.warnings))
    )
    ElementTree.indent(root)
    document = escape.xml(ElementTree.tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document}\n'


def _code(row: Row) -> str:
    """A row's text; commands as code, where they cannot end it."""
    if row.title in COMMANDS and "`" not in row.text and "\n" not in row.text:
        return f"`{escape.one_line(row.text)}`"
    return escape.markdown(row.text)


def _properties(root: ElementTree.Element, judged: Judgement, card: Card | None) -> None:
    """The suite's time, instant and facts."""
    durations = {trial.path: trial.duration for trial in judged.candidate.trials}
    root.set("time", _seconds(sum(durations.values())))
    started = max((trial.started for trial in judged.candidate.trials), default="")
    if started:
        root.set("timestamp", started)
    facts = ElementTree.SubElement(root, "properties")
    rows = [("verdict", judged.verdict), *(() if card is None else card.rows)]
    for title, text in rows:
        ElementTree.SubElement(facts, "property", name=title, value=text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}" if math.isfinite(seconds) else "0"


def annotations(judged: Judgement, card: Card | None = None) -> list[str]:
    """GitHub's workflow commands ("Workflow commands for GitHub Actions", error and warning)."""
    lines = []
    causes = [] if card is None else [f"cause: {text}" for text in card.of("cause")[:MOST_CAUSES]]
    for finding, cell in zip(judged.findings, _cells(judged), strict=True):
        if finding.outcome == "pass":
            continue
        level = "error" if finding.outcome == "FAIL" else "warning"
        text = f"{measured_text(finding)} measured, {allowed_text(finding)} allowed ({interval_text(finding)}); {finding.how}"
        if finding.outcome == "FAIL":
            text = "\n".join([text, *causes])
        lines.append(escape.ci_command(level, f"{finding.outcome}: {name(finding)} {cell}".strip(), text))
    lines += [
        escape.ci_command("error", "FAIL: failed trials", each.text)
        for each in judged.failures
        if each.too_many
    ]
    return lines + [
        escape.ci_command("warning", f"warning: {warning.check}", str(warning)) for warning in judged.warnings
    ]
