"""The score of one trial of a setting.

Throughput of users that wait stands for the capacity. By Little's law (1961) so many users that are each answered within
the service level are a load that the server sustains, and a level of seconds shows it to a few percent, which a search of
the rate needs minutes for. A setting that misses the service level counts by so much less as it misses it: its rate times
the share that may be late by the share that is. Where the limit is just met both are the same, so that nothing jumps.
"""

import math
from typing import NamedTuple

from bench.analysis.capacity.reading import GENERATOR
from bench.analysis.reading import load_generator
from bench.analysis.reading.cells import cells
from bench.analysis.reading.cost import cost_per_million, price_per_hour
from bench.analysis.reading.population import Population
from bench.analysis.statistics.sample_size import supported
from bench.config.tune import Objective
from bench.runs.run import Run


class Measured(NamedTuple):
    """A trial of a setting."""

    score: float
    """Higher is better: examples per second, or 1 / latency; 0: no request was answered as wanted."""
    throughput: float
    """Examples answered rightly per second, of those in time where there is a service level."""
    p99: float
    """Seconds; inf: among requests without an answer, nan: not known."""
    in_time: float
    """Of the requests due, those answered rightly in time; nan without a service level."""
    cost: float
    """Of a million predictions; nan: no price is known."""
    limit: str = ""
    """Why it shows what the load generator can do; empty: it shows the server."""
    remedy: str = ""


def measured(run: Run, objective: Objective) -> Measured | str:
    """What a run counts, or why it counts nothing. Raises BenchError where its files are damaged."""
    of_run = [cell for cell in cells(run) if cell.requests]
    due = Population.sum([cell.due for cell in of_run]) if of_run else None
    if due is None or not of_run[0].duration > 0:
        return "no request in its steady part"
    examples = right = late = 0
    for cell in of_run:
        within = cell.due.right_within(objective.within)
        # requests cancelled at the end, before they were late, say nothing
        least, most = (0, 0) if within is None else within
        examples += least * cell.batch
        right += least
        late += cell.due.count - most
    throughput = examples / of_run[0].duration
    p99 = due.percentile(99.0) if supported(99.0, due.count) else math.nan
    share = right / (right + late) if right + late else math.nan
    cost = cost_per_million(price_per_hour(run), throughput)
    limit = next(
        (
            (each.reason, each.remedy)
            for check in load_generator.CHECKS
            for each in check(run)
            if each.check in GENERATOR
        ),
        ("", ""),
    )
    if objective.percentile is None:
        allowed, missed = 1 - objective.share, 1 - share if right + late else 1.0
        score = throughput * min(1.0, allowed / missed if missed > 0 else 1.0)
        return Measured(score, throughput, p99, share, cost, *limit)
    if not supported(objective.percentile, due.count):
        return f"{due.count:,} requests do not support p{objective.percentile:g}: measure for longer"
    latency = due.bounds(objective.percentile)[1]
    return Measured(1 / latency if latency > 0 else math.nan, throughput, p99, math.nan, cost, *limit)
