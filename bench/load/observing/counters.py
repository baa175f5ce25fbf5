"""The server's own counters, from its Prometheus page or by a call; `bench.protocol` knows their names there."""

import http.client
import re
import urllib.error
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from bench import BenchError
from bench.load.observing.telemetry import FetchingProbe, Values
from bench.protocol.api import Api, Model, Refused
from bench.wire.direct import read_url
from bench.wire.transports import NATIVE, open_channel

SECONDS: Final = 3.0
"""For one reading before and after a run."""
LARGEST_COUNTER: Final = 1e18
"""What a run folder holds."""
LARGEST_PAGE: Final = 16 << 20
"""Bytes of a page that is read; TensorFlow Serving's has some 100 kB for each model."""

GRPC: Final = "grpc://"
"""Before the address of a server that is called instead."""
_STARTED: Final = re.compile(r"^process_start_time_seconds(?:\{[^}\n]*+\})? (\S{1,100})$", re.MULTILINE)
"""What Prometheus' client libraries export; TensorFlow Serving does not, a proxy or exporter beside it may."""


def fetch(url: str, model: str, api: Api, seconds: float = SECONDS, **calls: Any) -> Values:
    """The counters of a model's inference calls, as they stand now.

    As `bench.protocol.api.Api.counters` says; and `started`, the instant (Unix time) at which the process began, where
    the page tells it. url: of a page, or `grpc://host:port` of a server that has a call for them; calls: how it is
    called, as of `open_channel`. Raises BenchError where they cannot be had.
    """
    if not url.startswith(("http://", "https://", GRPC)):
        raise BenchError(
            f"--server-metrics {url}: expected a URL that begins with http://, https:// or {GRPC}"
        )
    try:
        if url.startswith(GRPC):
            return _checked(_answered(url.removeprefix(GRPC).rstrip("/"), model, api, seconds, calls))
        page = read_url(url, timeout=seconds, largest=LARGEST_PAGE).decode(errors="replace")
        return counters(page, model, api)
    except (BenchError, urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        # what a server refuses has a remedy of its own, which is for requests
        reason = getattr(error, "reason", None) or error
        raise BenchError(
            f"--server-metrics {url}: no counters there ({reason}); {api.counters_remedy}"
        ) from None


def _answered(address: str, model: str, api: Api, seconds: float, calls: Mapping[str, Any]) -> Values:
    channel = open_channel(NATIVE, address, **calls)

    def ask(method: str, message: bytes) -> bytes:
        reply = channel.call(method, message, seconds)
        if reply.status:
            raise Refused(address, reply.status, reply.details, api.name)
        content: bytes = reply.message
        return content

    try:
        channel.connect(seconds)
        return dict(api.statistics(ask, Model(model)))
    finally:
        channel.close()


def counters(page: str, model: str, api: Api) -> Values:
    """The same, of a page's text. Raises ValueError for what is no number, or none that counts."""
    values: Values = dict(api.counters(page, model))
    started = _STARTED.search(page)
    if started is not None:
        values["started"] = float(started[1])
    return _checked(values)


def _checked(values: Values) -> Values:
    """Raises ValueError for what does not count."""
    for name, value in values.items():
        if value is None or not 0 <= value <= LARGEST_COUNTER:
            raise ValueError(f"{name} is {value}")
    return values


class CountersProbe(FetchingProbe):
    """The counters once a second."""

    def __init__(self, url: str, model: str, api: Api, calls: Mapping[str, Any]) -> None:
        """Arguments as of `fetch`."""
        super().__init__("counters", self._counters)
        self._fetched = partial(fetch, url, model, api, **calls)

    def _counters(self) -> Values:
        try:
            return self._fetched()
        except BenchError:
            return {}
