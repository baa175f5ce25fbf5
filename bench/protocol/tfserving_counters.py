"""The counters of TensorFlow Serving on its Prometheus page.

Its names: request_count by model and status, request_latency (from the start of the handler to its end),
runtime_latency (the session's run, waiting for a batch included), batching_session/queuing_latency. Latencies are of
successful calls only, in microseconds there and in seconds here. The page rounds sums to six digits.
"""

import math
import re
from collections.abc import Iterator
from typing import Final

REMEDY: Final = "start the server with a REST port and a monitoring config that enables Prometheus"
"""Where there are no counters."""
_PREFIX: Final = ":tensorflow:serving:"
_LONGEST_LINE: Final = 65_536
_LINE: Final = re.compile(r"([A-Za-z0-9_:]+)\{(.*)\} (\S{1,100})")
_LABEL: Final = re.compile(r'\s*+(\w++)="((?:[^"\\]|\\.)*+)"\s*+,?')
"""One after the other, without looking back: a page may be anybody's, and has 16 MB."""

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


def counters(page: str, model: str, entrypoint: str = "GRPC") -> dict[str, float]:
    """Of a model's Predict calls over gRPC or REST, in the text of a page; `other_count` are those that came otherwise.

    Raises ValueError for what is no number.
    """
    values: dict[str, float] = dict.fromkeys(
        ("ok", "failed", "other_count", *_OF_MODEL.values(), *_OF_SERVER.values()), 0.0
    )
    for name, labels, number in _rows(page):
        if name == "request_count" and labels.get("model_name") == model:
            values["ok" if labels.get("status") == "OK" else "failed"] += number
        elif name in _OF_SERVER:
            values[_OF_SERVER[name]] += number
        elif name in _OF_MODEL and _is_predict(labels, model, entrypoint):
            values[_OF_MODEL[name]] += number
        elif name == "request_latency_count" and labels.get("model_name") == model:
            values["other_count"] += number
    return {name: value / 1e6 if name.endswith("_seconds") else value for name, value in values.items()}


def _is_predict(labels: dict[str, str], model: str, entrypoint: str) -> bool:
    """Whether a latency is of a model's Predict calls; runtime_latency does not tell gRPC and REST apart."""
    call = labels.get("model_name"), labels.get("API", "").lower(), labels.get("entrypoint", entrypoint)
    return call == (model, "predict", entrypoint)


def _rows(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in page.splitlines():
        if not line.startswith(_PREFIX) or "_bucket{" in line or len(line) > _LONGEST_LINE:
            continue
        match = _LINE.fullmatch(line)
        if match is not None:
            number = float(match[3])
            if not math.isfinite(number):
                raise ValueError(f"{match[1]} is {match[3]}")
            yield match[1].removeprefix(_PREFIX), dict(_labels(match[2])), number


def _labels(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while (label := _LABEL.match(text, at)) is not None:
        yield label[1], label[2]
        at = label.end()
