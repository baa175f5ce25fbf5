"""The batch size that pays, and the server's cost per image."""

import math
from collections.abc import Callable, Mapping
from typing import Final

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, unpaired, untold
from bench.analysis.capacity.bracket import knee as bracket_of
from bench.analysis.reading.cells import Cell, cells, cpu_steps, natural
from bench.analysis.reading.metric import CELL_METRICS
from bench.runs.run import Run
from bench.wording import counted

KNEE: Final = 0.9
"""The knee is the smallest batch that reaches this share of the best throughput."""
WHAT: Final = "the best batch size"
ROUNDS: Final = 1.5
"""Turns of each batch from which on a drift of the machine is not taken for a difference between them."""
DOUBLING: Final = 2
"""A knee is one where larger batches were measured: up to one so many times as large."""


def answer(run: Run) -> list[Answer]:
    """The batch with the most examples per second, the knee, and the server's CPU time for an example of each."""
    answered = [cell for cell in cells(run) if cell.answered.examples and cell.duration]
    by_batch = {cell.batch: cell for cell in answered}
    if len(by_batch) < len(answered):
        return [untold(WHAT, "several versions, or kinds of requests, answered to one batch size")]
    if len(by_batch) < 2:
        return [untold(WHAT, f"answers to {counted(len(by_batch), 'batch size')} only, run longer (-t)")]
    rates = {batch: CELL_METRICS["inferences_per_second"].of(cell) for batch, cell in by_batch.items()}
    best = max(rates, key=lambda batch: rates[batch])
    least, largest = min(by_batch), max(by_batch)
    missing, rounds, rivals = _not_measured(run), _rounds(run), _rivals(by_batch, best)
    # a multiple of what is not told apart would say the opposite
    multiple = (
        "" if least in rivals else f", {rates[best] / rates[least]:.1f} times as many as at batch {least}"
    )
    alike = f" (not significantly different from batch {', '.join(map(str, rivals))})" if rivals else ""
    reaches = _reaching(by_batch, best)
    knee = None if missing or rounds < ROUNDS else knee_of(reaches)
    text = (
        f"most images per second of the measured batches {', '.join(map(str, sorted(by_batch)))}: "
        f"{formatting.rate(rates[best])} at batch {best}{multiple}{alike}; {_turns(run)}"
    )
    if missing:
        text += f"; the knee is unknown: no answers for {', '.join(missing)}, run longer (-t)"
    elif rounds < ROUNDS:
        text += "; the knee is unknown from one turn of each, run longer (-t)"
    elif knee is None:
        text += (
            f"; the knee is unknown: throughput was not seen for certain to level off over a doubling "
            f"up to batch {largest}, run longer or measure larger batches"
        )
    else:
        below, _ = bracket_of(reaches)
        between = f"above batch {below} and at most at" if below else "at most at"
        text += f"; the knee, {KNEE:.0%} of that, is {between} batch {knee}{_latency(by_batch[knee], by_batch[least])}"
    answers = [
        Answer(
            text,
            {
                "best_batch": float(best),
                "knee_batch": None if knee is None else float(knee),
                "best_inferences_per_second": rates[best],
            },
        )
    ]
    costs = {batch: server_cpu(cell) for batch, cell in sorted(by_batch.items())}
    if all(math.isnan(cost) for cost in costs.values()):
        return answers
    shown = ", ".join(f"batch {batch} {formatting.duration(cost)}" for batch, cost in costs.items())
    values = {
        f"server_cpu_batch_{batch}": None if math.isnan(cost) else cost for batch, cost in costs.items()
    }
    return [*answers, Answer(f"the server's CPU time for an image: {shown}", values)]


def knee_of(reaches: Mapping[int, bool | None]) -> int | None:
    """The smallest batch that reaches KNEE of the best rate for certain; None unless a DOUBLING of it was measured.

    reaches: by batch; None: the rates differ too much from second to second to tell.
    """
    _, knee = bracket_of(reaches)
    return knee if knee is not None and max(reaches) >= DOUBLING * knee else None


def _reaching(by_batch: Mapping[int, Cell], best: int) -> dict[int, bool | None]:
    """Whether each batch reaches KNEE of the best one's rate, by the interval of their ratio; None: it does not tell."""
    series = {batch: _by_second(cell) for batch, cell in by_batch.items()}
    reaching: dict[int, bool | None] = {best: True}
    for batch in by_batch.keys() - {best}:
        change = unpaired(series[batch], series[best])
        if change is None or change.low <= 1 / KNEE < change.high:
            reaching[batch] = None
        else:
            reaching[batch] = change.high <= 1 / KNEE
    return reaching


def _not_measured(run: Run) -> list[str]:
    """Names of requests that the scenario has and that were never answered."""
    turns = run.manifest.load.turns
    answered = {key.name for (key, _) in run.tallies if key.outcome == "OK"}
    planned = {*(turns.names if turns else []), *run.manifest.target.asked}
    return sorted(planned - answered, key=natural)


def _turns(run: Run) -> str:
    """What the rates rest on."""
    turns = run.manifest.load.turns
    if turns is None:
        return f"all of them in the same {run.steady.duration:.0f} s"
    if _rounds(run) < ROUNDS:
        return f"each had one turn of {turns.seconds} s, one after the other, so that changes of the machine count as well"
    return f"each had {_rounds(run):.0f} turns of {turns.seconds} s"


def _rounds(run: Run) -> float:
    """How often each kind of requests had its turn; where none take turns they are measured at the same time."""
    turns = run.manifest.load.turns
    if turns is None:
        return math.inf
    first, end = run.seconds
    return (end - first) / (turns.seconds * len(turns.names))


def _rivals(by_batch: dict[int, Cell], best: int) -> list[int]:
    """The batches whose rates cannot be distinguished from the best one's."""
    series = {batch: _by_second(cell) for batch, cell in by_batch.items()}
    return [
        batch
        for batch in sorted(by_batch)
        if batch != best
        and ((change := unpaired(series[batch], series[best])) is None or change.low <= 1 < change.high)
    ]


def _by_second(cell: Cell) -> list[float]:
    """Examples answered in each second of a cell's turns that was not cut off."""
    counted: dict[int, int] = {}
    for (key, second), tally in cell.run.tallies.items():
        if key in cell.keys and key.outcome == "OK" and cell.run.holds(second):
            counted[second] = counted.get(second, 0) + tally.examples
    last = (cell.run.window or cell.run.seconds)[1] - 1
    return [float(number) for second, number in sorted(counted.items()) if second < last and number]


def _latency(knee: Cell, least: Cell) -> str:
    of: Callable[[Cell], float] = CELL_METRICS["p50"].of
    if not math.isfinite(of(knee)):
        return ""
    return f", where the median request takes {formatting.duration(of(knee))} instead of {formatting.duration(of(least))}"


def server_cpu(cell: Cell) -> float:
    """Seconds of the server's CPU time for each example of a cell, in the seconds that were its turn.

    nan where the server was not observed in one of them.
    """
    run = cell.run
    rows = [
        row for row in run.telemetry if row.get("source") == "server" and row.get("cpu_seconds") is not None
    ]
    spent, answered = 0.0, 0
    examples: dict[int, int] = {}
    for (key, second), tally in run.tallies.items():
        if key in cell.keys and key.outcome == "OK":
            examples[second] = examples.get(second, 0) + tally.examples
    for begun, ended, seconds in cpu_steps(rows):
        second = math.floor((begun + ended) / 2)
        if not run.holds(second) or second not in examples:
            continue
        spent += seconds / (ended - begun)
        answered += examples[second]
    return spent / answered if answered else math.nan
