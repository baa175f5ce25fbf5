"""Which pictures answer the questions that a set of runs raises?"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from bench import BenchError
from bench.analysis import intervals
from bench.analysis.plot import (
    MOST_CURVES,
    Picture,
    Points,
    against,
    by_version,
    heatmap,
    height_for,
    over_time,
    percentile_curves,
)
from bench.analysis.report import Line, Report, RunReport, labels
from bench.analysis.timeline import Timeline, timeline
from bench.histogram import Sparse
from bench.run import Run

MOST_TIMELINES: Final = 8
"""Runs of which the course over time is drawn."""
Row = tuple[str, RunReport, Line]
"""A run's short name, the run and one of its lines."""


def pictures(report: Report) -> Iterator[Picture]:
    """Curves of all lines, comparisons over what differs between the runs, then the course of each run."""
    rows = [
        (name, run, line)
        for name, run in zip(labels(report.runs), report.runs, strict=True)
        for line in run.lines
        if line.answered
    ]
    if not rows:
        return
    curves = _curves(rows)
    left = f" (of the first {MOST_CURVES} of {len(rows)} lines)" if len(rows) > MOST_CURVES else ""
    caption = f"Latency by percentile, as far as the number of answers supports it{left}."
    yield Picture(
        "latency-by-percentile",
        caption,
        percentile_curves(curves),
        height_for([label for label, _ in curves]),
    )
    yield from _comparisons(rows)
    for name, run in list(zip(labels(report.runs), report.runs, strict=True))[:MOST_TIMELINES]:
        yield from _courses(name, run, alone=len(report.runs) == 1)


def _curves(rows: list[Row]) -> list[tuple[str, Sparse]]:
    shown = rows[:MOST_CURVES]
    several = len({id(run) for _, run, _ in shown}) < len(shown)
    return [(f"{name} {_line_in_words(line)}" if several else name, line.latency) for name, _, line in shown]


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
        ("inferences_per_second", "examples per second", False),
        ("p50", "median latency", True),
        ("p99", "p99 of latency", True),
    ]
    for metric, title, seconds in metrics:
        lines = _grouped(rows, over, metric)
        if any(line.y for line in lines):
            caption = f"{title[0].upper()}{title[1:]} against {axis}; each line is what is otherwise equal."
            if any(line.low for line in lines):
                caption += " Points are geometric means of trials, bars their 95 % intervals."
            draw = against(lines, title=title, over=axis, seconds=seconds, logarithmic=over == "batch")
            height = height_for([line.label for line in lines])
            yield Picture(f"{metric.replace('_', '-')}-by-{over}", caption, draw, height)


def _grouped(rows: list[Row], over: str, metric: str) -> list[Points]:
    """One line for each server, load and what else differs; trials of a point are taken together."""
    differ = [
        part
        for part, of in PARTS.items()
        if part != over and len({of(run, line) for _, run, line in rows}) > 1
    ]
    groups: dict[str, dict[Any, list[float]]] = {}
    for _, run, line in rows:
        at, value = PARTS[over](run, line), line.values[metric]
        if at is None or not math.isfinite(value) or value <= 0:
            continue
        words = [
            f"{part} {of}" if part in ("batch", "version") else str(of)
            for part in differ
            for of in [PARTS[part](run, line)]
        ]
        groups.setdefault(" ".join(words), {}).setdefault(at, []).append(value)
    return [_line_of(label, points, words=over != "batch") for label, points in groups.items()]


def _line_of(label: str, points: dict[Any, list[float]], *, words: bool) -> Points:
    xs = sorted(points)
    estimates = [intervals.alone([math.log(value) for value in points[x]]) for x in xs]
    ends = [estimate.interval(0.95) for estimate in estimates]
    middle = [math.exp(estimate.mean) for estimate in estimates]
    several = any(estimate.freedom > 0 for estimate in estimates)

    def end(at: int, side: int) -> float:
        # a point of one trial has no interval: its bar has no length
        return math.exp(ends[at][side]) if estimates[at].freedom > 0 else middle[at]

    return Points(
        label,
        [str(x) for x in xs] if words else [float(x) for x in xs],
        middle,
        low=[end(at, 0) for at in range(len(xs))] if several else None,
        high=[end(at, 1) for at in range(len(xs))] if several else None,
    )


def _throughput_latency(rows: list[Row]) -> Iterator[Picture]:
    """p99 over requests/s, one point a load: where a server bends."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for _, run, line in rows:
        x, y = line.values["requests_per_second"], line.values["p99"]
        if math.isfinite(x) and math.isfinite(y):
            label = f"{run.server} v{line.version} b{line.batch}"
            groups.setdefault(label, []).append((x, y))
    lines = [
        Points(label, [x for x, _ in sorted(points)], [y for _, y in sorted(points)])
        for label, points in groups.items()
        if len(points) > 1
    ]
    if lines:
        draw = against(lines, title="p99 of latency", over="requests answered per second", seconds=True)
        caption = "p99 of latency against throughput, a point for each load."
        yield Picture("p99-by-throughput", caption, draw, height_for([line.label for line in lines]))


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
