"""Choice of the pictures that a set of runs calls for."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.analysis.grouping.groups import mean_and_interval
from bench.analysis.reading.cells import natural
from bench.analysis.reading.population import Population
from bench.analysis.reading.timeline import Timeline, timeline
from bench.analysis.showing.plot import MOST_CURVES, Picture, Points, against, height_for, percentile_curves
from bench.analysis.showing.plot_capacity import capacity_pictures
from bench.analysis.showing.plot_time import by_version, courses, heatmap, over_time
from bench.analysis.showing.plot_tuning import tuning_picture
from bench.analysis.showing.report import Line, Report, RunReport, labels
from bench.runs.run import Run

MOST_TIMELINES: Final = 4
"""Runs of which each has pictures of its own over time; more share one."""
MOST_PANELS: Final = 9
Row = tuple[str, RunReport, Line]
"""A run's short name, the run and one of its lines."""
Curves = list[tuple[str, Population]]
"""Requests by the label of their curve."""


def pictures(report: Report) -> Iterator[Picture]:
    """Curves of all lines, comparisons over what differs between the runs, then the course of each run."""
    rows = _in_order(
        [
            (name, run, line)
            for name, run in zip(labels(report.runs), report.runs, strict=True)
            for line in run.lines
            if line.answered
        ]
    )
    for number, (_, capacity) in enumerate(report.capacities, 1):
        yield from capacity_pictures(
            capacity, f"capacity-{number}" if len(report.capacities) > 1 else "capacity"
        )
    for number, (_, tuning) in enumerate(report.tunings, 1):
        picture = tuning_picture(tuning, f"tuning-{number}" if len(report.tunings) > 1 else "tuning")
        if picture is not None:
            yield picture
    if not rows:
        return
    curves = _curves(rows)
    shown = _spread(curves, MOST_CURVES)
    caption = (
        "Latency by percentile of all requests due, as far as their number supports it; where a curve ends earlier, the "
        f"rest got no answer{_left_out(curves, first=False)}."
    )
    yield Picture(
        "latency-by-percentile",
        caption,
        percentile_curves(shown),
        height_for([label for label, _ in shown]),
    )
    searched = {folder.name for folder, _ in report.capacities}  # levels have pictures of their own
    yield from _comparisons(
        [row for row in rows if row[1].block is None or Path(row[1].block[0]).name not in searched]
    )
    if len({run.path for _, run, _ in rows}) > MOST_TIMELINES:
        yield from _together(rows)
        return
    for name, run in zip(labels(report.runs), report.runs, strict=True):
        yield from _courses(name, run, alone=len(report.runs) == 1)


def _in_order(rows: list[Row]) -> list[Row]:
    """By what they are, as the tables have them: trials come in a drawn order."""

    def place(row: Row) -> tuple[Any, ...]:
        _, run, line = row
        numbers = line.version or 0, line.batch
        return natural(run.scenario), natural(run.server), *numbers, natural(line.name), natural(run.load)

    return sorted(rows, key=place) if all(run.block is not None for _, run, _ in rows) else rows


def _together(rows: list[Row]) -> Iterator[Picture]:
    """The course of many runs: a panel for each condition, or for each run that is of none."""
    differ = _differing(rows)
    panels: dict[str, dict[Path, Timeline]] = {}
    for name, run, line in rows:
        label = (_words(differ, run, line) if run.block is not None else "") or name
        trials = panels.setdefault(label, {})
        if run.path not in trials and label in list(panels)[:MOST_PANELS]:
            with contextlib.suppress(BenchError):  # gone or damaged since it was read for the table
                trials[run.path] = timeline(Run.open(run.path))
    shown = [(label, list(trials.values())) for label, trials in list(panels.items())[:MOST_PANELS] if trials]
    if shown:
        of = f"the first {len(shown)} of {len(panels)}" if len(panels) > len(shown) else "each"
        caption = (
            f"Latency of answered requests over time, {of} condition or run; a line for each trial, p99 where the answers "
            "support it. `bench plot RUN` draws one run alone."
        )
        yield Picture("courses", caption, courses(shown), 1.2 + 1.7 * math.ceil(len(shown) / 3), course=True)


