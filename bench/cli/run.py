"""`bench run`: run an experiment, unattended and resumable."""

import contextlib
import shlex
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.table import Table

from bench import BenchError
from bench.cli.numbers import Number
from bench.cli.output import note
from bench.cli.packaged_path import PackagedPath
from bench.cli.run_clock import Clock, duration
from bench.cli.run_display import Lines, Screen
from bench.cli.terminal import console
from bench.escape import one_line
from bench.experiment.beginning import Prepared, begin, prepare, resume
from bench.experiment.duet import starts
from bench.experiment.folder import Folder
from bench.experiment.master import Master
from bench.experiment.plan import cells, sessions
from bench.experiment.preflight import refused
from bench.experiment.runner import Runner
from bench.experiment.trial import Generator, Local
from bench.launch.remote import Remote, described
from bench.runs.interference import Interference
from bench.runs.journal import INTERRUPTED as STOPPED
from bench.runs.journal import Ended
from bench.wording import counted

NOT_ALL = 3
"""Exit code where trials failed, or --until-decided ends undecided: what is there does not decide what was asked."""
DECIDED_BY = ("server", "version", "model", "batch")
"""What `--until-decided` compares: the first of these that differs."""
MOST_BLOCKS = 60
"""Of `--until-decided`, unless told otherwise."""
BAD_INPUT = 2
"""Exit code of --dry-run where a cell cannot be measured."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


@click.command()
@click.argument("experiment", type=PackagedPath(exists=True, path_type=Path))
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the plan and its predicted duration, and check payloads and running servers; start nothing.",
)
@click.option(
    "--resume", "go_on", is_flag=True, help="Continue the newest run of EXPERIMENT, or that folder."
)
@click.option("--retry", is_flag=True, help="With --resume: run failed trials again too.")
@click.option("--trials", type=click.IntRange(1), help="Trials of each cell, instead of the file's.")
@click.option("--seconds", type=click.IntRange(1), help="Load of each trial, instead of the file's.")
@click.option(
    "--until-decided",
    is_flag=True,
    help=f"Add blocks of trials until p50, p99 and requests/s are decided, at most --trials ({MOST_BLOCKS}).",
)
@click.option("--workers", type=click.IntRange(1), help="Load processes on this machine; default: 1.")
@click.option(
    "--master",
    metavar="HOST:PORT",
    help="Send the load from a running Locust master and its workers, through its web interface.",
)
@click.option(
    "--duet",
    is_flag=True,
    help="Measure two conditions at once: both servers run, and each request goes to both in turn.",
)
@click.option(
    "--slice",
    type=Number(0.05),
    metavar="SECONDS",
    help="With --duet: alternate between the conditions every SECONDS instead of request by request.",
)
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--note", help="Text to add to the result folder's name.")
def run(
    experiment: Path,
    *,
    dry_run: bool,
    go_on: bool,
    retry: bool,
    trials: int | None,
    seconds: int | None,
    until_decided: bool,
    workers: int | None,
    master: str | None,
    duet: bool,
    slice: float | None,
    results: Path,
    note: str | None,
) -> int:
    """Run EXPERIMENT: servers x models x versions x batch sizes x loads, in trials.

    EXPERIMENT is a TOML file, the name of one of this package (batch_sizes, builds, versions), or with --resume the folder of an earlier run. Each trial is
    a Locust run in a fresh process; all trials are in one folder below --results, which `bench report` reads. Exit codes: 0
    done, 3 a trial failed or --until-decided did not decide, 130 after Ctrl-C; --resume then continues.

    \b
    bench run batch_sizes --dry-run
    bench run batch_sizes
    bench report results/20260101T120000Z-batch_sizes
    bench run batch_sizes --master localhost:8089
    """
    if master and workers:
        raise click.UsageError("--workers and --master: give one of the two; a master has its own workers")
    if duet and (master or (workers or 1) > 1):
        raise click.UsageError("--duet: one load process sends to both; leave --workers and --master out")
    if slice is not None and not duet:
        raise click.UsageError("--slice needs --duet")
    if retry and not go_on:
        raise click.UsageError("--retry needs --resume")
    if until_decided and (go_on or dry_run):
        raise click.UsageError("--until-decided cannot be combined with --resume or --dry-run")
    trials = trials or (MOST_BLOCKS if until_decided else None)
    overrides = {name: value for name, value in (("trials", trials), ("seconds", seconds)) if value}
    begun: Folder | None = None
    if go_on:
        if overrides or note or duet:
            raise click.UsageError(
                "--resume continues the original plan: leave --trials, --seconds, --note, --duet out"
            )
        prepared, begun = resume(experiment, results)
    elif experiment.is_dir():
        raise click.UsageError(f"{experiment} is a folder: name an experiment file, or add --resume")
    else:
        prepared = prepare(experiment, overrides, duet=duet, slice=slice)
    if dry_run:
        if begun is None:
            _show_plan(console(), prepared)
        else:
            _show_left(begun, prepared)
        return dry_preflight(prepared)
    generator = Master.at(master, prepared.study) if master else Local(workers or 1)
    part = _to_decide(prepared, experiment) if until_decided else None
    return _run(prepared, begun or begin(prepared, results, note), generator, retry=retry, part=part)


def _to_decide(prepared: Prepared, experiment: Path) -> str:
    """The part of the cells that is compared. Raises BenchError where nothing is."""
    part = next(
        (each for each in DECIDED_BY if len({getattr(t.cell, each) for t in prepared.plan}) > 1), None
    )
    if part is None:
        raise BenchError(
            f"{experiment}: --until-decided compares one of {', '.join(DECIDED_BY)}, and none of them differs; "
            "name two of them in the file"
        )
    return part


def _run(
    prepared: Prepared, folder: Folder, generator: Generator, *, retry: bool, part: str | None = None
) -> int:
    for line in _left_out(prepared):
        click.echo(one_line(line), err=True)
    screen = console(error=True)
    servers = {server.name: server for server in prepared.servers}
    more: Sequence[str] = ()
    never: Sequence[str] = ()
    interrupted = False
    with folder.at_work() as lock, ended_in_order():
        folder.tidy()
        before = folder.ended()
        done = {number for number, each in before.items() if not (retry and each.outcome == "failed")}
        count, left = len(done), [t for t in folder.trials if t.number not in done]
        seconds = prepared.seconds(left)
        click.echo(
            f"{folder.path}: {counted(len(folder.trials), 'trial')}, {count} done, "
            f"{'at most ' if part is not None else ''}{duration(seconds)} to go",
            err=True,
        )
        display = Screen(screen, folder.path) if screen.is_terminal else Lines(folder.path)
        predicted = [prepared.seconds(left[:ended]) for ended in range(len(left) + 1)]
        clock = Clock(predicted, at_most=part is not None)
        with display.showing(len(folder.trials), count, clock):
            runner = Runner(prepared.study, servers, folder, generator, display)
            try:
                if part is not None:
                    # what judges is imported where it is needed: half a second
                    from bench.cli.blocks import compared, run_blocks

                    baseline = _first(prepared, part)
                    more, never = run_blocks(
                        runner, lock, None, lambda look: compared(folder, part, look, baseline=baseline)
                    )
                else:
                    runner.run(lock, again=lambda ended: retry and ended.outcome == "failed")
            except KeyboardInterrupt:
                folder.mark(STOPPED)
                folder.tidy()  # reports would take what was broken off for a trial
                interrupted = True
    if interrupted:  # told in one line, which a display that is shown would break at the terminal's width
        note(f"interrupted; continue with: bench run {folder.path} --resume")
        return INTERRUPTED
    for text in [f"{', '.join(more)}: more trials would be needed"] if more else []:
        click.echo(one_line(f"not decided: {text}"), err=True)
    for text in never:
        click.echo(one_line(f"cannot be decided: {text}"), err=True)
    return _conclude(prepared, folder) or (NOT_ALL if more or never else 0)


def _first(prepared: Prepared, part: str) -> str:
    """The first value of a part in the file: what the others are compared with."""
    return str(getattr(cells(prepared.study.experiment, prepared.servers)[0], part))


def _conclude(prepared: Prepared, folder: Folder) -> int:
    ended = folder.ended()
    failed = [each for each in ended.values() if each.outcome == "failed"]
    by_number = {trial.number: trial for trial in folder.trials}
    for each in failed:
        click.echo(one_line(f"failed: {by_number[each.number].cell.title()}: {each.reason}"), err=True)
    click.echo(
        f"{folder.path}: {len(ended) - len(failed)} of {counted(len(folder.trials), 'trial')} measured",
        err=True,
    )
    interference = Interference.read(folder.path)
    for text in interference.warnings if interference else []:
        click.echo(one_line(f"warning: {text}"), err=True)
    if len(ended) > len(failed):
        click.echo(one_line(f"show them with: bench report {folder.path}"), err=True)
        part = _varied(folder)
        if part is not None:
            by = f"--by {part}"
            if part in DECIDED_BY:
                by += f" --baseline {shlex.quote(_first(prepared, part))}"
            click.echo(one_line(f"compare them with: bench compare {folder.path} {by}"), err=True)
    return NOT_ALL if failed else 0


def _varied(folder: Folder) -> str | None:
    """What the experiment compares first of all; None: nothing, or batch sizes only."""
    for part in ("server", "version", "model", "load"):
        if len({getattr(trial.cell, part) for trial in folder.trials}) > 1:
            return part
    return None


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM and a closed terminal end the experiment as Ctrl-C does: trial and server first."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _left_out(prepared: Prepared) -> list[str]:
    """Which servers are left out, those with the same reason together."""
    reasons = dict.fromkeys(prepared.left_out.values())
    return [
        f"left out: {', '.join(name for name, why in prepared.left_out.items() if why == reason)}: {reason}"
        for reason in reasons
    ]


def _show_plan(console: Console, prepared: Prepared) -> None:
    experiment = prepared.study.experiment
    table = Table(
        title=f"{prepared.study.name}: {counted(len(prepared.plan), 'trial')}", title_justify="left"
    )
    for column in ("block", "server", "build", "model", "version", "batch", "load"):
        table.add_column(column, justify="right" if column in ("block", "version", "batch") else "left")
    for trial in prepared.plan:
        cell = trial.cell
        version = "latest" if cell.version is None else str(cell.version)
        table.add_row(
            str(trial.block), cell.server, cell.build, cell.model, version, str(cell.batch), cell.load
        )
    console.print(table)
    for line in _left_out(prepared):
        console.print(line)
    seconds = prepared.seconds(prepared.plan)
    launches = starts(prepared.plan) if prepared.duet else len(list(sessions(prepared.plan)))
    console.print(
        f"{counted(experiment.trials, 'block')}, {counted(launches, 'start')} of a server, {experiment.seconds} s of load a trial, "
        f"seed {experiment.seed}: about {duration(seconds)}"
    )


def dry_preflight(prepared: Prepared) -> int:
    """Hold the payloads against the plan, and against the servers that run already; gives the exit code."""
    study = prepared.study
    running = {server.name: server for server in prepared.servers if isinstance(server.spec, Remote)}
    started = [trial for trial in prepared.plan if trial.cell.server not in running]
    reasons = refused(study, started, None) if started else {}
    for name, server in running.items():
        trials = [trial for trial in prepared.plan if trial.cell.server == name]
        reasons |= refused(study, trials, described(server))
    for cell, reason in reasons.items():
        click.echo(one_line(f"refused: {cell.title()}: {reason}"), err=True)
    return BAD_INPUT if reasons else 0


def _show_left(folder: Folder, prepared: Prepared) -> None:
    ended: dict[int, Ended] = folder.ended()
    left = [trial for trial in folder.trials if trial.number not in ended]
    seconds = prepared.seconds(left)
    for trial in left:
        click.echo(one_line(f"block {trial.block}: {trial.cell.title()}"))
    click.echo(
        one_line(f"{len(left)} of {counted(len(folder.trials), 'trial')} to go: about {duration(seconds)}")
    )


__all__ = ["BenchError", "run"]
