"""The report as one self-contained HTML page.

One file without anything from the network: styles and pictures are in it. Colours follow the reader's light or dark
setting, also inside the pictures.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from bench import BenchError, __version__, escape
from bench.analysis import formatting
from bench.analysis.reading import environment
from bench.analysis.showing.best import best_answers
from bench.analysis.showing.pictures import pictures
from bench.analysis.showing.plot import BAD, INK, SERIES, SHADE, Picture, svg
from bench.analysis.showing.remarks import interruptions_of, warnings_of_runs
from bench.analysis.showing.report import Report, labels
from bench.analysis.showing.split_table import TITLE, split_table
from bench.analysis.showing.summary import summary
from bench.analysis.showing.table import Table, parts_table, table, warm_ups
from bench.analysis.statistics.sample_size import CONFIDENCE
from bench.wording import counted

MOST_WARNINGS: Final = 40
MOST_VALUES: Final = 6
"""Of a fact of the environment that are shown; of more, how many there are."""
Rows = list[list[dict[str, Any]]]
"""What stands in each cell of each row of a table."""


def write_page(path: Path, page: str) -> None:
    """Write a page. Raises BenchError where the file cannot be written."""
    try:
        path.write_text(escape.lines(page), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"--html {path}: {error.strerror}; name a file in a folder that exists") from error


def rendered(template: str, **values: Any) -> str:
    """A page of a template beside this module, with what all of them share: styles, tables, sorting."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(template).render(**values)


def figure(picture: Picture) -> dict[str, str]:
    """A picture as a page shows it, in the page's colours."""
    markup = Markup(_themed(svg(picture)))  # noqa: S704  # made by plot.py, which escapes every text in it
    return {"svg": markup, "caption": picture.caption}


def render_page(report: Report) -> str:
    """The page as text."""
    drawn, parts = table(report), parts_table(report)
    warned = warnings_of_runs(report)
    tiles = _tiles(report)
    measured = [] if tiles else [("Measured", drawn, rows_of(drawn))]
    split = [("Parts of latency", parts, rows_of(parts)), *_split(report)]
    together = summary(report.groups, report.compared) if report.groups else None
    return rendered(
        "page.html",
        title=f"{_heading(report)} · serving-bench",
        heading=_heading(report),
        subtitle=_subtitle(report),
        table=drawn,
        # of an experiment the cells are the result, and its single runs the details; so are the parts of several lines
        tables=[("Averages over trials", together, rows_of(together))]
        if together is not None
        else measured or split,
        details=[*measured, *split] if together is not None else split if measured else [],
        tiles=tiles,
        answers=best_answers(report),
        several=len(report.runs) > 1,
        warned=warned[:MOST_WARNINGS],
        more_warnings=max(0, len(warned) - MOST_WARNINGS),
        interrupted=interruptions_of(report)[:MOST_WARNINGS],
        missing=report.missing,
        galleries=_galleries(report),
        methods=_methods(report),
        environment=_environment(report),
    )


def _split(report: Report) -> list[tuple[str, Table, Rows]]:
    drawn = split_table(report)
    return [] if drawn is None else [(TITLE, drawn, rows_of(drawn))]


def _galleries(report: Report) -> list[tuple[str, list[dict[str, str]]]]:
    """Comparisons, then the courses of single runs; without those that are empty."""
    drawn: dict[bool, list[dict[str, str]]] = {False: [], True: []}
    for picture in pictures(report):
        drawn[picture.course].append(figure(picture))
    return [
        (title, shown) for title, shown in (("Pictures", drawn[False]), ("Over time", drawn[True])) if shown
    ]


def _themed(picture: str) -> str:
    """Colours by role, so that the page's light and dark styles apply inside the picture."""
    picture = picture.replace(INK, "currentColor").replace(SHADE, "var(--shade)").replace(BAD, "var(--bad)")
    for number, colour in enumerate(SERIES, 1):
        picture = picture.replace(colour, f"var(--s{number})")
    return picture


def _heading(report: Report) -> str:
    scenarios = sorted({run.scenario for run in report.runs})
    lines = [line for run in report.runs for line in run.lines]
    title = ", ".join(scenarios[:3]) + (" and others" if len(scenarios) > 3 else "")
    if len(lines) == 1:
        values = lines[0].values
        rate, p99 = formatting.rate(values["requests_per_second"]), formatting.duration(values["p99"])
        return f"{title}: {rate} requests/s" + ("" if math.isnan(values["p99"]) else f", p99 {p99}")
    runs = counted(len(report.runs), "run")
    return f"{title}: {counted(len(report.groups), 'cell')}, {runs}" if report.groups else f"{title}: {runs}"


