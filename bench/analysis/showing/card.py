"""The card of a verdict: what fails and by how much, why, since when, and what to do; content only.

Terminal, JUnit, Markdown and annotations show the same rows (`bench.analysis.showing.gate_text`, `bench gate`). A gate
that passes has no card.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from bench.analysis import formatting
from bench.analysis.explaining.causes import Cause, Explained, explained
from bench.analysis.explaining.stages import Differences
from bench.analysis.grouping.identity import PARTS, Identity
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.change import Change
from bench.analysis.judging.finding import Finding
from bench.analysis.judging.gate import FAIL, PASS, Judgement
from bench.analysis.reading import environment
from bench.analysis.showing.card_text import cause_text, facts_of, headline, next_steps, spread_text
from bench.analysis.showing.comparison_table import needed_text, plain_stages
from bench.analysis.showing.table import Column, Table
from bench.wording import counted

MOST_RUNS: Final = 3
"""Run folders that are listed."""
MOST_CHANGED: Final = 6
"""Facts that are listed as different."""
DAY: Final = 86_400.0


class Row(NamedTuple):
    """A line of the card."""

    title: str
    text: str


class Breakdown(NamedTuple):
    """The stages of both sides in one cell."""

    title: str
    differences: Differences
    table: Table


@dataclass(frozen=True)
class Card:
    """A failed or inconclusive verdict with what the next step needs."""

    rows: list[Row]
    breakdowns: list[Breakdown]
    cells: list[Explained]

    @property
    def causes(self) -> list[Cause]:
        """Of all cells, the most telling first."""
        return [cause for cell in self.cells for cause in cell.causes]

    @property
    def lines(self) -> list[str]:
        """All of it as plain text."""
        rows = [f"{row.title}: {row.text}" for row in self.rows]
        for each in self.breakdowns:
            columns = [[column.title, *column.texts] for column in each.table.columns]
            widths = [max(map(len, texts)) for texts in columns]
            rows += ["", each.title]
            rows += [
                "  ".join(
                    text.ljust(width) if column.identity else text.rjust(width)
                    for text, width, column in zip(row, widths, each.table.columns, strict=True)
                ).rstrip()
                for row in zip(*columns, strict=True)
            ]
        return rows

    def of(self, title: str) -> list[str]:
        """The texts of the rows with a title."""
        return [row.text for row in self.rows if row.title == title]


def card(judged: Judgement, command: str | None = None) -> Card | None:
    """The card of a verdict; None of a pass. command: the line that measures again, where it is not that of a run."""
    if judged.code == PASS:
        return None
    cells = explained(judged)
    several = len({each.identity for each in judged.findings}) > 1
    rows = [
        Row("failed", f"{headline(each)}{_cell(cell, judged, several)}")
        for cell in cells
        for each in cell.findings
    ]
    rows += _causes(judged, cells)
    rows += _sides(judged, cells)
    rows += _undecided(judged)
    trials = [trial for cell in cells for trial in cell.trials] or judged.candidate.trials
    rows += _folders(trials, command)
    if trials:
        causes = [cause for cell in cells for cause in cell.causes]
        match = next((cell.match for cell in cells if cell.match is not None), None)
        rows += [Row("next", text) for text in next_steps(causes, trials, match)]
    return Card(rows, [_breakdown(cell, several) for cell in cells if cell.differences is not None], cells)


def _cell(cell: Explained, judged: Judgement, several: bool) -> str:
    if not several or cell.identity is None:
        return ""
    known = [each.identity for each in judged.findings if each.identity is not None]
    differ = [part for part in PARTS if len({getattr(i, part) for i in known}) > 1]
    return f" ({cell.identity.words(differ)})" if differ else ""


def _causes(judged: Judgement, cells: Sequence[Explained]) -> Iterator[Row]:
    for each in judged.failures:
        if each.too_many:
            yield Row("cause", f"failed trials: {each.text}")
    texts = dict.fromkeys(text for cell in cells for text in map(cause_text, cell.causes))
    yield from (Row("cause", text) for text in texts)
    for cell in cells:
        if cell.tail is not None and cell.tail.everywhere and 4 * cell.tail.all.slow < cell.tail.all.requests:
            yield Row("slow", spread_text(cell.tail))
    if cells and not texts:
        reason = "nothing that the runs recorded explains it"
        if all(cell.match is None for cell in cells):
            reason += "; with a baseline (--baseline) stages and environment could be compared"
        yield Row("cause", reason)
    passing = [each for each in judged.findings if each.outcome == "pass" and each.identity is not None]
    for cell in cells:
        yield from _only(cell, passing)


def _only(cell: Explained, passing: Sequence[Finding]) -> Iterator[Row]:
    """In which cells the same limit passes."""
    metrics = {each.limit.metric.name for each in cell.findings}
    others: list[Identity] = [
        each.identity
        for each in passing
        if each.identity is not None and each.limit.metric.name in metrics and each.identity != cell.identity
    ]
    if not others or cell.identity is None:
        return
    parts = [part for part in PARTS if len({getattr(i, part) for i in [*others, cell.identity]}) > 1]
    named = "; ".join(dict.fromkeys(i.words(parts) for i in others[:4]))
    yield Row("passes in", f"{named}{f' and {len(others) - 4} more' if len(others) > 4 else ''}")


def _sides(judged: Judgement, cells: Sequence[Explained]) -> Iterator[Row]:
    """Both sides with commit, server and age, and what differs between them."""
    seen: set[str] = set()
    measured = [(cell.match, cell.trials) for cell in cells]
    if not cells:
        measured = [(match, match.after) for match in judged.matches[:1]] or [(None, judged.candidate.trials)]
    for match, own in measured:
        sides = (
            [("candidate", own)]
            if match is None
            else [("baseline", match.before), ("candidate", match.after)]
        )
        for side, trials in sides:
            text = facts_of(trials) if trials else ""
            if side == "baseline" and (age := _age(trials, match.after if match is not None else [])):
                text += f", {age} older"
            if trials and (line := f"{side} {text}") not in seen:
                seen.add(line)
                yield Row(side, text)
        if match is not None and (changed := _changed(match.before, match.after)) and changed not in seen:
            seen.add(changed)
            yield Row("differs", changed)


def _age(before: Sequence[Trial], after: Sequence[Trial]) -> str:
    """How much older the newest run of the baseline is than the newest of the candidate; empty: interleaved, or unknown."""
    try:
        old, new = (max(datetime.fromisoformat(trial.started) for trial in side) for side in (before, after))
        seconds = (new - old).total_seconds()
    except (ValueError, TypeError):
        return ""
    return (
        counted(round(seconds / DAY), "day")
        if seconds >= DAY
        else f"{seconds / 3600:.0f} h"
        if seconds >= 3600
        else ""
    )


def _changed(before: Sequence[Trial], after: Sequence[Trial]) -> str:
    """Facts of which the two sides share no value, such as flags of the server and files of the model."""
    sides = [[environment.facts(trial.manifest) for trial in side] for side in (before, after)]
    keys = dict.fromkeys(key for side in sides for facts in side for key in facts)
    changes = []
    for key in keys:
        old, new = ({facts[key] for facts in side if key in facts} for side in sides)
        if key != "payload" and environment.matters(key) and old and new and not old & new:
            parts = apart(environment.title(key), old, new)
            changes += [f"{name} {_few(was)} → {_few(now)}" for name, was, now in parts]
    more = f"; {len(changes) - MOST_CHANGED} more" if len(changes) > MOST_CHANGED else ""
    return "; ".join(changes[:MOST_CHANGED]) + more


def apart(title: str, old: set[str], new: set[str]) -> Iterator[tuple[str, set[str], set[str]]]:
    """Title and values that differ: of a table such as a server's settings, each key in which it does."""
    tables = [_leaves(title, next(iter(side))) if len(side) == 1 else {} for side in (old, new)]
    if not all(tables):
        yield title, old, new
        return
    for name in dict.fromkeys(key for table in tables for key in table):
        was, now = (table.get(name, "not set") for table in tables)
        if was != now:
            yield name, {was}, {now}