def _spread(curves: Curves, most: int) -> Curves:
    """At most so many of them, the first and the last among them: these are furthest apart, as the least and the greatest batch."""
    if len(curves) <= most:
        return curves
    return [curves[round(at * (len(curves) - 1) / (most - 1))] for at in range(most)]


def _left_out(lines: Sequence[object], *, first: bool = True) -> str:
    beginning = "the first " if first else ""
    return f" ({beginning}{MOST_CURVES} of {len(lines)} lines)" if len(lines) > MOST_CURVES else ""


def _curves(rows: list[Row]) -> Curves:
    """A curve for each line; for each cell of an experiment where there are trials, of all their requests."""
    together: dict[str, list[Population]] = {}
    several = len({id(run) for _, run, _ in rows}) < len(rows)
    differ = _differing(rows)
    for name, run, line in rows:
        label = f"{name} {_line_in_words(line)}" if several else name
        if run.block is not None:
            label = _words(differ, run, line) or name
        together.setdefault(label, []).append(line.due)
    return [
        (label, Population.sum(parts) if len(parts) > 1 else parts[0]) for label, parts in together.items()
    ]


def _line_in_words(line: Line) -> str:
    version = f"v{line.version}" if line.version is not None else "v?"
    return f"{line.name} {version} b{line.batch}"


PARTS: Final[dict[str, Callable[[RunReport, Line], float | str | None]]] = {
    "scenario": lambda run, line: run.scenario,
    "server": lambda run, line: run.server,
    "request": lambda run, line: line.name,
    "version": lambda run, line: line.version,
    "batch": lambda run, line: line.batch,
    "load": lambda run, line: run.load,
}
"""What lines may differ in."""
COMPARED: Final = {"batch": "examples in a request", "version": "model version", "server": "server"}


def _comparisons(rows: list[Row]) -> Iterator[Picture]:
    """Throughput and latency over batch size, version and server, where they differ; one over the other for loads."""
    for over, axis in COMPARED.items():
        if len({PARTS[over](run, line) for _, run, line in rows} - {None}) > 1:
            yield from _over(rows, over, axis)
    if len({run.load for _, run, _ in rows}) > 1:
        yield from _throughput_latency(rows)


def _over(rows: list[Row], over: str, axis: str) -> Iterator[Picture]:
    metrics = [
        ("inferences_per_second", "inferences per second", False),
        ("p50", "median latency", True),
        ("p99", "p99 of latency", True),
    ]
    for metric, title, seconds in metrics:
        lines = _grouped(rows, over, metric)
        if any(line.y for line in lines):
            caption = (
                f"{title[0].upper()}{title[1:]} against {axis}; one colour per configuration"
                f"{_left_out(lines)}.{_explained(lines)}"
            )
            draw = against(
                lines,
                title=title,
                over=axis,
                seconds=seconds,
                logarithmic=over == "batch",
                ordered=over == "batch",
            )
            height = height_for([line.label for line in lines])
            yield Picture(f"{metric.replace('_', '-')}-by-{over}", caption, draw, height)


def _explained(lines: Sequence[Points]) -> str:
    if not any(line.low for line in lines):
        return ""
    return " Points are geometric means of trials, bars their 95 % intervals, of fewer than 4 their range."


def _differing(rows: list[Row], *without: str) -> list[str]:
    """The parts in which lines differ."""
    return [
        part
        for part, of in PARTS.items()
        if part not in without and len({of(run, line) for _, run, line in rows}) > 1
    ]


def _words(parts: Sequence[str], run: RunReport, line: Line) -> str:
    named = ((part, PARTS[part](run, line)) for part in parts)
    return " ".join(f"{part} {of}" if part in ("batch", "version") else str(of) for part, of in named)


def _grouped(rows: list[Row], over: str, metric: str) -> list[Points]:
    """One line for each server, load and what else differs; trials of a point are taken together."""
    differ = [part for part in _differing(rows, over) if not _says_the_same(rows, part, over)]
    groups: dict[str, dict[Any, list[float]]] = {}
    for _, run, line in rows:
        at, value = PARTS[over](run, line), line.values[metric]
        if at is None or not math.isfinite(value) or value <= 0:
            continue
        groups.setdefault(_words(differ, run, line), {}).setdefault(at, []).append(value)
    return [_line_of(label, points, words=over != "batch") for label, points in groups.items()]


