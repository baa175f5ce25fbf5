"""`bench gate`: may this be released?"""

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from bench import BenchError
from bench import baseline as kept
from bench.analysis import gate_report as told
from bench.analysis.gate import Judgement, LimitsFile
from bench.analysis.gate import gate as judge
from bench.analysis.trials import Trials, read_trials
from bench.cli.tables import hanging, show_table, warning
from bench.run import find_runs

VARIED: Final = ("version", "build", "server", "model")
"""What a candidate can differ in from the baseline within one experiment."""


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--limits",
    "limits_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Default: beside the scenario.",
)
@click.option(
    "--baseline",
    "baseline_path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=f"Default: {kept.FOLDER}; with --run the value that is the baseline.",
)
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write test results for CI.")
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Append a table, as for a job's summary.",
)
@click.option(
    "--json", "as_json", type=click.Path(path_type=Path), metavar="FILE", help="Write every number."
)
@click.option(
    "--run",
    "experiment",
    type=click.Path(path_type=Path),
    metavar="EXPERIMENT",
    help="Run baseline and candidate until it is decided.",
)
@click.option(
    "--by", type=click.Choice(VARIED), help="With --run: what differs between baseline and candidate."
)
@click.option(
    "--budget",
    type=click.FloatRange(1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="With --run.",
)
@click.option(
    "--duet",
    is_flag=True,
    help="With --run: both servers are up, and the same requests go to them in turn.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="With --run.",
)
@click.option(
    "--self-test", "testing", is_flag=True, help="Show how often verdicts are wrong, on recorded trials."
)
def gate(
    *,
    paths: tuple[Path, ...],
    limits_file: Path | None,
    baseline_path: Path | None,
    junit: Path | None,
    markdown: Path | None,
    as_json: Path | None,
    experiment: Path | None,
    by: str | None,
    budget: float,
    duet: bool,
    results: Path,
    testing: bool,
) -> int:
    """Hold runs to their limits. PATHS: run folders or folders of them, the trials of what is to be released.

    With --run EXPERIMENT, the first server or version of the experiment is the baseline (or --baseline VALUE) and the
    others are candidates; blocks of trials are added until all limits are kept, one is broken, or the budget is spent.

    With --self-test, PATHS hold many trials of one thing (none: simulated ones), which are compared with each other.

    Exit codes: 0 all limits are kept, 1 a limit is broken, 2 bad usage or input, 3 not believable or not decidable.
    """
    if testing:
        from bench.cli.self_test import self_test

        return self_test(paths)
    if (experiment is None) == (not paths):
        raise click.UsageError("name the runs to judge, or an experiment with --run")
    if experiment is not None:
        limits = LimitsFile.read(limits_file or _beside(experiment))
        value = str(baseline_path) if baseline_path else None
        judged = _run(experiment, limits, by=by, baseline=value, budget=budget, results=results, duet=duet)
    else:
        limits, judged = _judge_runs(paths, limits_file, baseline_path)
    _write(judged, limits, junit=junit, markdown=markdown, as_json=as_json)
    _show(Console(file=sys.stdout, highlight=False), judged)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in told.annotations(judged):
            click.echo(line)
    return judged.code


def _run(experiment: Path, limits: LimitsFile, **options: Any) -> Judgement:
    from bench.cli.gate_run import (
        run_until_decided,
    )  # the load tower, which a gate on recorded runs never needs

    judged, folder, sides = run_until_decided(experiment, limits, **options)
    click.echo(f"{folder.path}: candidates against {sides.part} {sides.baseline}", err=True)
    return judged


def _beside(experiment: Path) -> Path:
    """The limits of an experiment: `<name>.limits.toml` beside it. Raises BenchError."""
    path = experiment.with_suffix(".limits.toml")
    if not path.is_file():
        raise BenchError(f"{path}: no such file; write limits there, or name them with --limits FILE")
    return path


def _judge_runs(
    paths: tuple[Path, ...], limits_file: Path | None, baseline_path: Path | None
) -> tuple[LimitsFile, Judgement]:
    candidate = read_trials(find_runs(paths))
    if not candidate.trials and not candidate.empty:
        reason = candidate.unreadable[0].reason if candidate.unreadable else f"{paths[0]}: no run in it"
        raise BenchError(reason)
    limits = LimitsFile.read(limits_file or _beside_the_scenario(candidate, paths))
    baseline = _baseline(baseline_path) if limits.relative or baseline_path else None
    return limits, judge(limits, candidate, baseline)


def _beside_the_scenario(candidate: Trials, paths: tuple[Path, ...]) -> Path:
    """The limits file of the runs' scenario. Raises BenchError where there is none, or more than one scenario."""
    scenarios = sorted({trial.identity.scenario for trial in candidate.trials})
    if len(scenarios) != 1:
        raise BenchError(f"{paths[0]}: {len(scenarios)} scenarios in it; name the limits with --limits FILE")
    commands = [trial.manifest.get("command") or [] for trial in candidate.trials]
    locustfiles = [
        Path(after)
        for command in commands
        for flag, after in pairwise(command)
        if flag in ("-f", "--locustfile")
    ]
    for path in [
        *(file.with_suffix(".toml") for file in locustfiles),
        Path("scenarios") / f"{scenarios[0]}.toml",
    ]:
        if path.is_file():
            return path
    raise BenchError(
        f"scenarios/{scenarios[0]}.toml: no such file; write limits there, or name them with --limits FILE"
    )


def _baseline(path: Path | None) -> Trials:
    folder = path or kept.FOLDER
    if not folder.exists():
        raise BenchError(f"{folder}: no baseline there; record one with: bench baseline set RUN")
    return read_trials(find_runs([folder]))


def _show(console: Console, judged: Judgement) -> None:
    style = {0: "green", 1: "red"}.get(judged.code, "yellow")
    console.print(Text.assemble(("gate  ", "dim"), (judged.verdict, f"bold {style}")))
    if judged.findings:
        show_table(console, told.judgement_table(judged))
    for text in told.remarks(judged):
        hanging(console, Text.assemble(("unknown  ", "yellow"), text))
    for doubt in judged.doubts:
        hanging(console, warning(doubt))
    for doubt in judged.accepted:
        hanging(console, warning(doubt, title="accepted"))


def _write(
    judged: Judgement, limits: LimitsFile, *, junit: Path | None, markdown: Path | None, as_json: Path | None
) -> None:
    if junit is not None:
        _put(junit, told.junit(judged, limits.path.stem))
    if markdown is not None:  # a job's summary grows
        _put(markdown, told.markdown(judged), append=True)
    if as_json is not None:
        _put(as_json, json.dumps(told.plain(judged), indent=1) + "\n")


def _put(path: Path, text: str, *, append: bool = False) -> None:
    try:
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; name a file in a folder that exists") from error
