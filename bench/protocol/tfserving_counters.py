"""The counters of TensorFlow Serving on its Prometheus page.

Its names: request_count by model and status, request_latency (from the start of the handler to its end),
runtime_latency (the session's run, waiting for a batch included), batching_session/queuing_latency. Latencies are of
successful calls only, in microseconds there and in seconds here. The page rounds sums to six digits.
"""

from typing import Final

from bench.protocol.prometheus import rows

REMEDY: Final = "start the server with a REST port and a monitoring config that enables Prometheus"
"""Where there are no counters."""
PREFIX: Final = ":tensorflow:serving:"
"""Of their names."""

_OF_MODEL: Final = {
    "request_latency_sum": "request_seconds",
    "request_latency_count": "request_count",
    "runtime_latency_sum": "runtime_seconds",
    "runtime_latency_count": "runtime_count",
}
_OF_SERVER: Final = {
    "batching_session:queuing_latency_sum": "queue_seconds",
    "batching_session:queuing_latency_count": "queue_count",
    "batching_session:wrapped_run_count": "batches",
}


def counters(page: str, model: str, entrypoint: str = "GRPC", api: str = "Predict") -> dict[str, float]:
    """Of a model's calls by one API over gRPC or REST, in the text of a page; `other_count` are those that came otherwise.

    Raises ValueError for what is no number.
    """
    values: dict[str, float] = dict.fromkeys(
        ("ok", "failed", "other_count", *_OF_MODEL.values(), *_OF_SERVER.values()), 0.0
    )
    ours = model, api.lower(), entrypoint
    for name, labels, number in rows(page, PREFIX):
        if name == "request_count" and labels.get("model_name") == model:
            values["ok" if labels.get("status") == "OK" else "failed"] += number
        elif name in _OF_SERVER:
            values[_OF_SERVER[name]] += number
        elif name in _OF_MODEL and _call(labels, entrypoint) == ours:
            values[_OF_MODEL[name]] += number
        elif name == "request_latency_count" and labels.get("model_name") == model:
            values["other_count"] += number
    return {name: value / 1e6 if name.endswith("_seconds") else value for name, value in values.items()}


def _call(labels: dict[str, str], entrypoint: str) -> tuple[str | None, str, str]:
    """Of which model, API and entrypoint a latency is; runtime_latency does not tell gRPC and REST apart."""
    return labels.get("model_name"), labels.get("API", "").lower(), labels.get("entrypoint", entrypoint)
