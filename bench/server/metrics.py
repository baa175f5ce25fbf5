"""Request counts and latencies as TensorFlow Serving's own metrics.

Names, labels and bucket bounds as the original exports them to Prometheus (util/prometheus_exporter.cc). Counting is
cheap where it matters: a batch of answers is one addition and one list extension; numbers are put into buckets
when somebody reads them.
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Final

import numpy as np

from bench.server.refusal import Code, Refusal

_MAX_SERIES: Final = 1000
"""Series of one metric; names that clients invent beyond these share the series of OTHER, models that are served
always have their own."""
OTHER: Final = "OTHER"
_PENDING: Final = 1024
"""Numbers kept before they are put into buckets: a pause of 0.1 ms; 16,384 at once were one of 2 ms."""

Labels = tuple[str, ...]
Tally = Sequence[float]
"""What a series has counted, so that two tallies add up number by number: of a counter its number, of a histogram
its buckets and the sum of what was observed."""
Read = dict[str, dict[Labels, Tally]]
"""By metric, by label values."""


def exponential(start: float, growth: float, count: int) -> tuple[float, ...]:
    """Upper bounds start * growth^k, k = 0..count-1."""
    return tuple(start * growth**power for power in range(count))


Served = Callable[[Labels], bool]
"""Whether label values begin with the name of a model that is served."""


def _nobody(_values: Labels) -> bool:
    return False


class Counter:
    """A number for each combination of label values that only grows."""

    kind: Final = "counter"

    def __init__(self, name: str, labels: Labels = (), served: Served = _nobody) -> None:
        self.name = name
        self.labels = labels
        self._served = served
        self._lock = threading.Lock()
        self._counts: dict[Labels, int] = {}

    def add(self, values: Labels, count: int = 1) -> None:
        """Add to the series of these label values."""
        with self._lock:
            if values not in self._counts and len(self._counts) >= _MAX_SERIES and not self._served(values):
                values = (OTHER, *values[1:])
            self._counts[values] = self._counts.get(values, 0) + count

    @property
    def total(self) -> int:
        """The sum over all series."""
        with self._lock:
            return sum(self._counts.values())

    def read(self) -> dict[Labels, Tally]:
        """The tally of each series."""
        with self._lock:
            return {values: [count] for values, count in self._counts.items()}

    def lines(self, read: Mapping[Labels, Tally]) -> list[str]:
        """Prometheus text of what was read."""
        name = _exported(self.name)
        return [f"{name}{_braces(self.labels, values)} {count}" for values, (count,) in sorted(read.items())]


class Series:
    """The numbers of one combination of label values, in buckets."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self._pending: list[float] = []
        self._buckets = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0

    def extend(self, numbers: Iterable[float]) -> None:
        """Observe numbers, in the unit of the bounds."""
        self._pending.extend(numbers)
        if len(self._pending) >= _PENDING:
            self.read()

    def add(self, number: float) -> None:
        """Observe one number."""
        self._pending.append(number)

    def read(self) -> tuple[np.ndarray, float]:
        """Counts per bucket, the last one for numbers beyond all bounds, and the sum of all numbers."""
        with self._lock:
            count = len(self._pending)
            numbers = np.array(self._pending[:count])
            del self._pending[:count]
            # a number that equals a bound belongs to the next bucket, in TensorFlow
            where = np.searchsorted(self._bounds, numbers, side="right")
            self._buckets += np.bincount(where, minlength=len(self._buckets))
            self._sum += float(numbers.sum())
            return self._buckets.copy(), self._sum


class Sampler:
    """A histogram for each combination of label values."""

    kind: Final = "histogram"

    def __init__(self, name: str, labels: Labels, bounds: Sequence[float], served: Served = _nobody) -> None:
        self.name = name
        self.labels = labels
        self._served = served
        self._bounds = bounds
        self._lock = threading.Lock()
        self._series: dict[Labels, Series] = {}

    def series(self, values: Labels) -> Series:
        """The series of these label values."""
        series = self._series.get(values)
        if series is None:
            with self._lock:
                if (
                    values not in self._series
                    and len(self._series) >= _MAX_SERIES
                    and not self._served(values)
                ):
                    values = (OTHER, *values[1:])
                series = self._series.setdefault(values, Series(self._bounds))
        return series

    def read(self) -> dict[Labels, Tally]:
        """The tally of each series."""
        with self._lock:
            all_series = list(self._series.items())
        read: dict[Labels, Tally] = {}
        for values, series in all_series:
            buckets, total = series.read()
            read[values] = [*buckets.tolist(), total]
        return read

    def lines(self, read: Mapping[Labels, Tally]) -> list[str]:
        """Prometheus text of what was read."""
        name = _exported(self.name)
        lines = []
        for values, (*buckets, total) in sorted(read.items()):
            below = np.cumsum(buckets)
            bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
            for bound, count in zip(bounds, below, strict=True):
                lines.append(f"{name}_bucket{_braces((*self.labels, 'le'), (*values, bound))} {count}")
            lines.append(f"{name}_sum{_braces(self.labels, values)} {total:g}")
            lines.append(f"{name}_count{_braces(self.labels, values)} {below[-1]}")
        return lines


