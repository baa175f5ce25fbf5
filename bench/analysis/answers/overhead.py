"""Shares of the model, the server and the network in the time of a request."""

import math
from collections.abc import Callable
from typing import Final

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, Interval, medians, ratio, times, untold
from bench.analysis.answers.windows import reached
from bench.analysis.reading.cells import Cell, cells, server_cores
from bench.analysis.reading.metric import CELL_METRICS
from bench.analysis.reading.reconciliation import Stage, split
from bench.runs.run import Run

IDLE: Final = "null"
"""The name of the requests to the model that computes nothing."""


def answer(run: Run) -> list[Answer]:
    """Client's and server's view of the model that computes nothing and of the other one."""
    by_name = {cell.name: cell for cell in cells(run) if cell.answered.requests}
    other = next((name for name in by_name if name != IDLE), None)
    if IDLE not in by_name or other is None:
        silent = "the model that computes nothing" if IDLE not in by_name else "the one that computes"
        return [untold("the share of server and network", f"{silent} answered no request")]
    return [
        part
        for part in (
            _client(run, by_name[IDLE], by_name[other]),
            _server(run),
            _cpu(run, list(by_name.values())),
        )
        if part is not None
    ]


def _client(run: Run, idle: Cell, computing: Cell) -> Answer:
    bare, whole = (CELL_METRICS["service_p50"].of(cell) for cell in (idle, computing))
    change = ratio(medians(run.steady, idle.name), medians(run.steady, computing.name))
    ends = None if change is None or not math.isfinite(whole - bare) else _share_of(bare, change)
    duration = formatting.duration
    if ends is None or not ends[0]:
        part = "the model's part cannot be estimated from this difference"
        part += f", it is at most {duration(ends[1])}" if ends else ""
    else:
        part = f"{duration(whole - bare)} are the model's ({duration(ends[0])} to {duration(ends[1])}), the rest is network and server"
    return Answer(
        f"the client waits {duration(bare)} (median) for a model that computes nothing and {duration(whole)} for {computing.name}, which does, "
        f"{times(change)}: {part}",
        {
            "null_p50": reached(bare),
            "model_p50": reached(whole),
            "inference": None if ends is None else max(0.0, whole - bare),
            "inference_low": None if ends is None else ends[0],
            "inference_high": None if ends is None else ends[1],
        },
    )


def _share_of(bare: float, change: Interval) -> tuple[float, float]:
    """Ends of the model's part, by the ratio of the medians with it and without."""
    return max(0.0, bare * (change.low - 1)), max(0.0, bare * (change.high - 1))


def part_of_the_model(run: Run) -> Callable[[float], tuple[float, float]] | None:
    """The interval of `inference` at each confidence; None: unknown."""
    by_name = {cell.name: cell for cell in cells(run) if cell.answered.requests}
    other = next((name for name in by_name if name != IDLE), None)
    if IDLE not in by_name or other is None:
        return None
    bare = CELL_METRICS["service_p50"].of(by_name[IDLE])
    before, after = medians(run.steady, IDLE), medians(run.steady, other)

    def interval(confidence: float) -> tuple[float, float]:
        change = ratio(before, after, confidence)
        return (-math.inf, math.inf) if change is None else _share_of(bare, change)

    return interval


def _server(run: Run) -> Answer | None:
    """Means over the whole run, from the server's counters before and after it."""
    seen = split(run)
    if seen is None:
        return None
    pre_post, runtime = (
        seen.seconds(Stage.SERVER),
        seen.seconds(Stage.RUNTIME) + seen.seconds(Stage.BATCHING_QUEUE),
    )
    outside = seen.seconds(Stage.WIRE)
    duration = formatting.duration
    return Answer(
        f"of {duration(seen.mean)} (mean of the whole run, warm-up included) that a client waits, the server counts {duration(pre_post + runtime)} as request_latency "
        f"and {duration(runtime)} of that as runtime_latency: {duration(pre_post)} are its own handling, "
        f"{duration(outside)} are network, kernel and HTTP/2 on both sides",
        {"request_latency": pre_post + runtime, "runtime_latency": runtime, "outside": outside},
    )


def _cpu(run: Run, measured: list[Cell]) -> Answer | None:
    used = server_cores(run.steady)
    rate = sum(cell.answered.requests / cell.duration for cell in measured if cell.duration)
    if used is None or not rate:
        return None
    each = used / rate
    return Answer(
        f"the server spends {formatting.duration(each)} of CPU time on a request, of both kinds on average: "
        f"{formatting.rate(1 / each)} a second for each core",
        {"server_cpu_per_request": each},
    )
