"""A run's metrics while it lasts: pushed to an OpenTelemetry collector, or offered to Prometheus.

Both export totals of our own histograms once in a while; nothing is called for a request, as Locust's `--otel` does.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import gevent
from gevent.pywsgi import WSGIServer

from bench import BenchError, __version__, extras
from bench.load.observing.totals import BOUNDS, GAUGES, GOODPUT, LAG, LATENCY, Totals
from bench.load.run_folder import RunFolder
from bench.wire.dial import Address

log = logging.getLogger("bench")

EVERY_SECONDS: Final = 5.0
EXPORT_SECONDS: Final = 5.0
"""For one export; what it cannot bring away by then is in the next one, since totals only grow."""
DESCRIPTIONS: Final = {
    "requests": "requests that ended, by outcome",
    "mismatched": "requests answered OK, yet not by the model, version or shape that was meant",
    LATENCY: "from the instant at which a request was due to its answer",
    LAG: "from the instant at which a request was due to when it was sent",
    GOODPUT: "latency of the requests that were answered rightly",
    "warning_signs": "seconds of load processes that speak for a warning",
    "warnings": "warnings in the report of the run, once it has ended",
}
NAMES: Final = {LATENCY: "latency", LAG: "send_delay", GOODPUT: "goodput"}


class Live:
    """Follows the runs of this process, where the options name a collector or a port."""

    def __init__(self, environment: Any) -> None:
        self._parsed = environment.parsed_options
        self._totals, self._attributes = Totals(), dict[str, str]()
        self._pushing: gevent.Greenlet | None = None
        self._exporter: Any = None
        self._server: WSGIServer | None = None

    def begin(self, folder: RunFolder) -> None:
        """Follow a run that is recorded into the folder. Raises BenchError where the port is taken."""
        otlp, prometheus = live_options(self._parsed)
        if not otlp and not prometheus:
            return
        self._totals = totals = Totals(open_loop=folder.manifest["load"]["kind"] != "closed")
        folder.listeners.append(totals.add)
        folder.observers.append(totals.observe)
        self._attributes = {
            "service.name": "serving-bench",
            "service.version": __version__,
            "run": folder.path.name,
        }
        if otlp:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

            self._exporter = OTLPMetricExporter(endpoint=otlp, timeout=EXPORT_SECONDS)
            self._pushing = gevent.spawn(self._push_regularly)
        if prometheus and self._server is None:
            self._server = _serve(prometheus, lambda: self._totals)

    def finish(self, warnings: Iterable[str]) -> None:
        """The run is whole: export it as it is now. warnings: names of those in its report."""
        self._totals.warnings = list(warnings)
        pushing, self._pushing = self._pushing, None
        if pushing is not None:
            pushing.kill()
            self._push()
            self._exporter.shutdown()

    def _push_regularly(self) -> None:
        while True:
            gevent.sleep(EVERY_SECONDS)
            self._push()

    def _push(self) -> None:
        self._exporter.export(as_otlp(self._totals, self._attributes))


class Endpoints(NamedTuple):
    """The destinations of metrics."""

    otlp: str
    """URL of a collector, such as http://localhost:4318/v1/metrics; empty: none."""
    prometheus: Address | None


def live_options(parsed: Any) -> Endpoints:
    """`--otlp` and `--prometheus`. Raises BenchError for what is none, or needs a package that is not installed."""
    otlp, text = str(parsed.otlp or "").strip(), str(parsed.prometheus or "").strip()
    if otlp:
        extras.need("opentelemetry.exporter.otlp.proto.http", f"--otlp {otlp}")
        if not otlp.startswith(("http://", "https://")):
            raise BenchError(f"--otlp {otlp}: expected a URL such as http://localhost:4318/v1/metrics")
    if text:
        extras.need("prometheus_client", f"--prometheus {text}")
    return Endpoints(otlp, Address.parse(text) if text else None)


