"""Costs of predictions: money, processor time and energy, for each answered example of a run."""

import math

from bench.analysis.reading import gpus
from bench.analysis.reading.cells import (
    SERVER_MACHINE,
    Cell,
    observations,
    per_second_of,
    server_cores,
    shares_its_server,
)
from bench.runs.run import Run


def price_per_hour(run: Run) -> float:
    """Of the server, as its servers file has it; nan where it does not."""
    experiment = run.manifest.experiment
    price = None if experiment is None else experiment.server.price_per_hour
    return math.nan if price is None else price


def cost_per_million(price: float, rate: float) -> float:
    """Of a million predictions at so many per second, from the price of an hour; nan of none."""
    return price / 3600 / rate * 1e6 if rate > 0 else math.nan


def cost_of(cell: Cell) -> float:
    """Cost of a million predictions of the run; nan where no price is known."""
    return cost_per_million(price_per_hour(cell.run), _rate(cell))


def cpu_per_thousand(cell: Cell) -> float:
    """Seconds of the server's CPU time for a thousand predictions; nan where it was not observed, or is another run's too."""
    busy, rate = None if shares_its_server(cell.run) else server_cores(cell.run), _rate(cell)
    return 1000 * busy / rate if busy is not None and rate > 0 else math.nan


def gpu_per_thousand(cell: Cell) -> float:
    """Seconds in which the GPUs that the server uses computed, for a thousand predictions; nan likewise."""
    busy, rate = [] if shares_its_server(cell.run) else gpus.busy(cell.run), _rate(cell)
    return 1000 * sum(busy) / rate if busy and rate > 0 else math.nan


def joules_per_thousand(cell: Cell) -> float:
    """Joules of the processors of the server's machine, and of the GPUs that it uses, for a thousand predictions of the run.

    nan where they are not counted, where the server is on another machine than the load and no exporter tells of them, and
    where two servers share them (a duet).
    """
    if cell.run.manifest.duet is not None:
        return math.nan
    watts = [*_processors(cell.run), *gpus.watts(cell.run)]
    rate = _rate(cell)
    return 1000 * sum(watts) / rate if watts and rate > 0 else math.nan


def _rate(cell: Cell) -> float:
    """Examples answered OK per second of all requests of the run: they share its server."""
    examples = sum(tally.examples for (key, _), tally in cell.run.tallies.items() if key.outcome == "OK")
    return examples / cell.duration if cell.duration > 0 else 0.0


def _processors(run: Run) -> list[float]:
    """Watts of the processors of the server's machine: as its exporter counts them, else those of this one, where it is here."""
    local = ["machine"] if run.manifest.target.pid is not None else []
    for source in (SERVER_MACHINE, *local):
        each = (per_second_of(rows, "joules") for rows in observations(run, source).values())
        watts = [power for power in each if power is not None]
        if watts:
            return watts
    return []
