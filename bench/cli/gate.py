"""`bench gate`: check runs against limits, and end with a verdict for continuous integration."""

import os
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource
from rich.console import Console
from rich.text import Text

from bench import BenchError
from bench.analysis.grouping.conditions import DECLARABLE, selected
from bench.analysis.grouping.trials import Trials, read_trials
from bench.analysis.judging.gate import FAIL, PASS, Judgement, LimitsFile
from bench.analysis.judging.gate import gate as judge
from bench.analysis.showing import gate_text
from bench.analysis.showing.card import Card, card
from bench.cli.metric_options import goodput_option
from bench.cli.new_file import JSON_FILE, JUNIT_FILE, NewFile
from bench.cli.numbers import Number
from bench.cli.output import IN_GITHUB, command
from bench.cli.packaged_path import PackagedPath
from bench.cli.tables import hanging, show_table, warning_text
from bench.cli.terminal import console
from bench.runs import baseline as store
from bench.runs.jsonl import json_text
from bench.runs.run import find_runs
from bench.wording import counted

ONLY_WITH_RUN: Final = ("budget", "results", "duet")
ONLY_WITHOUT_RUN: Final = ("latest", "revision")
STYLES: Final = {"failed": "bold red", "cause": "bold", "undecided": "yellow", "would decide": "yellow"}
"""Of the titles of a card's rows."""
REASONS: Final = ("failed", "cause", "slow", "passes in")
"""Rows that stand above the stages."""


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--limits",
    "limits_file",
    type=PackagedPath(path_type=Path),
    metavar="FILE",
    help="Limits file. Default: scenarios/NAME.toml of the scenario NAME; with --run EXPERIMENT.limits.toml.",
)
@click.option(
    "--baseline",
    "baseline_path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=f"Runs to compare with (default: {store.FOLDER}); with --run: server or version to compare with (default: the first).",
)
@JUNIT_FILE
@click.option(
    "--markdown",
    type=NewFile(),
    metavar="FILE",
    help="Append a Markdown table, such as to the summary of a CI job.",
)
@JSON_FILE
@click.option(
    "--run",
    "experiment",
    type=PackagedPath(path_type=Path),
    metavar="EXPERIMENT",
    help="Run this experiment until every limit is decided.",
)
@click.option(
    "--by",
    type=click.Choice(DECLARABLE),
    multiple=True,
    metavar="PART",
    help=f"What may differ between baseline and candidate; may be repeated: {', '.join(DECLARABLE)}. Default: whichever of version, build, server and commit differs.",
)
@click.option(
    "--latest", is_flag=True, help="Judge only runs like the newest one: its commit, model, server and load."
)
@click.option("--commit", "revision", metavar="REV", help="Judge only runs of this commit.")
@click.option(
    "--budget",
    type=Number(1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="With --run: time limit.",
)
@click.option(
    "--duet",
    is_flag=True,
    help="With --run: run both servers at once and send each request to both in turn.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="With --run: folder in which it makes the result folder.",
)
@goodput_option("The X of goodput, unless the limits file sets it")
@click.option(
    "--self-test",
    "testing",
    is_flag=True,
    help="Estimate how often verdicts are wrong, from recorded or simulated trials.",
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
    by: tuple[str, ...],
    latest: bool,
    revision: str | None,
    budget: float,
    duet: bool,
    results: Path,
    answered_within: float | None,
    testing: bool,
) -> int:
    """Check runs against limits. PATHS: run folders of the candidate, or folders that contain them.

    Candidate and baseline may differ only in what --by names. Failed trials, missing cells, duplicate runs and modified
    files never pass.

    With --run EXPERIMENT, the first server or version of the experiment is the baseline (or --baseline VALUE) and the
    others are candidates; trials are added until all limits pass, one fails, or the budget is used up.

    With --self-test, PATHS hold many trials of the same thing, which are compared with each other; without PATHS trials
    are simulated.

    Exit codes: 0 pass, 1 FAIL, 2 bad usage or input, 3 inconclusive or measurement invalid, 70 bench itself crashed.

    \b
    bench gate results --limits limits.toml
    bench gate results --baseline results/baseline --junit gate.xml
    bench gate --run experiment.toml --budget 180
    """
    _check_usage(with_run=experiment is not None, testing=testing)
    if testing:
        from bench.cli.self_test import self_test

        return self_test(paths)
    if (experiment is None) == (not paths):
        raise click.UsageError("name the runs to judge, or an experiment with --run")
    if experiment is not None:
        if len(by) > 1:
            raise click.UsageError("--by: with --run one thing differs between the sides")
        limits = LimitsFile.read(limits_file or _beside(experiment), answered_within)
        value = str(baseline_path) if baseline_path else None
        only = by[0] if by else None
        judged = _run(experiment, limits, by=only, baseline=value, budget=budget, results=results, duet=duet)
    else:
        limits, judged = _judge_runs(
            paths, limits_file, baseline_path, by, answered_within, latest=latest, revision=revision
        )
    explained = card(judged, None if experiment is None else own_command())
    show_judgement(console(), judged, explained)
    write_judgement(judged, explained, limits.path.stem, junit=junit, markdown=markdown, as_json=as_json)
    return judged.code


def own_command() -> str:
    """The call of this program as a line for a shell."""
    return shlex.join(["bench", *sys.argv[1:]])


def _check_usage(*, with_run: bool, testing: bool) -> None:
    """Raise UsageError for an option that would do nothing."""
    context = click.get_current_context()
    options = {
        name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    names = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for name in ONLY_WITHOUT_RUN if with_run else ONLY_WITH_RUN:
        if name in options:
            raise click.UsageError(
                f"{names[name]} {'cannot be combined with' if with_run else 'needs'} --run"
            )
    if testing and (others := options - {"testing", "paths"}):
        raise click.UsageError(f"--self-test takes no {names[min(others)]}")


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
    paths: tuple[Path, ...],
    limits_file: Path | None,
    baseline_path: Path | None,
    by: tuple[str, ...],
    answered_within: float | None,
    *,
    latest: bool,
    revision: str | None,
) -> tuple[LimitsFile, Judgement]:
    kept_apart = baseline_path or store.FOLDER
    candidate = read_trials(find_runs(paths, apart=kept_apart))
    if not candidate.trials and not candidate.empty and not candidate.failed:
        reason = candidate.unreadable[0].reason if candidate.unreadable else f"{paths[0]}: no run in it"
        raise BenchError(reason)
    candidate = selected(candidate, latest=latest, revision=revision)
    limits = LimitsFile.read(limits_file or _beside_the_scenario(candidate, paths), answered_within)
    baseline = _baseline(baseline_path) if limits.relative or baseline_path else None
    if baseline is None and by:
        raise click.UsageError(f"--by {by[0]}: there is no baseline; name one with --baseline")
    if baseline is not None and latest:
        baseline = selected(baseline, latest=True)
    if baseline is not None:
        _of_the_same_scenarios(baseline, candidate, limits)
    return limits, judge(limits, candidate, baseline, by=by)


def _of_the_same_scenarios(baseline: Trials, candidate: Trials, limits: LimitsFile) -> None:
    """Leave cells of other scenarios out where the limits are those of the candidate's scenario."""
    scenarios = {trial.identity.scenario for trial in candidate.trials}
    others = [trial for trial in baseline.trials if trial.identity.scenario not in scenarios]
    if others and len(others) < len(baseline.trials) and {limits.path.stem} == scenarios:
        baseline.trials[:] = [trial for trial in baseline.trials if trial.identity.scenario in scenarios]
        baseline.left_out.append(f"{counted(len(others), 'trial')} of other scenarios in the baseline")


def _beside_the_scenario(candidate: Trials, paths: tuple[Path, ...]) -> Path:
    """The limits file of the runs' scenario. Raises BenchError where there is none, or more than one scenario."""
    identities = [trial.identity for trial in candidate.trials] + [each.identity for each in candidate.failed]
    scenarios = sorted({identity.scenario for identity in identities})
    if len(scenarios) != 1:
        raise BenchError(f"{paths[0]}: {len(scenarios)} scenarios in it; name the limits with --limits FILE")
    commands = [trial.manifest.command or [] for trial in candidate.trials]
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
    folder = path or store.FOLDER
    if not folder.exists():
        raise BenchError(f"{folder}: no baseline there; record one with: bench baseline set RUN")
    return read_trials(find_runs([folder]))


def show_judgement(console: Console, judged: Judgement, card: Card | None) -> None:
    """A pass in a line; else the verdict, a table of the limits, the card, and what stands against it."""
    style = {PASS: "green", FAIL: "red"}.get(judged.code, "yellow")
    verdict = Text.assemble(("gate  ", "dim"), (judged.verdict, f"bold {style}"))
    if judged.code == PASS:
        hanging(console, verdict.append(f": {gate_text.passed(judged)}", "dim"))
        return
    console.print(verdict)
    if judged.findings:
        show_table(console, gate_text.judgement_table(judged))
    if card is not None:
        show_card(console, card)
    for each in judged.failures:
        if not each.too_many:
            hanging(console, Text.assemble(("failed  ", "yellow"), each.text))
    for warning in judged.warnings:
        hanging(console, warning_text(warning))
    for warning in judged.accepted:
        hanging(console, warning_text(warning, title="accepted"))
    if os.environ.get(IN_GITHUB) == "true":
        for line in gate_text.annotations(judged, card):
            command(line)


def show_card(console: Console, card: Card) -> None:
    """The rows of a card, and the stages of both sides below its causes."""
    width = max(len(row.title) for row in card.rows) if card.rows else 0
    shown = False
    for row in card.rows:
        if row.title not in REASONS and not shown:
            shown = True
            for each in card.breakdowns:
                console.print(Text(f"\n{each.title}", style="dim"))
                show_table(console, each.table)
        hanging(
            console,
            Text.assemble((f"{row.title:<{width}}  ", STYLES.get(row.title, "dim")), row.text),
            width + 2,
        )


def write_judgement(
    judged: Judgement,
    card: Card | None,
    suite: str,
    *,
    junit: Path | None,
    markdown: Path | None,
    as_json: Path | None,
) -> None:
    """The files that are asked for. Raises BenchError."""
    if junit is not None:
        put(junit, gate_text.junit(judged, suite, card))
    if markdown is not None:  # a job's summary grows
        put(markdown, gate_text.markdown(judged, card), append=True)
    if as_json is not None:
        put(as_json, json_text(gate_text.plain(judged, card)) + "\n")


def put(path: Path, text: str, *, append: bool = False) -> None:
    """Write a file that the user named. Raises BenchError."""
    try:
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; name a file in a folder that exists") from error
