"""Which batch size pays, and what an image costs the server."""

import math
from collections.abc import Callable
from typing import Final

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, unpaired
from bench.analysis.reading.cells import Cell, cells, cpu_steps, natural
from bench.analysis.reading.metric import CELL_METRICS
from bench.runs.run import Run

KNEE: Final = 0.9
"""The knee is the smallest batch that reaches this share of the best throughput."""
DOUBLING: Final = 2
"""A knee is one where throughput was seen to stay: up to a batch so many times as large."""


def answer(run: Run) -> list[Answer]:
    """The batch with the most examples per second, the knee, and the server's CPU time for an example of each."""
    by_batch = {cell.batch: cell for cell in cells(run) if cell.answered.examples and cell.duration}
    if len(by_batch) < 2:
        return []
    rates = {batch: CELL_METRICS["inferences_per_second"].of(cell) for batch, cell in by_batch.items()}
    best = max(rates, key=lambda batch: rates[batch])
    least, largest = min(by_batch), max(by_batch)
    missing = _not_measured(run)
    knee = None if missing else knee_of(rates)
    text = (
        f"most images per second of the measured batches {', '.join(map(str, sorted(by_batch)))}: "
        f"{formatting.rate(rates[best])} at batch {best}, {rates[best] / rates[least]:.1f} times as many as at batch {least}"
        f"{_rivals(by_batch, best)}; {_turns(run)}"
    )
    if missing:
        text += f"; the knee is unknown: no answers for {', '.join(missing)}, run longer (-t)"
    elif knee is None:
        text += (
            f"; the knee is unknown: throughput was not seen to level off over a doubling "
            f"up to batch {largest}, measure larger batches"
        )
    else:
        below = max((batch for batch in by_batch if batch < knee), default=None)
        between = f"above batch {below} and at most at" if below else "at most at"
        text += f"; the knee, {KNEE:.0%} of that, is {between} batch {knee}{_latency(by_batch[knee], by_batch[least])}"
    found = [
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
        return found
    shown = ", ".join(f"batch {batch} {formatting.duration(cost)}" for batch, cost in costs.items())
    values = {
        f"server_cpu_batch_{batch}": None if math.isnan(cost) else cost for batch, cost in costs.items()
    }
    return [*found, Answer(f"the server's CPU time for an image: {shown}", values)]


def knee_of(rates: dict[int, float]) -> int | None:
    """The smallest batch with KNEE of the best rate; None unless the rate stayed so high up to a DOUBLING of it."""
    enough = KNEE * max(rates.values())
    knee = min(batch for batch, rate in rates.items() if rate >= enough)
    above = [batch for batch in rates if batch >= DOUBLING * knee]
    return knee if above else None


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
    seconds, names = turns.seconds, turns.names
    first, end = run.seconds
    rounds = (end - first) / (seconds * len(names))
    if rounds < 2:
        return f"each ran once, for {seconds} s, one after the other: changes of the machine count as well"
    return f"each had {rounds:.0f} turns of {seconds} s"


def _rivals(by_batch: dict[int, Cell], best: int) -> str:
    """The batches whose rates cannot be distinguished from the best one's."""
    series = {batch: _by_second(cell) for batch, cell in by_batch.items()}
    rivals = [
        str(batch)
        for batch in sorted(by_batch)
        if batch != best
        and ((change := unpaired(series[batch], series[best])) is None or change.low <= 1 < change.high)
    ]
    return f" (not distinguishable from batch {', '.join(rivals)})" if rivals else ""


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
