"""Which pictures are drawn of an experiment, and what stands in them."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from bench.analysis.formatting import duration
from bench.analysis.reading.timeline import Timeline, timeline
from bench.analysis.showing import plot
from bench.analysis.showing.pictures import pictures
from bench.analysis.showing.plot import MOST_CURVES, Picture, Points, against, svg
from bench.analysis.showing.plot_time import Trend, courses, trends
from bench.analysis.showing.report import Report, report
from bench.runs.chunk import Chunk
from bench.runs.run import Run, RunWriter, find_runs
from tests.recorded import end, requests, write

SERVERS = {"onednn": 0.002, "plain": 0.0024, "docker": 0.0017}
BATCHES = (1, 8, 64)
BLOCKS = 3


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Three servers, three batch sizes and two loads in three blocks."""
    root = tmp_path_factory.mktemp("experiment")
    number = 0
    for block in range(BLOCKS):
        for server, base in SERVERS.items():
            for batch in BATCHES:
                for users in (4, 16):
                    number += 1
                    cell = {"server": server, "batch": batch, "load": f"{users} users", "version": 2}
                    part = requests(
                        number,
                        count=200 * users,
                        rate=100 * users,
                        service=base * (1 + batch / 100) * (1 + users / 50),
                        batch=batch,
                    )
                    write(
                        root,
                        [Chunk.of(**part, keep_samples=False)],
                        note=f"t{number:02}",
                        started=f"2026-03-01T12:{block:02}:{number:02}+00:00",
                        load={"kind": "closed", "users": users},
                        experiment={"name": "x", "cell": cell, "block": block, "trial": number},
                    )
    return report(find_runs([root]))


@pytest.fixture(scope="module")
def drawn(experiment: Report) -> dict[str, Picture]:
    return {picture.name: picture for picture in pictures(experiment)}


def figure_of(picture: Picture) -> Figure:
    figure = Figure()
    picture.draw(figure)
    return figure


def bars(figure: Figure) -> list[tuple[float, float]]:
    """The ends of all vertical bars."""
    found = [each for each in figure.axes[0].collections if isinstance(each, LineCollection)]
    return [(segment[0][1], segment[1][1]) for each in found for segment in each.get_segments()]


def test_every_comparison_has_its_pictures(drawn: dict[str, Picture]) -> None:
    assert {"p50-by-batch", "p99-by-batch", "inferences-per-second-by-batch"} <= set(drawn)
    assert {"p50-by-server", "p99-by-server", "inferences-per-second-by-server"} <= set(drawn)
    assert not any("by-version" in name for name in drawn)


def test_points_are_means_of_trials_with_their_intervals(
    experiment: Report, drawn: dict[str, Picture]
) -> None:
    figure = figure_of(drawn["p50-by-batch"])
    ends = bars(figure)
    assert len(ends) == len(experiment.groups) == len(SERVERS) * len(BATCHES) * 2
    for group in experiment.groups:
        mean, low, high = group.estimate("p50")
        assert any(math.isclose(a, low) and math.isclose(b, high) for a, b in ends)
        lines = [line for line in figure.axes[0].lines if group.identity.server in str(line.get_label())]
        assert any(np.isclose(np.asarray(line.get_ydata(), dtype=float), mean).any() for line in lines)
    assert "95 % intervals" in drawn["p50-by-batch"].caption


def test_single_runs_have_no_intervals(tmp_path: Path) -> None:
    for batch in (1, 8):
        write(tmp_path, [Chunk.of(**requests(batch, batch=batch))], note=f"b{batch}")
    found = {picture.name: picture for picture in pictures(report(find_runs([tmp_path])))}
    assert bars(figure_of(found["p50-by-batch"])) == []
    assert "interval" not in found["p50-by-batch"].caption


def test_requests_named_after_their_batch_are_points_of_one_line(tmp_path: Path) -> None:
    parts = [requests(batch, batch=batch, names=(f"batch {batch}",)) for batch in BATCHES]
    write(tmp_path, [Chunk.of(**part, keep_samples=False) for part in parts])
    drawn = {picture.name: picture for picture in pictures(report(find_runs([tmp_path])))}
    axes = figure_of(drawn["inferences-per-second-by-batch"]).axes[0]
    (line,) = axes.lines
    assert list(line.get_xdata()) == list(BATCHES)


def test_servers_stand_beside_each_other_by_name(drawn: dict[str, Picture]) -> None:
    (axes,) = figure_of(drawn["p99-by-server"]).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == sorted(SERVERS)
    lines = axes.lines[: len(BATCHES) * 2]
    first = [np.asarray(line.get_xdata(), dtype=float)[0] for line in lines]
    assert len(set(first)) == len(lines)  # a little apart, so that intervals do not hide each other
    assert max(map(abs, first)) < 0.5


