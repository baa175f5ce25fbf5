"""`bench baseline`: renew and show the runs that gates compare with."""

from collections.abc import Sequence
from pathlib import Path

import click

from bench import BenchError
from bench.analysis.grouping.conditions import check_distinct, check_homogeneous
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.gate import INCONCLUSIVE
from bench.analysis.judging.sides import of_sides
from bench.analysis.reading.run_warning import accepted
from bench.analysis.showing.report import report
from bench.analysis.statistics.intervals import LENDERS
from bench.cli.output import note
from bench.cli.tables import show_report
from bench.cli.terminal import console
from bench.runs import baseline as store
from bench.runs.run import Found, find_runs


def find_apart(paths: Sequence[Path]) -> list[Found]:
    """Runs in the paths, without those of a baseline that lies in one of them and is not named itself."""
    folder = store.FOLDER.resolve()
    named = [path.resolve() for path in paths]
    if folder.is_dir() and any(folder.is_relative_to(path) and path != folder for path in named):
        if any(path.is_relative_to(folder) for path in named):
            return find_runs(paths)
        note(f"left out: {store.FOLDER}: the baseline; name it, too, to include its runs")
    return find_runs(paths, apart=folder)


_FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=store.FOLDER,
    show_default=True,
    metavar="DIR",
)


@click.group()
def baseline() -> None:
    """Manage the baseline: the runs in results/baseline that gates compare with. Commit it."""


_ACCEPT = click.option(
    "--accept", multiple=True, metavar="NAME", help="Accept runs with this warning; may be repeated."
)


@baseline.command(name="set")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_ACCEPT
@_FOLDER
def set_(paths: tuple[Path, ...], accept: tuple[str, ...], folder: Path) -> int:
    """Replace the baseline with these runs, without samples.

    PATHS are run folders, or folders that contain them. Only baseline runs of the same cells are replaced. Runs with warnings are
    refused with exit code 3.
    """
    return _take(paths, accept, folder, replacing=True)


@baseline.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_ACCEPT
@_FOLDER
def add(paths: tuple[Path, ...], accept: tuple[str, ...], folder: Path) -> int:
    """Add runs of another session to the baseline.

    A session is one start of server and load. In comparisons that are not interleaved, a session
    is one value: three or more are needed to see how sessions differ. PATHS and exit codes as of `bench baseline set`.
    """
    return _take(paths, accept, folder, replacing=False)


def _take(paths: tuple[Path, ...], accept: tuple[str, ...], folder: Path, *, replacing: bool) -> int:
    names = accepted(accept, "--accept")
    new = read_trials(find_runs(paths, apart=folder))
    if new.unreadable:
        raise BenchError(new.unreadable[0].reason)
    if new.failed:
        note(f"not saved: a trial failed: {new.failed[0]}")
        return INCONCLUSIVE
    if new.cut_short and "interrupted" not in names:
        note(f"not saved; to save it anyway: --accept interrupted: {new.cut_short[0]}")
        return INCONCLUSIVE
    if not new.trials or new.empty:
        named = new.empty[0] if new.empty else ", ".join(map(str, paths))
        raise BenchError(f"{named}: no request in it; a baseline must have measured something")
    check_distinct({"baseline": new.trials})
    check_homogeneous(new.trials, "baseline", one_commit=False)
    warnings = [warning for warning in of_sides({"baseline": new.trials}) if warning.check not in names]
    if warnings:
        for warning in warnings:
            note(f"{warning}")
        note(f"not saved; to save it anyway: --accept '{warnings[0].check}'")
        return INCONCLUSIVE
    cells = set(new.by_identity())
    old = read_trials(find_runs([folder])) if folder.is_dir() else read_trials([])
    replaced = {trial.path for trial in old.trials if trial.identity in cells and replacing}
    runs = dict.fromkeys(trial.path for trial in new.trials)
    stored = [store.put(run, folder) for run in runs]
    store.remove(path for path in replaced if path not in stored and path.exists())
    gone = len(replaced - set(stored))
    click.echo(
        f"{folder}: {len(stored)} run{'s' * (len(stored) > 1)} of {len(cells)} cell{'s' * (len(cells) > 1)} taken, {gone} replaced"
    )
    _tell_sessions(folder, cells)
    return 0


def _tell_sessions(folder: Path, cells: set[Identity]) -> None:
    """How many sessions the baseline has; a warning where one cannot show how they differ."""
    by_identity = read_trials(find_runs([folder])).by_identity()
    fewest = min(len({trial.session for trial in by_identity.get(identity, [])}) for identity in cells)
    if fewest < LENDERS:
        click.echo(
            f"bench: warning: {fewest} session{'s' * (fewest > 1)} in it: {LENDERS} show how sessions (starts of server "
            "and load) differ; measure again and take the runs with: bench baseline add RUN",
            err=True,
        )


@baseline.command()
@_FOLDER
def show(folder: Path) -> int:
    """Show the baseline as bench report does."""
    results = report(find_runs([folder]))
    if not results.runs:
        raise BenchError(f"{folder}: no baseline; record one with: bench baseline set RUN")
    show_report(console(), results)
    return 0
