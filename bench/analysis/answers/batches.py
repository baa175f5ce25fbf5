"""Which batch size pays, and what does an image cost the server?"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from bench.analysis import quantities
from bench.analysis.answers.answer import Answer
from bench.analysis.cells import Cell, cells
from bench.analysis.metrics import METRICS
from bench.run import Run

KNEE: Final = 0.9
"""The knee is the smallest batch that reaches this share of the best throughput."""


def answer(run: Run) -> list[Answer]:
    """The batch with the most examples per second, the knee, and the server's CPU time for an example of each."""
    by_batch = {cell.batch: cell for cell in cells(run) if cell.answered.examples and cell.duration}
    if len(by_batch) < 2:
        return []
    rates = {batch: METRICS["inferences_per_second"].of(cell) for batch, cell in by_batch.items()}
    best = max(rates, key=lambda batch: rates[batch])
    knee = min(batch for batch, rate in rates.items() if rate >= KNEE * rates[best])
    least = min(by_batch)
    found = [
        Answer(
            f"most images per second: {quantities.rate(rates[best])} at batch {best}, {rates[best] / rates[least]:.1f} times "
            f"as many as at batch {least}; the knee, {KNEE:.0%} of that, is at batch {knee}"
            f"{_latency(by_batch[knee], by_batch[least])}",
            {"best_batch": float(best), "knee_batch": float(knee), "best_inferences_per_second": rates[best]},
        )
    ]
    costs = {batch: server_cpu(cell) for batch, cell in sorted(by_batch.items())}
    if all(math.isnan(cost) for cost in costs.values()):
        return found
    told = ", ".join(f"batch {batch} {quantities.duration(cost)}" for batch, cost in costs.items())
    values = {
        f"server_cpu_batch_{batch}": None if math.isnan(cost) else cost for batch, cost in costs.items()
    }
    return [*found, Answer(f"the server's CPU time for an image: {told}", values)]


def _latency(knee: Cell, least: Cell) -> str:
    of: Callable[[Cell], float] = METRICS["p50"].of
    if not math.isfinite(of(knee)):
        return ""
    return f", where the median request takes {quantities.duration(of(knee))} instead of {quantities.duration(of(least))}"


def server_cpu(cell: Cell) -> float:
    """Seconds of the server's CPU time for each example of a cell, in the seconds that were its turn.

    nan where the server was not observed in one of them.
    """
    run = cell.run
    rows = [row for row in run.telemetry if row.get("source") == "server"]
    spent, answered = 0.0, 0
    examples: dict[int, int] = {}
    for (key, second), tally in run.tallies.items():
        if key in cell.keys and key.outcome == "OK":
            examples[second] = examples.get(second, 0) + tally.examples
    for before, after in pairwise(rows):
        second = math.floor((before["time"] + after["time"]) / 2)
        if not run.holds(second) or second not in examples:
            continue
        spent += (after["cpu_seconds"] - before["cpu_seconds"]) / (after["time"] - before["time"])
        answered += examples[second]
    return spent / answered if answered else math.nan