def test_throughput_and_latency_leave_no_server_out(drawn: dict[str, Picture]) -> None:
    """Nine lines of server and batch size are more than a picture holds: one for each batch size."""
    names = [name for name in drawn if name.startswith("p99-by-throughput")]
    assert names == [f"p99-by-throughput-batch-{batch}" for batch in BATCHES]
    for name in names:
        (axes,) = figure_of(drawn[name]).axes
        assert {str(line.get_label()) for line in axes.lines} == set(SERVERS)
        for line in axes.lines:
            rates = np.asarray(line.get_xdata(), dtype=float)
            assert len(rates) == 2  # a point for each load
            assert 3 < rates[1] / rates[0] < 5


def test_curves_are_of_all_answers_of_a_cell(experiment: Report, drawn: dict[str, Picture]) -> None:
    picture = drawn["latency-by-percentile"]
    assert f"({MOST_CURVES} of {len(experiment.groups)} lines)" in picture.caption
    (axes,) = figure_of(picture).axes
    labels = [str(line.get_label()) for line in axes.lines]
    assert len(labels) == MOST_CURVES
    assert labels[0] == "docker batch 1 4 users"  # in the order of the tables
    assert labels[-1].endswith(f"batch {max(BATCHES)} 16 users")  # the furthest apart are among them
    # three trials of 800 answers support more than one does
    furthest = float(np.asarray(axes.lines[0].get_xdata(), dtype=float)[-1])
    assert 800 / 4.6 < furthest < 2400 / 4.5


def test_a_curve_ends_where_requests_got_no_answer(tmp_path: Path) -> None:
    """It is over all requests due, as the table is: p50 of these is p62.5 of the answered ones."""
    part = requests(1, count=10_000, rate=5000)
    part["status"] = np.where(np.arange(10_000) % 5 == 0, 14, 0)
    run = write(tmp_path, [Chunk.of(**part)])
    found = report([run])
    (line,) = found.runs[0].lines
    picture = next(iter(pictures(found)))
    (axes,) = figure_of(picture).axes
    ranks, latency = (np.asarray(data, dtype=float) for data in axes.lines[0].get_data())
    assert ranks[-1] < 1 / 0.2 <= 1.05 * ranks[-1]
    assert latency[np.searchsorted(ranks, 2.0) - 1] == pytest.approx(line.values["p50"], rel=0.02)


def test_more_lines_than_colours_are_told() -> None:
    lines = [Points(f"server {n}", [1.0, 2.0], [0.001 * (n + 1)] * 2) for n in range(MOST_CURVES + 3)]
    figure = Figure()
    against(lines, title="p99", over="requests", seconds=True)(figure)
    assert len(figure.axes[0].lines) == MOST_CURVES


@pytest.mark.parametrize(("over", "joined"), [("server", False), ("version", False), ("batch", True)])
def test_only_what_lies_between_numbers_is_drawn(over: str, joined: bool) -> None:
    lines = [Points("", [1, 2] if over != "server" else ["a", "b"], [0.001, 0.002])]
    figure = Figure()
    against(lines, title="p99", over=over, seconds=True, ordered=over == "batch")(figure)
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["-" if joined else "None"]


