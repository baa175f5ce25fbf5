"""What `bench capacity` does once all that can be wrong was looked at: probe, ramp, levels, answer."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from rich.text import Text

from bench import BenchError, packaged
from bench.analysis import formatting
from bench.analysis.capacity.conclusion import Condition, Measured, Refusal, concluded, ratio
from bench.analysis.capacity.level import Level
from bench.analysis.capacity.reading import (
    SETTLING,
    ServiceLevel,
    generator_limit,
    levels_of,
    requests_of,
    throughput,
)
from bench.analysis.capacity.search import CONFIDENCE, RAMP, SHORTEST, Search
from bench.analysis.capacity.search import Wanted as NextLevel
from bench.analysis.showing.capacity_table import levels_table
from bench.analysis.showing.capacity_text import sentences
from bench.analysis.statistics.sample_size import samples_needed
from bench.cli.ab_conditions import Looked
from bench.cli.ab_load import called, look_as_the_load_does, model_options
from bench.cli.capacity_wanted import Wanted, check_deadline
from bench.cli.gate import put
from bench.cli.output import note
from bench.cli.run import INTERRUPTED, NOT_ALL, ended_in_order
from bench.cli.tables import show_table
from bench.cli.terminal import console
from bench.config.experiment import Load
from bench.escape import one_line
from bench.experiment.beginning import Prepared, begin, prepare
from bench.experiment.folder import Folder
from bench.experiment.levels import OVERHEAD, Levels
from bench.experiment.plan import Condition as Cell
from bench.experiment.plan import PlannedTrial, cells
from bench.experiment.runner import Runner
from bench.experiment.trial import Failed, Glance, Local
from bench.runs.capacity import Capacity
from bench.runs.journal import COMPLETE, Ended
from bench.runs.journal import INTERRUPTED as INTERRUPTED_STATE
from bench.runs.jsonl import json_text
from bench.runs.run import Run

PROBE_USERS: Final = 32
PROBE_SECONDS: Final = 3.0
STEP_SECONDS: Final = 2.0
"""Of the ramp, each."""
LONGER: Final = 4.0
"""Factor of the time of a second try: a load process that gets no CPU time sends nothing in a second."""
START: Final = 0.05
"""Share of the time that the probe takes at most; a step of the ramp as much."""
LEVELS: Final = 8
"""Around the capacity, that the time is planned for."""
IN_A_ROW: Final = 3
"""Levels of the load generator, one after the other, after which it is the limit."""


@dataclass
class Hunt:
    """The search of one condition, as far as it is."""

    condition: Condition
    cell: Cell
    search: Search | None = None
    measured: list[Measured] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    in_a_row: int = 0
    refusal: Refusal | None = None

    @property
    def over(self) -> bool:
        """Whether further levels are of no use."""
        return self.refusal is not None or (self.search is not None and self.search.decided)

    def add(self, levels: Sequence[Level], run: Run) -> None:
        """Levels that show the server."""
        if self.search is not None:
            self.search.add(levels)
        self.measured += [Measured(level, run.name) for level in levels]
        self.in_a_row = 0

    def discard(self, level: Level, why: tuple[str, str]) -> None:
        """A level that shows the load generator."""
        self.discarded.append(f"{formatting.rate(level.rate)} req/s: {why[0]}")
        self.in_a_row += 1
        if self.in_a_row >= IN_A_ROW:
            self.refusal = Refusal(*why)


def of_server(
    looked: Looked,
    requests: str | None,
    server: Mapping[str, Any],
    wanted: Wanted,
    options: Mapping[str, Any],
) -> int:
    """Search the capacity of a server that runs already, and show it; gives the exit code."""
    for text in looked.warnings:
        click.echo(one_line(f"warning: {text}"), err=True)
    prepared = _planned(looked, requests, server, options)
    look_as_the_load_does(prepared)
    return _run(prepared, _hunts(looked, prepared), wanted, options)


def of_experiment(file: Path, wanted: Wanted, options: Mapping[str, Any]) -> int:
    """Search the capacity of each condition of an experiment file, and show it; gives the exit code."""
    prepared = prepare(
        file,
        {
            "trials": 1,
            "samples": True,
            "loads": [{"users": PROBE_USERS}],
            "seconds": int(PROBE_SECONDS),
            "name": "capacity",
        },
    )
    check_deadline(wanted.within, prepared.study.experiment.deadline, f"{file}: deadline =")
    return _run(prepared, hunts_of(prepared), wanted, options)


def hunts_of(prepared: Prepared) -> list[Hunt]:
    """The conditions of an experiment, in the order of its file: the first one of two is the baseline."""
    conditions = cells(prepared.study.experiment, prepared.servers)
    conditions = [each._replace(load="") for each in conditions]
    differing = [
        part
        for part in ("server", "model", "version", "batch")
        if len({getattr(each, part) for each in conditions}) > 1
    ]
    hunts = []
    for each in dict.fromkeys(conditions):
        title = (
            ", ".join(f"{part} {getattr(each, part)}" for part in differing)
            or f"{each.model} on {each.server}"
        )
        hunts.append(Hunt(Condition(title, each.server, each.model, each.version, each.batch), each))
    return hunts


def _run(prepared: Prepared, hunts: list[Hunt], wanted: Wanted, options: Mapping[str, Any]) -> int:
    folder = begin(prepared._replace(plan=[]), options["results"], None)
    # its trials follow from each other: there is no plan to continue from
    folder.description["file"] = "bench capacity"
    interrupted = False
    try:
        with ended_in_order():
            _search(prepared, folder, hunts, wanted, options)
        folder.mark(COMPLETE)
    except KeyboardInterrupt:
        interrupted = True
        folder.tidy()
        folder.mark(INTERRUPTED_STATE)
        note("interrupted; what is known so far:")
    found = [concluded(h.condition, h.search, h.measured, h.discarded, h.refusal) for h in hunts]
    capacity = Capacity(
        service_level=wanted.text,
        share=wanted.share,
        within=wanted.within,
        confidence=CONFIDENCE,
        conditions=found,
        ratio=ratio(found[0], found[1], CONFIDENCE) if len(found) == 2 else None,
    )
    capacity.write(folder.path)
    folder.seal()
    _show(capacity, wanted, folder)
    if options["as_json"] is not None:
        told = {
            "schema": 1,
            "folder": str(folder.path),
            "sentences": sentences(capacity),
            "capacity": capacity.model_dump(by_alias=True),
        }
        put(options["as_json"], json_text(told) + "\n")
    if interrupted:
        return INTERRUPTED
    return 0 if all(each.outcome == "found" for each in found) else NOT_ALL


def _planned(
    looked: Looked, requests: str | None, server: Mapping[str, Any], options: Mapping[str, Any]
) -> Prepared:
    return looked.two.prepared(
        packaged.scenario("model"),
        verb="capacity",
        duet=False,
        slice=None,
        load=Load(users=PROBE_USERS),
        blocks=1,
        seconds=int(PROBE_SECONDS),
        server=called(server),
        signature=looked.signature,
        seed=options["seed"],
        deadline=options["deadline"],
        samples=True,
        options=model_options(looked, requests, server, options),
    )


def _hunts(looked: Looked, prepared: Prepared) -> list[Hunt]:
    """The condition, or both with the baseline first, whatever the order of a block."""
    two = looked.two
    found = []
    for side in dict.fromkeys((two.before, two.after)):
        cell = next(trial.cell for trial in prepared.plan if trial.cell.version == side.version)
        title = side.title(two.part) if two.after != two.before else f"{side.model} at {side.address}"
        found.append(Hunt(Condition(title, cell.server, cell.model, side.version, cell.batch), cell))
    return found


def _search(
    prepared: Prepared, folder: Folder, hunts: list[Hunt], wanted: Wanted, options: Mapping[str, Any]
) -> None:
    """Measure until all is decided or the time is up. Raises BenchError where nothing can be measured."""
    ends = time.monotonic() + options["seconds"]
    servers = {server.name: server for server in prepared.servers}
    with folder.locked() as lock:
        runner = Runner(prepared.study, servers, folder, Local(options["processes"]), _Quiet())
        with Levels.on(runner, options["processes"], lock) as levels:
            for hunt in hunts:
                _region(hunt, levels, wanted, ends, len(hunts))
            turn = 0
            while not all(hunt.over for hunt in hunts):
                order = hunts if turn % 2 == 0 else hunts[::-1]
                for hunt in order:
                    coming = None if hunt.over or hunt.search is None else hunt.search.next()
                    if coming is None:
                        continue
                    if time.monotonic() + _seconds(coming, wanted) + OVERHEAD > ends:
                        return
                    _level(hunt, levels, coming, wanted)
                    _progress(hunt, ends)
                turn += 1


def _region(hunt: Hunt, levels: Levels, wanted: Wanted, ends: float, conditions: int) -> None:
    """The saturated throughput, and a ramp up to it."""
    time_of_it = (ends - time.monotonic()) / conditions
    probe, step = (
        max(least, min(usual, START * time_of_it))
        for least, usual in ((1.0, PROBE_SECONDS), (0.5, STEP_SECONDS))
    )
    rate = 0.0
    for seconds in (probe, LONGER * probe):
        saturated = _measured(partial(_probe, hunt, levels, seconds), hunt)
        rate = throughput(requests_of(saturated))
        if rate > 0:
            break
    else:
        raise BenchError(
            f"{hunt.condition.title}: {PROBE_USERS} users got no answer within {LONGER * probe:g} s; "
            "look at the server with bench status, or give a longer --deadline"
        )
    left = (ends - time.monotonic()) / conditions - step * len(RAMP) - OVERHEAD
    each = left / LEVELS - OVERHEAD - SETTLING - wanted.within
    needed = 1.1 * samples_needed(100 * wanted.share) / (0.6 * rate)
    hunt.search = Search(1 - wanted.share, wanted.precision, max(SHORTEST, each, needed), rate)
    click.echo(
        one_line(f"{hunt.condition.title}: {formatting.rate(rate)} req/s with {PROBE_USERS} users that wait"),
        err=True,
    )
    ramp = hunt.search.ramp
    found = _measured(lambda _: levels.steps(hunt.cell, ramp, step), hunt)
    hunt.add(levels_of(requests_of(found), ramp, step, _service_level(wanted)), found)
    _progress(hunt, ends)


def _probe(hunt: Hunt, levels: Levels, seconds: float, factor: float) -> Run:
    return levels.closed(hunt.cell, PROBE_USERS, factor * seconds)


def _level(hunt: Hunt, levels: Levels, coming: NextLevel, wanted: Wanted) -> None:
    seconds = math.ceil(_seconds(coming, wanted))
    found = _measured(lambda _: levels.poisson(hunt.cell, coming.rate, seconds), hunt)
    requests = requests_of(found)
    (level,) = levels_of(requests, [coming.rate], seconds, _service_level(wanted)) or [
        Level(coming.rate, seconds, (0,), 0)
    ]
    why = generator_limit(found, requests, level, _service_level(wanted))
    if why is None:
        hunt.add([level], found)
    else:
        hunt.discard(level, why)


def _service_level(wanted: Wanted) -> ServiceLevel:
    return ServiceLevel(wanted.within, wanted.share, wanted.text)


def _seconds(coming: NextLevel, wanted: Wanted) -> float:
    """Of load: what counts, what comes before it, and what answers are awaited for."""
    return SETTLING + coming.seconds + wanted.within


def _measured(measure: Callable[[float], Run], hunt: Hunt) -> Run:
    """measure: is given the factor of its time; what fails is measured once more, for longer. Raises BenchError."""
    for factor in (1.0, LONGER):
        try:
            return measure(factor)
        except Failed as error:
            why = str(error)
    raise BenchError(f"{hunt.condition.title}: {why}")


class _Quiet:
    """The progress of a search is told by what it knows, not by its trials."""

    def say(self, text: str) -> None:
        """Nothing."""

    def glance(self, glance: Glance) -> None:
        """Nothing."""

    def ended(self, trial: PlannedTrial, ended: Ended, seconds: float) -> None:
        """Nothing."""


def _progress(hunt: Hunt, ends: float) -> None:
    """What the last level showed, and what is known so far."""
    parts = []
    if hunt.in_a_row:
        parts.append(f"left out: {hunt.discarded[-1]}")
    elif hunt.measured:
        level = hunt.measured[-1].level
        p = formatting.duration(math.inf if level.p is None else level.p)
        parts.append(
            f"{formatting.rate(level.rate)} req/s: percentile {p}, {formatting.share(level.share)} missed"
        )
    if hunt.search is not None:
        found, (low, high) = hunt.search.found, hunt.search.bracket
        if found is not None and math.isfinite(found.high):
            ends_of = f"{formatting.rate(found.low)} to {formatting.rate(found.high)}"
            parts.append(f"capacity {formatting.rate(found.rate)} ({ends_of})")
        else:
            sides = [formatting.rate(side) if side is not None else "?" for side in (low, high)]
            parts.append(f"between {sides[0]} and {sides[1]} req/s")
    left = max(0.0, ends - time.monotonic())
    click.echo(one_line(f"{hunt.condition.title}: {'; '.join(parts)}; {left:.0f} s left"), err=True)


def _show(capacity: Capacity, wanted: Wanted, folder: Folder) -> None:
    screen = console()
    for number, text in enumerate(sentences(capacity)):
        screen.print(Text(text, style="" if number else "bold"))
    for condition in capacity.conditions:
        table = levels_table(condition, capacity)
        if table is not None:
            screen.print(Text(f"\n{condition.title}", style="dim"))
            show_table(screen, table)
        for text in condition.discarded:
            click.echo(one_line(f"left out: {text}"), err=True)
        wide = condition.capacity
        if wide is not None and wide.high is not None:
            half = (wide.high - wide.low) / 2 / wide.value
            if half > wanted.precision:
                spent = sum(level.seconds for level in condition.levels)
                more = spent * ((half / wanted.precision) ** 2 - 1)
                click.echo(
                    f"the interval is {half:.1%} to either side; {wanted.precision:.1%} would take about {more:.0f} s more of load",
                    err=True,
                )
    click.echo(one_line(f"everything is in {folder.path}"), err=True)