def _says_the_same(rows: list[Row], part: str, over: str) -> bool:
    """Whether each value of one goes with one of the other, as where requests are named after their batch size."""
    values = [(PARTS[part](run, line), PARTS[over](run, line)) for _, run, line in rows]
    return len(set(values)) == len({first for first, _ in values}) == len({other for _, other in values})


def _line_of(label: str, points: dict[Any, list[float]], *, words: bool) -> Points:
    xs = sorted(points)
    ends = [mean_and_interval(points[x]) for x in xs]
    middle = [mean for mean, _, _ in ends]
    several = any(len(points[x]) > 1 for x in xs)

    def end(at: int, side: int) -> float:
        # a point of one trial has no interval: its bar has no length
        return ends[at][1 + side] if len(points[xs[at]]) > 1 else middle[at]

    return Points(
        label,
        [str(x) for x in xs] if words else [float(x) for x in xs],
        middle,
        low=[end(at, 0) for at in range(len(xs))] if several else None,
        high=[end(at, 1) for at in range(len(xs))] if several else None,
    )


def _throughput_latency(rows: list[Row]) -> Iterator[Picture]:
    """p99 over requests/s, a line for each server and a point for each load: where a server bends."""
    lines = _bends(rows)
    batches = sorted({line.batch for _, _, line in rows})
    if len(lines) <= MOST_CURVES or len(batches) == 1:
        parts = [("p99-by-throughput", "", lines)]
    else:  # a picture for each batch size, so that no server is left out
        parts = [
            (f"p99-by-throughput-batch-{batch}", f", batch {batch}", _bends(own))
            for batch in batches
            for own in [[row for row in rows if row[2].batch == batch]]
        ]
    for name, of, shown in parts:
        if shown:
            title = f"p99 of latency{of}"
            draw = against(shown, title=title, over="requests answered per second", seconds=True)
            caption = (
                f"{title[0].upper()}{title[1:]}, against throughput: a point for each load"
                f"{_left_out(shown)}.{_explained(shown)}"
            )
            yield Picture(name, caption, draw, height_for([line.label for line in shown]))


def _bends(rows: list[Row]) -> list[Points]:
    """Lines of two and more loads; trials of a load are taken together."""
    differ = _differing(rows, "load")
    groups: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for _, run, line in rows:
        rate, p99 = line.values["requests_per_second"], line.values["p99"]
        if math.isfinite(rate) and math.isfinite(p99) and rate > 0 and p99 > 0:
            label = _words(differ, run, line) or run.server
            groups.setdefault(label, {}).setdefault(run.load, []).append((rate, p99))
    bends = []
    for label, loads in groups.items():
        points = {mean_and_interval([x for x, _ in own])[0]: [y for _, y in own] for own in loads.values()}
        if len(points) > 1:
            bends.append(_line_of(label, points, words=False))
    return bends


def _rates(run: RunReport, seen: Timeline) -> list[tuple[str, list[float]]]:
    """Requests answered per second in each interval of the timeline, by model version."""
    first, width = int(seen.starts[0]), seen.width
    counts: dict[int, list[float]] = {}
    for (key, second), tally in Run.open(run.path).tallies.items():
        if key.outcome == "OK" and key.version is not None:
            of_version = counts.setdefault(key.version, [0.0] * len(seen.starts))
            of_version[(second - first) // width] += tally.requests / width
    return [(f"version {version}", counts[version]) for version in sorted(counts)]


def _courses(name: str, run: RunReport, *, alone: bool) -> Iterator[Picture]:
    if not run.lines:
        return
    try:
        seen = timeline(Run.open(run.path))
    except BenchError:  # gone or damaged since it was read for the table
        return
    of = "" if alone else f" of {name}"
    stem = "course" if alone else f"course-{run.name}"
    each = "second" if seen.width == 1 else f"{seen.width} s"
    course = f"Course{of}: a point each {each}; p99 where the answers support it."
    heat = f"Latency over time{of}: how many answers had which latency."
    yield Picture(stem, course, over_time(seen), 4.2, course=True)
    if len({line.version for line in run.lines if line.version is not None}) > 1:
        versions = f"Answers by model version over time{of}; dotted: the run's events."
        yield Picture(f"{stem}-versions", versions, by_version(_rates(run, seen), seen), course=True)
    yield Picture(f"{stem}-heat", heat, heatmap(seen), 4.2, course=True)
