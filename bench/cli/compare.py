"""`bench compare`: which is faster, by how much, how sure is that?"""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from bench import BenchError
from bench.analysis import comparison_table as told
from bench.analysis.compare import COMPARABLE, Comparison, Comparisons, compare_by
from bench.analysis.compare import compare as compare_sides
from bench.analysis.metrics import METRICS
from bench.analysis.ranking import pareto, ranking
from bench.analysis.trials import Identity, Trial, Trials, read_trials
from bench.cli.tables import hanging, show_table, warning
from bench.config.reading import nearest
from bench.run import find_runs

RANKED = ("inferences_per_second", "p99")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--by", type=click.Choice(COMPARABLE), help="Compare what the paths hold by this part of it.")
@click.option(
    "--baseline", metavar="VALUE", help="With --by: the value to compare with (default: the least)."
)
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Judge only this; may be given again."
)
@click.option(
    "--tolerance", type=click.FloatRange(0), metavar="SHARE", help="Smaller changes are none (0.02: 2 %)."
)
@click.option(
    "--check", is_flag=True, help="End with code 1 if anything is worse, 3 if inconclusive or with warnings."
)
@click.option("--json", "as_json", is_flag=True, help="Print every number as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print tables as Markdown.")
def compare(
    *,
    paths: tuple[Path, ...],
    by: str | None,
    baseline: str | None,
    metrics: tuple[str, ...],
    tolerance: float | None,
    check: bool,
    as_json: bool,
    as_markdown: bool,
) -> int:
    """Compare trials: BASE CANDIDATE..., or with --by the parts of one set of runs.

    PATHS are run folders or folders of them; several runs of the same thing are its trials. Two trials each are the
    least that shows how trials differ. Trials of one experiment are compared block by block.
    """
    if as_json and as_markdown:
        raise BenchError("--json and --markdown both print to standard output: give one of them")
    options: dict[str, Any] = {
        "tolerances": dict.fromkeys(METRICS, tolerance) if tolerance is not None else {}
    }
    if metrics:
        options["metrics"] = _known(metrics)
    if by:
        trials = _read(paths)
        found = compare_by(trials.trials, by, baseline=baseline, **options)
    else:
        found, trials = _sides(paths, baseline, options)
    if as_json:
        click.echo(json.dumps(told.plain(found), indent=1))
    elif as_markdown:
        click.echo(told.markdown(found), nl=False)
    else:
        _show(Console(file=sys.stdout, highlight=False), found, trials)
    return _code(found) if check else 0


def _known(metrics: tuple[str, ...]) -> tuple[str, ...]:
    for name in metrics:
        if name not in METRICS:
            raise BenchError(
                f"--metric {name}: unknown{nearest(name, METRICS)}; known are {', '.join(METRICS)}"
            )
    return metrics


def _read(paths: tuple[Path, ...]) -> Trials:
    trials = read_trials(find_runs(paths))
    for each in trials.unreadable:
        click.echo(f"bench: left out: {each.reason}", err=True)
    for path in trials.empty:
        click.echo(f"bench: left out: {path}: no request was recorded in its steady part", err=True)
    if not trials.trials:
        raise BenchError(
            f"{', '.join(map(str, paths))}: no trial in it; name run folders, or a folder of them"
        )
    return trials


def _sides(
    paths: tuple[Path, ...], baseline: str | None, options: dict[str, Any]
) -> tuple[Comparisons, Trials]:
    if baseline is not None:
        raise BenchError(f"--baseline {baseline}: only with --by; without it the first path is the baseline")
    if len(paths) < 2:
        raise BenchError(
            f"{paths[0]}: nothing to compare it with; name a candidate, or what differs with --by"
        )
    before = _read(paths[:1])
    found: list[Comparison] = []
    unmatched: list[tuple[str, Identity]] = []
    everything = list(before.trials)
    for path in paths[1:]:
        after = _read((path,))
        everything += after.trials
        step = compare_sides(before.trials, after.trials, **options)
        found += step.found
        unmatched += step.unmatched
    return Comparisons(found, unmatched), Trials(everything, [], [])


def _show(console: Console, found: Comparisons, trials: Trials) -> None:
    console.print(Text(told.summary(found), style="bold"))
    for comparison in found.found:
        console.print(Text.assemble("\n", (comparison.title, "bold"), (f"  {told.how(comparison)}", "dim")))
        show_table(console, told.changes_table(comparison))
        for text in told.remarks(comparison):
            hanging(console, Text.assemble(("unknown  ", "yellow"), text))
        for doubt in comparison.doubts:
            hanging(console, warning(doubt))
    for side, identity in found.unmatched:
        hanging(
            console,
            Text.assemble(
                ("alone  ", "yellow"), f"only the {side} measured {identity.words(_told(identity))}"
            ),
        )
    groups = trials.by_identity()
    if len({comparison.after for comparison in found.found}) > 1:
        _show_ranking(console, groups)


def _told(identity: Identity) -> list[str]:
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
                ("  equal numbers: not shown to differ", "dim"),
            )
        )
        for place in ranking(groups, metric):
            value = told.value_text(METRICS[metric], place.value)
            console.print(Text(f" {place.rank:3}  {value:>12}  {place.identity.words(varied)}"))
    front = [identity.words(varied) for identity in pareto(groups)]
    hanging(
        console,
        Text.assemble(
            "\n",
            ("best  ", "green"),
            "nothing has both more throughput and a lower p99 than: ",
            "; ".join(front),
        ),
    )


def _code(found: Comparisons) -> int:
    if any(comparison.doubts for comparison in found.found) or not found.changes:
        return 3
    verdicts = {each.verdict for each in found.changes}
    return 1 if "worse" in verdicts else 3 if "unknown" in verdicts or found.unmatched else 0