def _subtitle(report: Report) -> str:
    days = sorted({run.started[:10] for run in report.runs if run.started})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else ""
    seconds = sum(run.seconds for run in report.runs)
    requests = sum(line.requests for run in report.runs for line in run.lines)
    parts = [
        when,
        f"{counted(requests, 'request')} in {formatting.significant(seconds)} s of steady load",
        f"serving-bench {__version__}",
    ]
    return " · ".join(part for part in parts if part)


def rows_of(drawn: Table) -> Rows:
    """The cells of a table, row by row, for the template."""
    if not drawn.columns:
        return []
    return [
        [
            {
                "title": c.title,
                "text": c.texts[at],
                "alarm": c.alarms[at],
                "identity": c.identity,
                "less": c.weight > 0,
            }
            for c in drawn.columns
        ]
        for at in range(len(drawn.columns[0].texts))
    ]


def _tiles(report: Report) -> list[dict[str, Any]]:
    """The numbers of a single line, large."""
    lines = [line for run in report.runs for line in run.lines]
    if len(lines) != 1 or len(report.runs) != 1:
        return []
    values = lines[0].values
    tiles: list[tuple[str, str, bool]] = [
        ("requests/s", formatting.rate(values["requests_per_second"]), False)
    ]
    if lines[0].batch > 1:
        tiles.append(("inferences/s", formatting.rate(values["inferences_per_second"]), False))
    tiles += [
        (f"{title} latency", formatting.duration(values[name]), False)
        for name, title in (
            ("p50", "p50"),
            ("p90", "p90"),
            ("p95", "p95"),
            ("p99", "p99"),
            ("p999", "p99.9"),
        )
    ]
    tiles.append(("errors", formatting.share(values["error_share"]), values["error_share"] > 0))
    if math.isfinite(values["accuracy"]):
        tiles.append(("accuracy", formatting.accuracy(values["accuracy"]), False))
    warnings = len(report.runs[0].warnings)
    tiles.append(("warnings", str(warnings) if warnings else "none", warnings > 0))
    return [{"title": title, "text": text, "alarm": alarm} for title, text, alarm in tiles]


def _methods(report: Report) -> list[tuple[str, str]]:
    rules = sorted({run.warm_up.rule for run in report.runs})
    commands = {run.manifest.shell_line for run in report.runs} - {""}
    facts = [
        ("latency", "from the instant at which a request was due to the last byte of its answer; of all requests due: one without an "
                    "answer counts as slower than any"),
        ("service time", "from the instant at which a request was handed to the kernel to the last byte of its answer"),
        ("percentiles", "nearest rank, of histograms with at most 0.1 % error; shown only where the number of requests "
                        f"supports a claim with {CONFIDENCE:.0%} confidence"),
        ("rates", "requests answered OK, and the examples in them, per second of steady load"),
        ("warm-up", f"{'; '.join(warm_ups(report)) or 'nothing left out'} (rule: {', '.join(rules) or '–'})"),
    ]  # fmt: skip
    if len(commands) == 1:
        facts.append(("command", commands.pop()))
    return facts


def _environment(report: Report) -> dict[str, Any] | None:
    """Facts that all runs share, each once, and those that differ, by set of runs that agree: the shorter side is on top."""
    facts = [environment.single_facts(run.manifest) for run in report.runs]
    if not facts:
        return None
    values: dict[str, set[str]] = {}
    for key in dict.fromkeys(key for each in facts for key in each):
        values[key] = {each.get(key, formatting.ABSENT) for each in facts}
    scattered = {key for key, texts in values.items() if len(texts) > MOST_VALUES}
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, each in zip(labels(report.runs), facts, strict=True):
        own = tuple((key, text) for key, text in each.items() if key not in scattered)
        groups.setdefault(own, []).append(name)
    columns = [dict(facts) for facts in groups]
    shared: list[tuple[str, str]] = []
    differing: list[tuple[str, list[str]]] = []
    for key in dict.fromkeys(key for column in columns for key in column):
        texts = [column.get(key, formatting.ABSENT) for column in columns]
        if len(set(texts)) == 1:
            shared.append((environment.title(key), texts[0]))
        else:
            differing.append((environment.title(key), texts))
    # such as the payload of each batch size and seed
    shared += [(environment.title(key), f"{len(values[key])} different ones") for key in sorted(scattered)]
    head, rows = ["fact", *map(_few, groups.values())], differing
    if len(groups) > len(differing):
        of_each = zip(*(texts for _, texts in differing), strict=True)
        rows = [(name, list(texts)) for name, texts in zip(head[1:], of_each, strict=False)]
        head = ["runs", *(title for title, _ in differing)]
    return {
        "shared": shared,
        "whose": "all runs" if len(report.runs) > 1 else "this run",
        "head": head,
        "rows": rows,
    }


def _few(names: Iterable[str]) -> str:
    first, *others = names
    return f"{first} and {len(others)} more" if others else first
