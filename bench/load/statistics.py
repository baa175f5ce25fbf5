"""How do Locust's own statistics, charts and request listeners see calls that are recorded in bulk?"""

import time
from typing import Any

import numpy as np
from locust import stats

from bench.load.record import Recorder, Rows
from bench.sample import CANCELLED_STATUS, outcome

METHOD = "gRPC"


def show_in_locust(environment: Any, recorder: Recorder, rows: Rows) -> None:
    """Enter calls into Locust's statistics; fire its request event for each where somebody listens to it.

    One event a call costs 4 us, a third of all that a call costs; entering hundreds at once costs 0.2 us each.
    Response times are latencies (done - due) in milliseconds with Locust's bucketing. Calls that this client cancelled
    are left out, as Locust's own clients leave out what a user that is stopped was waiting for.
    """
    cancelled = rows.status == CANCELLED_STATUS
    if cancelled.any():
        rows = rows.where(~cancelled)
    if len(environment.events.request._handlers) > _own_handlers(environment):
        _fire_each(environment, recorder, rows)
    else:
        _enter(environment.stats, recorder, rows)
    recorder.errors.clear()


def _own_handlers(environment: Any) -> int:
    """Listeners that only enter a call into the statistics: one for each runner of the environment."""
    return sum(h.__module__ == "locust.runners" for h in environment.events.request._handlers)


def _enter(request_stats: Any, recorder: Recorder, rows: Rows) -> None:
    latency_ms = (rows.done - rows.due) * 1e3
    latency_ms = latency_ms[~np.isnan(latency_ms)]
    count, failures = len(rows.status), int(np.count_nonzero(rows.status))
    now = time.time()
    part = stats.StatsEntry(request_stats, recorder.name, METHOD)
    part.num_requests, part.num_failures = count, failures
    part.num_none_requests = count - len(latency_ms)
    part.last_request_timestamp = now
    part.num_reqs_per_sec[int(now)] = count
    if failures:
        part.num_fail_per_sec[int(now)] = failures
    if len(latency_ms):
        part.total_response_time = float(latency_ms.sum())
        part.min_response_time = float(latency_ms.min())
        part.max_response_time = float(latency_ms.max())
        for value, times in zip(*np.unique(_rounded(latency_ms), return_counts=True), strict=True):
            part.response_times[float(value)] += int(times)
    request_stats.total.extend(part)
    request_stats.entries[(recorder.name, METHOD)].extend(part)
    for text, times in recorder.errors.items():
        key = stats.StatsError.create_key(METHOD, recorder.name, text)
        error = request_stats.errors.setdefault(key, stats.StatsError(METHOD, recorder.name, text))
        error.occurrences += times


def _rounded(latency_ms: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Two significant digits, as Locust keeps them, but down to microseconds instead of whole milliseconds."""
    magnitude = 10.0 ** (np.floor(np.log10(np.maximum(latency_ms, 1e-3))) - 1)
    rounded: np.ndarray[Any, np.dtype[np.float64]] = np.round(np.round(latency_ms / magnitude) * magnitude, 4)
    return rounded


def _fire_each(environment: Any, recorder: Recorder, rows: Rows) -> None:
    for due, done, status in zip(rows.due.tolist(), rows.done.tolist(), rows.status.tolist(), strict=True):
        unsent = status < 0
        environment.events.request.fire(
            request_type=METHOD,
            name=recorder.name,
            response_time=None if unsent else (done - due) * 1e3,
            response_length=0,
            exception=outcome(None if unsent else status) if status else None,
            context={},
        )