_LATENCY: Final = exponential(10, 1.8, 33)


class Metrics:
    """The metrics of one server process. Times are microseconds."""

    def __init__(self) -> None:
        self.serves: Callable[[str], bool] = lambda _name: False
        """Whether a name is that of a model of this server; for whoever knows to set."""

        def served(values: Labels) -> bool:
            return self.serves(values[0])

        serving = "/tensorflow/serving"
        batching = f"{serving}/batching_session"
        self.request_count = Counter(f"{serving}/request_count", ("model_name", "status"), served)
        self.request_latency = Sampler(
            f"{serving}/request_latency", ("model_name", "API", "entrypoint"), _LATENCY, served
        )
        self.runtime_latency = Sampler(
            f"{serving}/runtime_latency", ("model_name", "API", "runtime"), _LATENCY, served
        )
        self.graph_runs = Counter("/tensorflow/core/graph_runs")
        self.example_counts = Sampler(
            f"{serving}/request_example_counts", ("model",), exponential(1, 2, 15), served
        )
        self.example_count_total = Counter(f"{serving}/request_example_count_total", ("model",), served)
        self.warmup_latency = Sampler(f"{serving}/model_warmup_latency", ("model_path", "status"), _LATENCY)
        self.warmup_records = Counter(f"{serving}/model_warmup_records_read", ("model_path", "status"))
        self.queuing_latency = Sampler(
            f"{batching}/queuing_latency", ("thread_pool_name",), exponential(100, 1.2, 52)
        )
        self.batches = Counter(f"{batching}/wrapped_run_count")
        self.input_batch_size = Sampler(f"{batching}/input_batch_size", (), exponential(1, 2, 14))
        self.processed_batch_size = Sampler(f"{batching}/processed_batch_size", (), exponential(1, 2, 14))
        self.padding_size = Sampler(
            f"{batching}/padding_size", ("execution_batch_size",), exponential(1, 2, 14)
        )

    @contextlib.contextmanager
    def counted(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Count a request and its outcome, and how long the block took where it succeeded."""
        started = perf_counter()
        try:
            yield
        except Refusal as refusal:
            self.request_count.add((model, refusal.code.name))
            raise
        except Exception:
            self.request_count.add((model, Code.INTERNAL.name))
            raise
        self.request_count.add((model, "OK"))
        self.request_latency.series((model, api, entrypoint)).add((perf_counter() - started) * 1e6)

    def every(self) -> list[Counter | Sampler]:
        """All metrics, by name."""
        metrics = (each for each in vars(self).values() if isinstance(each, Counter | Sampler))
        return sorted(metrics, key=lambda metric: metric.name)

    def total(self, name: str) -> int:
        """The sum over all series of a counter by its name, 0 for a name that is none."""
        return next((m.total for m in self.every() if m.name == name and isinstance(m, Counter)), 0)

    def read(self) -> Read:
        """The tallies of all metrics."""
        return {metric.name: metric.read() for metric in self.every()}

    def page(self, read: Read | None = None) -> str:
        """Prometheus text format; a metric without samples shows its TYPE line only.

        `read`: what is shown; None: the tallies of this process.
        """
        read = self.read() if read is None else read
        lines = []
        for metric in self.every():
            lines += [
                f"# TYPE {_exported(metric.name)} {metric.kind}",
                *metric.lines(read.get(metric.name, {})),
            ]
        return "\n".join(lines) + "\n"


def summed(several: Iterable[Read]) -> Read:
    """The sums of what was read in several processes."""
    total: Read = {}
    for read in several:
        for name, series in read.items():
            sums = total.setdefault(name, {})
            for values, tally in series.items():
                before = sums.get(values)
                sums[values] = (
                    tally if before is None else [a + b for a, b in zip(before, tally, strict=True)]
                )
    return total


def encoded(read: Read) -> bytes:
    """What was read, as bytes for another process."""
    rows = {
        name: [[list(values), tally] for values, tally in series.items()] for name, series in read.items()
    }
    return json.dumps(rows).encode()


def decoded(text: bytes) -> Read:
    """What `encoded` has made bytes of."""
    rows = json.loads(text)
    return {name: {tuple(values): tally for values, tally in series} for name, series in rows.items()}


def _exported(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", ":", name)


def _braces(labels: Labels, values: Labels) -> str:
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for value in values)
    return "{" + ",".join(f'{label}="{value}"' for label, value in zip(labels, escaped, strict=True)) + "}"