def rollout(root: Path) -> Run:
    """Versions that take turns, with events, and the use of cores."""
    writer = RunWriter.create(root, "rollout", None, {"load": {"kind": "closed", "users": 16}})
    total = 0
    for second in range(20):
        part = requests(second, count=500, rate=500, start=float(second), version=1 + second // 10)
        chunk = Chunk.of(**part, keep_samples=False)
        writer.append(0, chunk)
        total += len(chunk)
        writer.telemetry(float(second), source="server 12", cpu_seconds=1.5 * second)
        writer.telemetry(float(second), source="worker 0", cpu_seconds=0.25 * second)
        writer.telemetry(float(second), source="worker 1", cpu_seconds=0.5 * second)
    writer.event(10.0, "swap", "version 2 answers")
    end(writer, counts={"sent": total, "unsent": 0, "recorded": total})
    return Run.open(writer.path)


def test_cores_of_all_load_processes_are_added_up(tmp_path: Path) -> None:
    seen = timeline(rollout(tmp_path))
    assert seen.cores["server"][1] == pytest.approx([1.5] * 19)
    assert seen.cores["load"][1] == pytest.approx([0.75] * 19)
    assert seen.cores["load"][0] == [float(second) for second in range(1, 20)]


def test_the_course_marks_events_and_shows_cores(tmp_path: Path) -> None:
    found = {picture.name: picture for picture in pictures(report(find_runs([rollout(tmp_path).path])))}
    assert {"course", "course-versions", "course-heat", "p50-by-version"} <= set(found)
    figure = figure_of(found["course"])
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == [
        "requests per second",
        "latency of answered requests",
        "cores busy",
    ]
    for axes in figure.axes:
        assert any(list(line.get_xdata()) == [10.0, 10.0] for line in axes.lines)
    named = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert named.count("swap") == 1
    assert "swap" in svg(found["course"])
    (versions,) = figure_of(found["course-versions"]).axes
    assert sum(isinstance(patch, StepPatch) for patch in versions.patches) == 2
    heat = figure_of(found["course-heat"]).axes[0]
    assert heat.collections


def test_without_telemetry_there_are_no_cores(tmp_path: Path) -> None:
    found = {
        p.name: p for p in pictures(report(find_runs([write(tmp_path, [Chunk.of(**requests(1))]).path])))
    }
    assert len(figure_of(found["course"]).axes) == 2


def test_legends_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    """Trials come in a drawn order; nine batch sizes stood in it, and the one left out was any."""
    for number, batch in enumerate((8, 64, 1)):
        experiment = {"name": "x", "cell": {"batch": batch}, "block": 1, "trial": number}
        part = requests(number, count=200, batch=batch)
        started = f"2026-03-01T12:00:0{number}+00:00"
        write(tmp_path, [Chunk.of(**part, keep_samples=False)], started=started, experiment=experiment)
    found = {picture.name: picture for picture in pictures(report(find_runs([tmp_path])))}
    figure = figure_of(found["latency-by-percentile"])
    (legend,) = [*figure.legends, *(axes.legend_ for axes in figure.axes if axes.legend_)]
    assert [text.get_text() for text in legend.get_texts()] == ["batch 1", "batch 8", "batch 64"]


def test_many_runs_share_one_picture_over_time(drawn: dict[str, Picture]) -> None:
    """A panel for each of the first nine of eighteen conditions, in it a line for each of three trials."""
    assert [name for name, picture in drawn.items() if picture.course] == ["courses"]
    assert len(drawn) <= 12
    figure = figure_of(drawn["courses"])
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 9
    assert len({axes.get_title() for axes in panels}) == 9
    for axes in panels:
        lines = [line for line in axes.lines if len(line.get_xdata())]
        assert len(lines) == 2 * BLOCKS
    assert "the first 9 of 18" in drawn["courses"].caption


def test_long_names_of_panels_stay_apart() -> None:
    """Those of a search for the capacity ran into each other."""
    names = [
        "23,875 to 83,562 req/s",
        "77,364 req/s of the second server",
        "a_name_without_any_blank_in_it_of_32_users",
    ]
    points = np.ones(3)
    seen = Timeline(points, 1, points, points, points, points, points, np.ones((2, 3), int), 0.0, [], {})
    panels = [(name, [seen]) for name in names]
    picture = Picture("courses", "", courses(panels), 2.9)
    with plot._style(picture):
        figure = plot.drawn(picture)
        figure.draw_without_rendering()
        titles = {"".join(text.get_text().split()): text.get_window_extent() for text in figure.findobj(Text)}
    spans = [titles["".join(name.split())] for name in names]
    assert all(left.x1 < right.x0 for left, right in pairwise(spans))


def test_colour_bars_have_plain_numbers(tmp_path: Path) -> None:
    for count in (30, 30_000):
        write(tmp_path / str(count), [Chunk.of(**requests(count, count=count, rate=count / 3))])
        (heat,) = [
            each
            for each in pictures(report(find_runs([tmp_path / str(count)])))
            if each.name.endswith("heat")
        ]
        assert "mathdefault" not in svg(heat)


def test_a_point_far_away_is_named_and_the_axis_follows_the_others() -> None:
    """One run of 640 ms made a course of 5 ms a flat line, with the change in it."""
    values = [5e-3] * 6 + [0.64] + [6e-3] * 6
    panel = Trend("p50", True, duration, values, values, values, [(7, True)], [])
    figure = Figure()
    trends([panel], [str(number) for number in range(len(values))])(figure)
    (axes,) = figure.axes
    assert 6e-3 < axes.get_ylim()[1] < 0.01
    assert [text.get_text() for text in axes.texts] == ["worse", "↑ 640 ms"]
