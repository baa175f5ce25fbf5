"""Find what happened in a run while its requests were slow, and not in the rest of it."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final, NamedTuple

from bench import BenchError
from bench.analysis.explaining.tail import Stretch
from bench.analysis.reading.checks import printable
from bench.analysis.reading.interruptions import Interruption, interruptions
from bench.runs.run import Run
from bench.runs.thresholds import LOOP_PAUSE, RUN_DELAY, STEAL

AROUND: Final = 1.0
"""Seconds before and after a stretch in which something belongs to it: telemetry is of the second before its instant."""
MORE: Final = 2.0
"""Times as much as usual in the run, from which on an observation belongs to the stretch alone."""
OBSERVED: Final = (
    ("worker", "loop_delay_max", LOOP_PAUSE, "its event loop was {:.2f} s late"),
    ("worker", "run_delay", RUN_DELAY, "CPU-starved {:.0%} of the time"),
    ("machine", "steal", STEAL, "the host took {:.0%} of the machine's time"),
)
"""Source, value, from which size on it counts, and how it reads."""


class Happening(NamedTuple):
    """Something that happened."""

    kind: str
    """The same in every run in which it happened."""
    text: str


def beside(run: Run, stretches: Sequence[Stretch]) -> list[Happening]:
    """Events, interruptions and observations of stretches of a run, of each in the order of their weight."""
    try:
        interrupted = interruptions(run)
    except BenchError:  # damaged counts: the events are something
        interrupted = []
    happenings = []
    for stretch in stretches:
        begin, end = stretch.first - AROUND, stretch.last + 1 + AROUND
        happenings += [
            Happening(
                printable(str(row.get("kind"))),
                f"{row.get('kind')} at {float(row['time']):.2f} s: {printable(str(row.get('text')))}",
            )
            for row in run.events
            if begin <= float(row.get("time", -1.0)) <= end
        ]
        happenings += [
            Happening(each.kind, str(each)) for each in interrupted if each.requests and _is_of(each, stretch)
        ]
        happenings += [*_observed(run, begin, end), *_restarted(run, begin, end)]
    return happenings


def _is_of(each: Interruption, stretch: Stretch) -> bool:
    """Whether half of an interruption and more lies in a stretch: what lasts for the whole run is not its own."""
    inside = min(each.end, stretch.last + 1) - max(each.begin, stretch.first)
    return inside >= 0 and 2 * inside >= each.end - each.begin


def _observed(run: Run, begin: float, end: float) -> Iterator[Happening]:
    for kind, name, least, text in OBSERVED:
        inside: dict[str, float] = {}
        outside: list[float] = []
        for row in run.telemetry:
            source, value = str(row.get("source", "")), row.get(name)
            if value is None or source.partition(" ")[0] != kind:
                continue
            if begin <= float(row["time"]) <= end:
                inside[source] = max(inside.get(source, 0.0), float(value))
            else:
                outside.append(float(value))
        usual = median(outside) if outside else 0.0
        for source, value in inside.items():
            if value > least and value > MORE * usual:
                origin = "" if kind == "machine" else f"load process {source.removeprefix('worker ')}: "
                yield Happening(name, origin + text.format(value))


def _restarted(run: Run, begin: float, end: float) -> Iterator[Happening]:
    gone = [
        float(row["time"])
        for row in run.telemetry
        if row.get("source") == "server" and row.get("processes") == 0 and begin <= float(row["time"]) <= end
    ]
    if gone:
        yield Happening("restarted", f"no process of the server was left at {gone[0]:.1f} s")
