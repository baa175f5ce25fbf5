"""The server's own counters, from its Prometheus page.

TensorFlow Serving's names: request_count by model and status, request_latency (from the start of the handler to its
end), runtime_latency (the session's run, waiting for a batch included), batching_session/queuing_latency. Latencies
are of successful calls only, in microseconds there and in seconds here. The page rounds sums to six digits.
"""

import http.client
import math
import re
import urllib.error
from collections.abc import Iterator
from typing import Final

import gevent

from bench import BenchError
from bench.load.observing.telemetry import Values
from bench.wire.direct import read_url

SECONDS: Final = 3.0
"""For one reading before and after a run."""
LARGEST_PAGE: Final = 16 << 20
"""Bytes of a page that is read; TensorFlow Serving's has some 100 kB for each model."""
_PREFIX: Final = ":tensorflow:serving:"
_LINE: Final = re.compile(r"([A-Za-z0-9_:]+)\{(.*)\} (\S+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

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


_STARTED: Final = re.compile(r"^process_start_time_seconds(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
"""What Prometheus' client libraries export; TensorFlow Serving does not, a proxy or exporter beside it may."""


def fetch(url: str, model: str, seconds: float = SECONDS) -> Values:
    """The counters of a model's Predict calls over gRPC, as they stand now.

    `ok` and `failed` requests, `request_`, `runtime_` and `queue_` `seconds` and `count`, `other_count` for calls that
    were answered otherwise (REST, Classify), `batches`; `started`, the instant (Unix time) at which the process began,
    where the page tells it; 0 for what has not been counted yet. Raises BenchError where
    the page cannot be had.
    """
    if not url.startswith(("http://", "https://")):
        raise BenchError(f"--server-metrics {url}: expected a URL that begins with http:// or https://")
    try:
        page = read_url(url, timeout=seconds, largest=LARGEST_PAGE).decode(errors="replace")
        return counters(page, model)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise BenchError(
            f"--server-metrics {url}: no counters there ({reason}); start the server with a REST port and "
            "a monitoring config that enables Prometheus"
        ) from None


def counters(page: str, model: str) -> Values:
    """The same, of a page's text. Raises ValueError for what is no number."""
    values: dict[str, float] = dict.fromkeys(
        ("ok", "failed", "other_count", *_OF_MODEL.values(), *_OF_SERVER.values()), 0.0
    )
    for name, labels, number in _rows(page):
        if name == "request_count" and labels.get("model_name") == model:
            values["ok" if labels.get("status") == "OK" else "failed"] += number
        elif name in _OF_SERVER:
            values[_OF_SERVER[name]] += number
        elif name in _OF_MODEL and _is_predict(labels, model):
            values[_OF_MODEL[name]] += number
        elif name == "request_latency_count" and labels.get("model_name") == model:
            values["other_count"] += number
    told: Values = {
        name: value / 1e6 if name.endswith("_seconds") else value for name, value in values.items()
    }
    started = _STARTED.search(page)
    return told if started is None else told | {"started": float(started[1])}


def _is_predict(labels: dict[str, str], model: str) -> bool:
    """Whether a latency is of a model's Predict calls over gRPC; runtime_latency does not tell REST apart."""
    return (labels.get("model_name"), labels.get("API"), labels.get("entrypoint", "GRPC")) == (
        model,
        "Predict",
        "GRPC",
    )


def _rows(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in page.splitlines():
        if not line.startswith(_PREFIX) or "_bucket{" in line:
            continue
        found = _LINE.fullmatch(line)
        if found is not None:
            number = float(found[3])
            if not math.isfinite(number):
                raise ValueError(f"{found[1]} is {found[3]}")
            yield found[1].removeprefix(_PREFIX), dict(_LABEL.findall(found[2])), number


class CountersProbe:
    """The counters once a second, fetched beside the load: a row shows those that came in the second before."""

    source = "counters"

    def __init__(self, url: str, model: str) -> None:
        self._url, self._model = url, model
        self._newest: Values = {}
        self._fetching: gevent.Greenlet | None = None

    def read(self, seconds: float) -> Values:
        """As `fetch` gives them; nothing while the server has not answered. `seconds` does not matter: they count on."""
        newest, self._newest = self._newest, {}
        if self._fetching is None or self._fetching.ready():
            self._fetching = gevent.spawn(self._fetch)
        return newest

    def close(self) -> None:
        """Wait for nothing more."""
        if self._fetching is not None:
            self._fetching.kill()

    def _fetch(self) -> None:
        try:
            self._newest = fetch(self._url, self._model)
        except BenchError:  # a server that is busy, or gone: the row stays empty
            self._newest = {}
