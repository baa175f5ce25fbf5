"""Run `bench capacity` once all checks have passed: the search and its result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from bench import BenchError, packaged
from bench.analysis.capacity.conclusion import Condition
from bench.analysis.showing.capacity_table import levels_table
from bench.analysis.showing.capacity_text import sentences
from bench.cli import capacity_search, capacity_users
from bench.cli.ab_conditions import Looked
from bench.cli.ab_load import called, look_as_the_load_does, model_options, observed
from bench.cli.capacity_search import PROBE_SECONDS, PROBE_USERS, Group, Hunt
from bench.cli.capacity_wanted import PARTS, Wanted, check_deadline
from bench.cli.gate import put
from bench.cli.output import note
from bench.cli.run import INTERRUPTED, NOT_ALL, ended_in_order
from bench.cli.tables import show_table
from bench.cli.terminal import console
from bench.config.experiment import Load
from bench.escape import one_line
from bench.experiment.beginning import Prepared, begin, prepare
from bench.experiment.folder import Folder
from bench.experiment.levels import Levels
from bench.experiment.master import Master
from bench.experiment.plan import PlannedTrial, cells
from bench.experiment.runner import Runner
from bench.experiment.trial import Generator, Glance, Local
from bench.protocol.registry import api_named
from bench.runs.capacity import Capacity
from bench.runs.journal import COMPLETE, Ended
from bench.runs.journal import INTERRUPTED as INTERRUPTED_STATE
from bench.runs.jsonl import json_text


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
    return _run(prepared, [_hunts(looked, prepared)], wanted, options)


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
    return _run(prepared, groups_of(prepared, file, options["by"]), wanted, options)


def groups_of(prepared: Prepared, file: Path, by: str | None) -> list[Group]:
    """The conditions of an experiment, in the order of its file, those that are compared with each other together.

    by: the part in which they differ; None: the only one of which there are several. Raises BenchError where there is
    one of it.
    """
    conditions = cells(prepared.study.experiment, prepared.servers)
    every = list(dict.fromkeys(each._replace(load="") for each in conditions))
    differing = [part for part in PARTS if len({getattr(each, part) for each in every}) > 1]
    if by is not None and by not in differing:
        raise BenchError(
            f"{file}: --by {by}: there is one {by}; name a second one in the file, or leave --by out"
        )
    if by is None and (len(differing) == 1 or len(every) == 2):
        by = differing[0]
    hunts = []
    for each in every:
        title = (
            ", ".join(f"{part} {getattr(each, part)}" for part in differing)
            or f"{each.model} on {each.server}"
        )
        hunts.append(Hunt(Condition(title, each.server, each.model, each.version, each.batch), each))
    if by is None:
        return [[hunt] for hunt in hunts]
    if len(every) == 2:
        return [hunts]
    # another model has versions of its own
    rest = [part for part in PARTS if part != by and (by, part) != ("model", "version")]
    groups: dict[tuple[Any, ...], Group] = {}
    for hunt in hunts:
        groups.setdefault(tuple(getattr(hunt.cell, part) for part in rest), []).append(hunt)
    return list(groups.values())


def _run(prepared: Prepared, groups: list[Group], wanted: Wanted, options: Mapping[str, Any]) -> int:
    over_http = next((each for each in prepared.servers if api_named(each.spec.protocol).over_http), None)
    if over_http is not None and not wanted.users:
        raise BenchError(
            f"{over_http.name}: protocol {over_http.spec.protocol}: arrivals at random are sent over gRPC only; give its "
            "gRPC port and protocol, or add --users"
        )
    address, processes = options["master"], options["processes"]
    generator: Generator = Local(processes)
    if address is not None:
        master = Master.at(address, prepared.study)
        generator, processes = master, master.workers or 1
    folder = begin(prepared._replace(plan=[]), options["results"], None)
    # its trials follow from each other: there is no plan to continue from
    folder.description["file"] = "bench capacity"
    servers = {server.name: server for server in prepared.servers}
    search = capacity_users.search if wanted.users else capacity_search.search
    conditions = capacity_users.searched if wanted.users else capacity_search.searched
    interrupted = False
    try:
        with ended_in_order(), folder.locked() as lock:
            runner = Runner(prepared.study, servers, folder, generator, _Quiet())
            with Levels.on(runner, processes, lock) as levels:
                search(levels, groups, wanted, options["seconds"])
        folder.mark(COMPLETE)
    except KeyboardInterrupt:
        interrupted = True
        folder.tidy()
        folder.mark(INTERRUPTED_STATE)
        note("interrupted; what is known so far:")
    capacity = conditions(groups, wanted)
    capacity.write(folder.path)
    folder.seal()
    _show(capacity, wanted, folder)
    if options["as_json"] is not None:
        content = {
            "schema": 1,
            "folder": str(folder.path),
            "sentences": sentences(capacity),
            "capacity": capacity.model_dump(by_alias=True),
        }
        put(options["as_json"], json_text(content) + "\n")
    if interrupted:
        return INTERRUPTED
    return 0 if capacity.answered else NOT_ALL


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
        observed=observed(options),
        signature=looked.signature,
        seed=options["seed"],
        deadline=options["deadline"],
        samples=True,
        options=model_options(looked, requests, server, options),
    )


def _hunts(looked: Looked, prepared: Prepared) -> list[Hunt]:
    """The condition, or both with the baseline first, whatever the order of a block."""
    two = looked.two
    hunts = []
    for side in dict.fromkeys((two.before, two.after)):
        own = side.server, side.version
        cell = next(trial.cell for trial in prepared.plan if (trial.cell.server, trial.cell.version) == own)
        title = side.title(two.part) if two.after != two.before else f"{side.model} at {side.address}"
        hunts.append(Hunt(Condition(title, cell.server, cell.model, side.version, cell.batch), cell))
    return hunts


class _Quiet:
    """The progress of a search is told by what it knows, not by its trials."""

    def say(self, text: str) -> None:
        """A server is started or connected to, which may take long."""
        click.echo(one_line(text), err=True)

    def glance(self, glance: Glance) -> None:
        """Nothing."""

    def ended(self, trial: PlannedTrial, ended: Ended, seconds: float) -> None:
        """Nothing."""


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
