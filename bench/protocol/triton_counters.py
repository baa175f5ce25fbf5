"""The counters of Triton, on its Prometheus page and by the statistics extension of the Open Inference Protocol.

Both count requests and the time that they took, in all and in their parts: waiting in the queue, preparing inputs,
running the model, reading outputs. A request that was run with others has the time of all of them. What the model's run
is to TensorFlow Serving, with copies to the device and back, is the last three together; a request that a cache
answered has none. The page has microseconds, the extension nanoseconds. Requests over HTTP and gRPC are counted alike.
"""

from typing import Any, Final

from bench.protocol.prometheus import rows

REMEDY: Final = (
    "counters are known of Triton, at http://HOST:8002/metrics, or grpc://HOST:8001 for its ModelStatistics, and of the "
    "embedded server; leave --server-metrics out for others"
)
"""Where there are no counters."""
_PREFIX: Final = "nv_inference_"
_RUN: Final = ("queue", "compute_input", "compute_infer", "compute_output")
"""What a request waits for and is computed in, one after the other."""
_COUNTS: Final = {"request_success": "ok", "request_failure": "failed", "exec_count": "batches"}


def counters(page: str, model: str) -> dict[str, float]:
    """As `bench.protocol.api.Api.counters`, of all versions together.

    Raises ValueError where the page lacks the model, or its latencies, and for what is no number.
    """
    sums: dict[str, float] = {}
    for row in rows(page, _PREFIX):
        if row.labels.get("model") == model:
            sums[row.name] = sums.get(row.name, 0.0) + row.number
    for name in ("request_success", "request_duration_us"):
        if name not in sums:
            raise ValueError(f"no {_PREFIX}{name} of model {model} on the page")
    counts = {ours: sums.get(name, 0.0) for name, ours in _COUNTS.items()}
    times = {name: sums.get(f"{name}_duration_us", 0.0) / 1e6 for name in ("request", *_RUN)}
    return _differences(counts, times)


def of_statistics(response: Any, model: str) -> dict[str, float]:
    """The same of a ModelStatisticsResponse. Raises ValueError where it lacks the model."""
    versions = [each for each in response.model_stats if each.name == model]
    if not versions:
        raise ValueError(f"its statistics lack model {model}")
    each_stats = [each.inference_stats for each in versions]
    counts = {
        "ok": float(sum(stats.success.count for stats in each_stats)),
        "failed": float(sum(stats.fail.count for stats in each_stats)),
        "batches": float(sum(each.execution_count for each in versions)),
    }
    times = {name: sum(getattr(stats, name).ns for stats in each_stats) / 1e9 for name in _RUN}
    times["request"] = sum(stats.success.ns for stats in each_stats) / 1e9
    return _differences(counts, times)


def _differences(counts: dict[str, float], times: dict[str, float]) -> dict[str, float]:
    """times: seconds of all requests that were answered; each of them is counted in each part."""
    ok = counts["ok"]
    return {
        **counts,
        "other_count": 0.0,
        "request_seconds": times["request"],
        "request_count": ok,
        "runtime_seconds": sum(times[name] for name in _RUN),
        "runtime_count": ok,
        "queue_seconds": times["queue"],
        "queue_count": ok,
    }
