"""`bench gate --self-test`: the rate of wrong comparisons on this machine."""

import math
from pathlib import Path

from rich.text import Text

from bench import BenchError
from bench.analysis.grouping.trials import read_trials
from bench.analysis.judging.error_rates import INJECTED, PAIRS, Outcomes, replay, simulated
from bench.analysis.showing.table import Column, Table
from bench.analysis.statistics.intervals import ERROR_RATE
from bench.cli.tables import show_table
from bench.cli.terminal import console
from bench.runs.run import find_runs
from bench.wording import counted

MEASURED = ("p50", "p99", "requests_per_second")


def self_test(paths: tuple[Path, ...]) -> int:
    """Print false and missed verdicts; code 0 where false ones are as rare as promised, else 1."""
    screen = console()
    if paths:
        source, series = _recorded(paths)
    else:
        source = "60 simulated trials with 1 % noise on a machine that drifts by 5 %"
        series = {"p50": simulated(60)}
    screen.print(Text(f"self-test on {source}", style="bold"))
    outcomes = [
        replay(metric, values, injected=injected, pairs=pairs)
        for metric, values in series.items()
        for pairs in PAIRS
        if len(values) >= 2 * pairs
        for injected in INJECTED
    ]
    if not outcomes:
        raise BenchError(
            f"{paths[0]}: fewer than {2 * min(PAIRS)} trials of one thing; record more with bench run"
        )
    show_table(screen, _table(outcomes))
    # a promise is broken when even the low end of the interval lies above it
    wrong = [
        o
        for o in outcomes
        if o.injected == 1.0 and any(o.share(v)[1] > ERROR_RATE for v in ("worse", "better"))
    ]
    screen.print(
        Text(
            f"promised: at most {ERROR_RATE:.0%} false worse and as many false better: {'FAIL' if wrong else 'pass'}"
        )
    )
    return 1 if wrong else 0


def _recorded(paths: tuple[Path, ...]) -> tuple[str, dict[str, list[float]]]:
    """The cell with the most trials. Raises BenchError where there is none."""
    trials = read_trials(find_runs(paths))
    groups = trials.by_identity()
    if not groups:
        raise BenchError(f"{', '.join(map(str, paths))}: no trial in it; record some with bench run")
    identity = max(groups, key=lambda each: len(groups[each]))
    chosen = groups[identity]
    series = {name: [trial.values[name] for trial in chosen] for name in MEASURED}
    known = {
        name: values for name, values in series.items() if all(math.isfinite(v) and v > 0 for v in values)
    }
    return f"{counted(len(chosen), 'trial')}: {identity.words(identity._fields)}", known


def _table(outcomes: list[Outcomes]) -> Table:
    calm = [False] * len(outcomes)

    def share(each: Outcomes, verdict: str) -> str:
        value, low, high = each.share(verdict)
        return f"{value:.1%} ({low:.1%} … {high:.1%})"

    return Table(
        [
            Column("metric", True, [o.metric.name for o in outcomes], calm),
            Column("pairs", True, [str(o.pairs) for o in outcomes], calm),
            Column(
                "put in",
                True,
                ["nothing" if o.injected == 1 else f"{o.injected - 1:.0%} worse" for o in outcomes],
                calm,
            ),
            Column("worse", False, [share(o, "worse") for o in outcomes], calm),
            Column("better", False, [share(o, "better") for o in outcomes], calm),
            Column("same", False, [f"{o.share('same')[0]:.1%}" for o in outcomes], calm),
            Column("inconclusive", False, [f"{o.share('unknown')[0]:.1%}" for o in outcomes], calm),
        ],
        [],
        [],
    )