def _leaves(title: str, text: str) -> dict[str, str]:
    """The values in the JSON of a table by title and key; none of another text."""
    if not text.startswith("{"):
        return {}
    return {
        name: value
        for key, part in json.loads(text).items()
        for plain in [environment.text(part)]
        for name, value in (_leaves(f"{title} {key}", plain) or {f"{title} {key}": plain}).items()
    }


def _few(values: set[str]) -> str:
    first = sorted(values)[0]
    return (first if len(first) <= 60 else first[:57] + "...") + (" and others" if len(values) > 1 else "")


def _folders(trials: Sequence[Trial], command: str | None) -> Iterator[Row]:
    paths = list(dict.fromkeys(trial.path for trial in trials))
    folders = list(dict.fromkeys(path.parent for path in paths))
    text = ", ".join(map(str, paths))
    if len(paths) > MOST_RUNS:
        shown = ", ".join(map(str, folders[:MOST_RUNS]))
        text = f"{counted(len(paths), 'run')} in {shown}, such as {paths[-1].name}"
    if paths:
        yield Row("runs", text)
    own = Counter(trial.manifest.shell_line for trial in trials)
    own.pop("", None)
    again = command or next((text for text, _ in own.most_common(1)), "")
    if again:
        yield Row("reproduce", again)


