"""A gate's verdict for people, for continuous integration and for programs."""

import math
from typing import Any
from xml.etree import ElementTree

from bench import escape
from bench.analysis.formatting import ABSENT, NOT_REACHED
from bench.analysis.grouping.failures import Failures
from bench.analysis.grouping.identity import PARTS
from bench.analysis.judging.finding import Finding
from bench.analysis.judging.gate import Judgement, finite
from bench.analysis.showing.comparison_table import (
    FURTHEST,
    confidence_text,
    end_text,
    needed_text,
    plain_needed,
    size_text,
    value_text,
)
from bench.analysis.showing.table import Column, Table, rows_in_markdown


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
        return f"{limit.bound:.2%} worse"
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
        return end_text(metric, end)
    far = metric.ratio and not 1 / FURTHEST <= end / (finding.measured or 1.0) <= FURTHEST
    return "?" if far else value_text(metric, end)


def remarks(judged: Judgement) -> list[str]:
    """Why limits are not decided, and what would decide them."""
    told: dict[str, list[str]] = {}
    for finding, cell in zip(judged.findings, _cells(judged), strict=True):
        if finding.outcome == "inconclusive":
            text = finding.how
            if finding.needed is not None:
                text += f"; {needed_text(finding.needed)}"
            told.setdefault(text, []).append(f"{name(finding)}{f' ({cell})' if cell else ''}")
    return [f"{', '.join(names)}: {text}" for text, names in told.items()]


def plain(judged: Judgement) -> dict[str, Any]:
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
        "doubts": [doubt._asdict() for doubt in judged.doubts],
        "accepted_doubts": [doubt._asdict() for doubt in judged.accepted],
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


def markdown(judged: Judgement) -> str:
    """For a pull request's comment or a job's summary."""
    parts = [f"**Gate {escape.markdown(judged.verdict)}**", rows_in_markdown(judgement_table(judged).columns)]
    told = [
        f"- {'FAIL' if each.too_many else 'failed'}: {escape.markdown(each.text)}" for each in judged.failures
    ]
    told += [f"- warning: {escape.markdown(str(doubt))}" for doubt in judged.doubts]
    told += [f"- accepted warning: {escape.markdown(str(doubt))}" for doubt in judged.accepted]
    told += [f"- {escape.markdown(text)}" for text in remarks(judged)]
    if told:
        parts.append("\n".join(told))
    return "\n\n".join(parts) + "\n"


def junit(judged: Judgement, suite: str) -> str:
    """JUnit's XML: a test case for each limit; what is not decidable, and each warning, is an error."""
    root = ElementTree.Element("testsuite", name=suite)
    for finding, cell in zip(judged.findings, _cells(judged), strict=True):
        title = f"{finding.limit.dotted}{f' ({cell})' if cell else ''}"
        case = ElementTree.SubElement(root, "testcase", classname=suite, name=title)
        text = f"{measured_text(finding)} measured, {allowed_text(finding)} allowed, {interval_text(finding)}; {finding.how}"
        if finding.outcome == "FAIL":
            ElementTree.SubElement(case, "failure", message=text)
        elif finding.outcome == "inconclusive":
            ElementTree.SubElement(case, "error", message=text)
    for each in judged.failures:
        case = ElementTree.SubElement(root, "testcase", classname=suite, name="failed trials")
        if each.too_many:
            ElementTree.SubElement(case, "failure", message=each.text)
    for doubt in judged.doubts:
        case = ElementTree.SubElement(root, "testcase", classname=suite, name=f"no warning: {doubt.check}")
        ElementTree.SubElement(case, "error", message=str(doubt))
    failed = sum(each.too_many for each in judged.failures)
    root.set("tests", str(len(judged.findings) + len(judged.failures) + len(judged.doubts)))
    root.set("failures", str(failed + sum(each.outcome == "FAIL" for each in judged.findings)))
    root.set(
        "errors", str(sum(each.outcome == "inconclusive" for each in judged.findings) + len(judged.doubts))
    )
    ElementTree.indent(root)
    document = escape.xml(ElementTree.tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document}\n'


def annotations(judged: Judgement) -> list[str]:
    """GitHub's workflow commands ("Workflow commands for GitHub Actions", error and warning)."""
    lines = []
    for finding, cell in zip(judged.findings, _cells(judged), strict=True):
        if finding.outcome == "pass":
            continue
        level = "error" if finding.outcome == "FAIL" else "warning"
        text = f"{measured_text(finding)} measured, {allowed_text(finding)} allowed ({interval_text(finding)}); {finding.how}"
        lines.append(escape.ci_command(level, f"{finding.outcome}: {name(finding)} {cell}".strip(), text))
    lines += [
        escape.ci_command("error", "FAIL: failed trials", each.text)
        for each in judged.failures
        if each.too_many
    ]
    return lines + [
        escape.ci_command("warning", f"warning: {doubt.check}", str(doubt)) for doubt in judged.doubts
    ]
