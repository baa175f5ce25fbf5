"""`bench compare`: which is faster, by how much, with which confidence."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from bench import BenchError
from bench.analysis.grouping import conditions
from bench.analysis.grouping.conditions import DECLARABLE
from bench.analysis.grouping.failures import failures
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.metrics import JUDGED, METRICS
from bench.analysis.grouping.trials import Trial, Trials, read_trials
from bench.analysis.judging.compare import (
    COMPARABLE,
    Comparison,
    Comparisons,
    compare_by,
    compared_value,
)
from bench.analysis.judging.compare import compare as compare_sides
from bench.analysis.judging.ranking import pareto, ranking
from bench.analysis.reading.cells import natural
from bench.analysis.showing import comparison_table
from bench.cli.baseline import find_apart
from bench.cli.metric_options import goodput_option, metrics_to_judge
from bench.cli.numbers import Share
from bench.cli.output import note
from bench.cli.tables import hanging, show_table, warning_text
from bench.cli.terminal import console
from bench.runs.jsonl import json_text

RANKED = ("inferences_per_second", "p99")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--by",
    type=click.Choice(DECLARABLE),
    multiple=True,
    metavar="PART",
    help=f"What may differ between the sides; may be repeated: {', '.join(DECLARABLE)}. With one path: split its runs by the first.",
)
@click.option(
    "--latest",
    is_flag=True,
    help="Compare only runs like the newest one of each side: its commit, model, server and load.",
)
@click.option(
    "--baseline", metavar="VALUE", help="With --by: the value to compare with (default: the lowest)."
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Only this metric; may be repeated.")
@goodput_option("Judge goodput too")
@click.option(
    "--tolerance", type=Share(), metavar="SHARE", help="Ignore changes up to this size: 2% or 0.02."
)
@click.option(
    "--check",
    is_flag=True,
    help="Exit with code 1 if anything is worse or a condition failed, 3 if inconclusive or with warnings.",
)
@click.option("--wide", is_flag=True, help="Show each of many comparisons, with intervals and warnings.")
@click.option("--json", "as_json", is_flag=True, help="Print every number as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print tables as Markdown.")
def compare(
    *,
    paths: tuple[Path, ...],
    by: tuple[str, ...],
    latest: bool,
    baseline: str | None,
    metrics: tuple[str, ...],
    answered_within: float | None,
    tolerance: float | None,
    check: bool,
    wide: bool,
    as_json: bool,
    as_markdown: bool,
) -> int:
    """Compare trials of BASE with those of each CANDIDATE, or with --by the parts of one set of runs.

    Only what --by names may differ between the sides; the default is whichever of version, build, server and commit differs.

    PATHS are run folders or folders that contain them; runs of the same condition are its trials. At least two trials on each
    side are needed. Trials of one experiment are compared block by block.
    """
    if as_json and as_markdown:
        raise BenchError("--json and --markdown both print to standard output: give one of them")
    options: dict[str, Any] = {
        "tolerances": dict.fromkeys(METRICS, tolerance) if tolerance is not None else {},
        "metrics": metrics_to_judge(metrics, JUDGED, answered_within),
    }
    sides = (
        [_read((path,), answered_within, latest=latest) for path in paths]
        if len(paths) > 1 and not baseline
        else []
    )
    if by and not (sides and _is_baseline(sides, by)):
        if by[0] not in COMPARABLE:
            raise BenchError(f"--by {by[0]}: one set of runs is compared by {', '.join(COMPARABLE)}")
        trials, sides = _read(paths, answered_within, latest=latest), []
        comparisons = compare_by(trials.trials, by[0], baseline=baseline, also=by[1:], **options)
    else:
        comparisons, trials = _sides(paths, sides, baseline, by, options)
    if as_json:
        click.echo(json_text(comparison_table.plain(comparisons, trials.missing)))
    elif as_markdown:
        click.echo(comparison_table.markdown(comparisons, trials.missing), nl=False)
    else:
        _show(console(), comparisons, trials, wide=wide)
    if not check:
        return 0
    return 1 if any(map(_all_failed, sides[1:])) else _code(comparisons, trials)


def _is_baseline(sides: list[Trials], by: tuple[str, ...]) -> bool:
    """Whether the first path is a side of its own: what it holds by the first part is in no other path."""
    first, *others = ({compared_value(trial, by[0]) for trial in side.trials} for side in sides)
    return by[0] not in COMPARABLE or not any(first & other for other in others)


def _read(paths: tuple[Path, ...], answered_within: float | None, *, latest: bool) -> Trials:
    trials = read_trials(find_apart(paths), answered_within)
    for word, text in trials.missing:
        note(f"{word}: {text}")
    if not trials.trials and not trials.failed:
        raise BenchError(
            f"{', '.join(map(str, paths))}: no trial in it; name run folders, or a folder of them"
        )
    trials = conditions.selected(trials, latest=latest)
    for text in trials.left_out:
        note(f"left out: {text}")
    return trials


def _sides(
    paths: tuple[Path, ...],
    sides: list[Trials],
    baseline: str | None,
    by: tuple[str, ...],
    options: dict[str, Any],
) -> tuple[Comparisons, Trials]:
    if baseline is not None:
        raise BenchError(f"--baseline {baseline}: only with --by; without it the first path is the baseline")
    if not sides:
        raise BenchError(
            f"{paths[0]}: nothing to compare it with; name a candidate, or what differs with --by"
        )
    before, *candidates = sides
    if not before.trials:
        raise BenchError(f"{paths[0]}: every trial of the baseline failed; name one that was measured")
    conditions.check_distinct({str(path): side.trials for path, side in zip(paths, sides, strict=True)})
    comparisons: list[Comparison] = []
    unmatched: list[tuple[str, Identity]] = []
    for after in candidates:
        step = (
            compare_sides(before.trials, after.trials, by=by, **options)
            if after.trials
            else Comparisons([], [("baseline", identity) for identity in before.by_identity()])
        )
        comparisons += step.found
        unmatched += step.unmatched
    return Comparisons(comparisons, unmatched), Trials.together(sides)


def _show(console: Console, comparisons: Comparisons, trials: Trials, *, wide: bool) -> None:
    console.print(Text(comparison_table.summary(comparisons), style="bold"))
    together = None if wide else comparison_table.overview(comparisons)
    if together is not None:
        console.print()
        show_table(console, together)
        for text in together.notes:
            console.print(Text(text, style="dim"))
        for warning in comparison_table.warnings_together(comparisons):
            hanging(console, warning_text(warning))
    for comparison in comparisons.found if together is None else ():
        console.print(
            Text.assemble("\n", (comparison.title, "bold"), (f"  {comparison_table.how(comparison)}", "dim"))
        )
        show_table(console, comparison_table.changes_table(comparison))
        if stages := comparison_table.stages_text(comparison):
            hanging(console, Text.assemble(("stages  ", "dim"), stages))
        for text in comparison_table.remarks(comparison):
            hanging(console, Text.assemble(("inconclusive  ", "yellow"), text))
        for warning in comparison.warnings:
            hanging(console, warning_text(warning))
    for side, identity in comparisons.unmatched:
        hanging(
            console,
            Text.assemble(
                ("alone  ", "yellow"), f"only the {side} measured {identity.words(_parts_of(identity))}"
            ),
        )
    groups = trials.by_identity()
    # levels of searches are in no order
    if len({comparison.after for comparison in comparisons.found if comparison.match is not None}) > 1:
        _show_ranking(console, groups)


def _parts_of(identity: Identity) -> list[str]:
    return [
        part
        for part in ("scenario", "request", "server", "version", "batch", "load")
        if getattr(identity, part)
    ]


def _show_ranking(console: Console, groups: dict[Identity, list[Trial]]) -> None:
    """The order in throughput and in p99, and which are on the front of both."""
    varied = [part for part in Identity._fields if len({getattr(i, part) for i in groups}) > 1]
    for metric in RANKED:
        console.print(
            Text.assemble(
                "\n",
                (f"Order by {METRICS[metric].text}", "bold"),
                ("  same place: no significant difference", "dim"),
            )
        )
        for place in ranking(groups, metric):
            value = comparison_table.value_text(METRICS[metric], place.value)
            console.print(Text(f" {place.rank:3}  {value:>12}  {place.identity.words(varied)}"))
    front = sorted((identity.words(varied) for identity in pareto(groups)), key=natural)
    hanging(
        console,
        Text.assemble(
            "\n",
            ("best  ", "green"),
            "nothing has both more throughput and a lower p99 than: ",
            "; ".join(front),
        ),
    )


def _all_failed(candidate: Trials) -> bool:
    """Whether all trials of one of its conditions failed: nothing is worse than no answer."""
    return any(len(each.failed) == each.trials for each in failures(candidate, 0.0))


def _code(comparisons: Comparisons, trials: Trials) -> int:
    incomplete = trials.failed or trials.not_run or trials.unreadable or trials.empty or trials.cut_short
    if any(comparison.warnings for comparison in comparisons.found) or not comparisons.changes or incomplete:
        return 3
    verdicts = {each.verdict for each in comparisons.changes}
    return 1 if "worse" in verdicts else 3 if "unknown" in verdicts or comparisons.unmatched else 0