def _undecided(judged: Judgement) -> Iterator[Row]:
    """What would decide: trials that are needed, with the time that they take, and remedies of warnings."""
    durations = [trial.duration for trial in judged.candidate.trials if math.isfinite(trial.duration)]
    each = sum(durations) / len(durations) if durations else math.nan
    by_text: dict[str, list[str]] = {}
    for finding in judged.findings:
        if finding.outcome == "inconclusive":
            by_text.setdefault(f"{finding.how}{_needed(finding, judged, each)}", []).append(headline(finding))
    yield from (Row("undecided", f"{'; '.join(names[:MOST_RUNS])}: {how}") for how, names in by_text.items())
    if judged.code != FAIL:
        for check, remedy in dict.fromkeys((warning.check, warning.remedy) for warning in judged.warnings):
            yield Row("would decide", f"{remedy or 'measure again'} [{check}]")


def _needed(finding: Finding, judged: Judgement, seconds: float) -> str:
    """How many trials would decide, and how long those take that are not there yet. seconds: of a trial."""
    if finding.needed is None:
        return ""
    cells = {trial.identity for trial in judged.candidate.trials}
    measured = sum(trial.identity == finding.identity for trial in judged.candidate.trials)
    more = (finding.needed.about or finding.needed.least) - measured
    text = f"; {needed_text(finding.needed)}"
    if more > 0 and math.isfinite(seconds) and cells:
        sides = 2 if finding.limit.relative else 1
        text += f", {more} more than there are: {more * seconds * sides * len(cells):,.0f} s of load"
    return text


def _breakdown(cell: Explained, several: bool) -> Breakdown:
    split = cell.differences
    assert split is not None  # noqa: S101 - for the type checker
    like = [split.before, split.after]
    changes = [each.change for each in split.stages]
    differences = [*(each.size for each in changes), split.after - split.before]
    alarms, calm = [*(each.named for each in split.stages), False], [False] * len(differences)

    def column(title: str, texts: list[str], weight: int = 0) -> Column:
        return Column(title, False, texts, alarms if title == "difference" else calm, weight)

    def plainly(values: list[float]) -> list[str]:
        return [formatting.signed(value, like, sign=False, name=False) for value in values]

    columns = [
        Column("stage", True, [*(each.stage for each in split.stages), "all"], calm),
        column("baseline", plainly([*(each.before for each in changes), split.before])),
        column("candidate", plainly([*(each.after for each in changes), split.after])),
        column("difference", [formatting.signed(value, like, name=False) for value in differences]),
        column("of baseline", [_share(value / split.before) for value in differences], weight=1),
        column(
            "interval",
            [*(_ends(each, like) for each in changes), ""],
        ),
    ]
    of = cell.identity.words(("version", "batch", "load")) if several and cell.identity is not None else ""
    unit = formatting.fitting_unit(like).name
    title = f"Latency breakdown (mean, {unit}){f' of {of}' if of else ''}"
    return Breakdown(title, split, Table(columns, [], []))


def _share(of: float) -> str:
    return "0" if abs(of) < 0.0005 else f"{100 * of:+,.1f} %"


def _ends(each: Change, like: list[float]) -> str:
    if not (math.isfinite(each.low) and math.isfinite(each.high)):
        return "one trial on a side"
    return (
        f"{formatting.signed(each.low, like, name=False)} … {formatting.signed(each.high, like, name=False)}"
    )


def plain_card(shown: Card) -> dict[str, Any]:
    """For programs: durations in seconds."""
    return {
        "rows": [row._asdict() for row in shown.rows],
        "causes": [
            {
                "kind": str(cause.kind),
                "what": cause.what,
                "text": cause_text(cause),
                "sure": cause.sure,
                "cell": None if cell.identity is None else cell.identity._asdict(),
            }
            for cell in shown.cells
            for cause in cell.causes
        ],
        "breakdowns": [
            {
                "cell": None if cell.identity is None else cell.identity._asdict(),
                "stages": plain_stages(cell.differences),
            }
            for cell in shown.cells
            if cell.differences is not None
        ],
    }