def as_otlp(totals: Totals, attributes: dict[str, str]) -> Any:
    """Totals as the SDK's MetricsData."""
    from opentelemetry.sdk.metrics import export as sdk
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    begun, now = totals.started, time.time_ns()
    cumulative = sdk.AggregationTemporality.CUMULATIVE

    def numbers(rows: Any) -> list[Any]:
        return [sdk.NumberDataPoint(labels, begun, now, value) for labels, value in rows]

    def sums(name: str, unit: str, rows: Any) -> Any:
        return sdk.Metric(
            f"serving_bench.{name}", DESCRIPTIONS[name], unit, sdk.Sum(numbers(rows), cumulative, True)
        )

    def gauge(name: str, text: str, rows: Any) -> Any:
        return sdk.Metric(f"serving_bench.{name}", text, "{count}", sdk.Gauge(numbers(rows)))

    def histogram(kind: str) -> Any:
        points = [
            sdk.HistogramDataPoint(
                series._asdict(), begun, now, each.total, each.sum, each.counts, BOUNDS, each.least, each.most
            )
            for series, each in totals.durations(kind)
        ]
        return sdk.Metric(
            f"serving_bench.{NAMES[kind]}", DESCRIPTIONS[kind], "s", sdk.Histogram(points, cumulative)
        )

    counted = {"requests": totals.requests, "mismatched": totals.mismatched}
    metrics = [
        *(
            sums(name, "{request}", ((series._asdict(), value) for series, value in counts.items()))
            for name, counts in counted.items()
        ),
        *map(histogram, NAMES),
        sums("warning_signs", "s", _by_warning(totals.signs.seconds)),
        gauge("warnings", DESCRIPTIONS["warnings"], _by_warning(dict.fromkeys(totals.warnings, 1))),
    ]
    for name, text in GAUGES.items():
        rows = [({"source": source}, value) for (of, source), value in totals.gauges.items() if of == name]
        metrics.append(gauge(name, text, rows))
    scope = sdk.ScopeMetrics(InstrumentationScope("serving_bench", __version__), metrics, "")
    return sdk.MetricsData([sdk.ResourceMetrics(Resource(attributes), [scope], "")])


def _by_warning(counts: Mapping[str, int]) -> Iterator[tuple[dict[str, str], int]]:
    return (({"warning": name}, count) for name, count in counts.items())


def _serve(address: Address, totals: Any) -> WSGIServer:
    from prometheus_client import CollectorRegistry, make_wsgi_app

    class Collector:
        def collect(self) -> Iterator[Any]:
            yield from as_prometheus(totals())

    registry = CollectorRegistry()
    registry.register(Collector())
    server = WSGIServer((address.host, address.port), make_wsgi_app(registry), log=None)
    try:
        server.start()
    except OSError as error:
        raise BenchError(f"--prometheus {address.text}: {error.strerror}; name a port that is free") from None
    log.info("metrics for Prometheus: http://%s/metrics", address.text)
    return server


def as_prometheus(totals: Totals) -> Iterator[Any]:
    """Totals as metric families of Prometheus' client library."""
    from prometheus_client import core

    for name, counts in (("requests", totals.requests), ("mismatched", totals.mismatched)):
        family = core.CounterMetricFamily(
            f"serving_bench_{name}", DESCRIPTIONS[name], labels=["request", "outcome"]
        )
        for series, value in counts.items():
            family.add_metric(list(series), value)
        yield family
    for kind in NAMES:
        histogram = core.HistogramMetricFamily(
            f"serving_bench_{NAMES[kind]}_seconds", DESCRIPTIONS[kind], labels=["request", "outcome"]
        )
        for series, each in totals.durations(kind):
            until = 0
            rows = []
            for bound, count in zip([*map(str, BOUNDS), "+Inf"], each.counts, strict=True):
                until += count
                rows.append((bound, until))
            histogram.add_metric(list(series), rows, each.sum)
        yield histogram
    signs = core.CounterMetricFamily(
        "serving_bench_warning_signs_seconds", DESCRIPTIONS["warning_signs"], labels=["warning"]
    )
    for warning, count in totals.signs.seconds.items():
        signs.add_metric([warning], count)
    warnings = core.GaugeMetricFamily("serving_bench_warnings", DESCRIPTIONS["warnings"], labels=["warning"])
    for warning in totals.warnings:
        warnings.add_metric([warning], 1)
    yield from (signs, warnings)
    for name, text in GAUGES.items():
        gauge = core.GaugeMetricFamily(f"serving_bench_{name}", text, labels=["source"])
        for (of, source), newest in totals.gauges.items():
            if of == name:
                gauge.add_metric([source], newest)
        yield gauge
