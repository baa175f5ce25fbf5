"""Locust's statistics, charts and request listeners, fed with calls recorded in bulk."""

import math
import time
from collections import Counter
from typing import Any, Final

import numpy as np
from locust import stats

from bench.load.checking.failures import CallError, Kind
from bench.load.engine.recorder import HeardRecorder, Recorder, Rows
from bench.load.locust_glue.internals import request_listeners
from bench.runs.sample import CANCELLED_STATUS

METHOD: Final = "gRPC"


def show_in_locust(
    environment: Any,
    recorder: Recorder,
    rows: Rows,
    failures: Counter[Kind],
    url: str,
    *,
    method: str = METHOD,
) -> None:
    """Enter calls into Locust's statistics; fire its request event for each where somebody listens to it.

    One event a call costs 4 us, a third of all that a call costs; entering hundreds at once costs 0.2 us each.
    Response times are latencies (done - due) in milliseconds with Locust's bucketing. Calls that this client cancelled
    are left out, as Locust's own clients leave out what a user that is stopped was waiting for.

    failures: of the rows, for the statistics. url: of the method, for listeners. method: Locust's type of the requests.
    """
    cancelled = rows.status == CANCELLED_STATUS
    if isinstance(recorder, HeardRecorder):
        _fire_each(environment, recorder, rows, cancelled.tolist(), url, method=method)
        return
    if cancelled.any():
        rows = rows.where(~cancelled)
    _enter(environment.stats, recorder, rows, failures, method)


def called(recorder: Recorder, address: str, http: str | None) -> tuple[str, str]:
    """URL and method of a recorder's requests; address: of gRPC calls, http: of those over HTTP."""
    if not recorder.over_http:
        return f"grpc://{address}{recorder.method}", METHOD
    method, _, path = recorder.method.partition(" ")
    return f"http://{http}{path}", method


def listened(environment: Any) -> bool:
    """Whether anybody listens to Locust's request event but its runner, which only enters calls into the statistics."""
    return any(h.__module__ != "locust.runners" for h in request_listeners(environment))


def _enter(request_stats: Any, recorder: Recorder, rows: Rows, failed: Counter[Kind], method: str) -> None:
    latency_ms = (rows.done - rows.due) * 1e3
    latency_ms = latency_ms[~np.isnan(latency_ms)]
    count, failures = len(rows.status), int(np.count_nonzero(rows.status))
    now = time.time()
    part: Any = stats.StatsEntry(request_stats, recorder.name, method)
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
    request_stats.entries[(recorder.name, method)].extend(part)
    for (status, details), times in failed.items():
        text = str(CallError(status, details, recorder.api.name))
        key = stats.StatsError.create_key(method, recorder.name, text)
        error = request_stats.errors.setdefault(key, stats.StatsError(method, recorder.name, text))
        error.occurrences += times


def _rounded(latency_ms: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Two significant digits, as Locust keeps them, but down to microseconds instead of whole milliseconds."""
    magnitude = 10.0 ** (np.floor(np.log10(np.maximum(latency_ms, 1e-3))) - 1)
    rounded: np.ndarray[Any, np.dtype[np.float64]] = np.round(np.round(latency_ms / magnitude) * magnitude, 4)
    return rounded


def _fire_each(
    environment: Any, recorder: HeardRecorder, rows: Rows, cancelled: list[bool], url: str, *, method: str
) -> None:
    """As Locust's own clients do, with `start_time` by the wall clock and an exception that tells status and details."""
    wall = time.time() - time.perf_counter()
    each = zip(
        rows.due.tolist(), rows.done.tolist(), recorder.heard(len(rows.status)), cancelled, strict=True
    )
    for due, done, heard, ours in each:
        if ours:
            continue
        environment.events.request.fire(
            request_type=method,
            name=recorder.name,
            response_time=None if math.isnan(done) else (done - due) * 1e3,
            response_length=heard.length,
            response=None,
            exception=None if heard.failure is None else CallError(*heard.failure, recorder.api.name),
            context={},
            start_time=wall + due,
            url=url,
        )
