"""Signs of warnings while a run lasts: what its report will look at over the whole steady part, in each second."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from bench.runs.chunk import KINDS, Chunk
from bench.runs.histogram import Histogram
from bench.runs.sample import CANCELLED_BY_CLIENT
from bench.runs.thresholds import CPU_SHARE, ERROR_SHARE, LAG_P99, LOOP_PAUSE, RUN_DELAY, STEAL

_LAG: Final = KINDS.index("lag")
OBSERVED: Final = (
    ("worker", "run_delay", RUN_DELAY, "client held up"),
    ("worker", "loop_delay", LOOP_PAUSE, "client paused"),
    ("machine", "steal", STEAL, "stolen time"),
)
"""Source, value, from which size on it counts, and the name of the warning."""


class Signs:
    """Counts seconds of load processes, and of the machine, that speak for a warning."""

    def __init__(self, *, open_loop: bool = False) -> None:
        """open_loop: whether requests are to leave at given instants."""
        self._open_loop = open_loop
        self.seconds: Counter[str] = Counter()
        """By the name of the warning."""
        self._cpu: dict[str, tuple[float, float]] = {}
        self._workers = 0

    def add(self, chunk: Chunk) -> None:
        """What a load process recorded in a second."""
        counted = Counter[str]()
        for (key, _), tally in chunk.tallies.items():
            counted[key.outcome] += tally.requests
            counted["mismatched"] += tally.mismatched
        mismatched = counted.pop("mismatched", 0)
        due = counted.total() - counted[CANCELLED_BY_CLIENT]
        self._count("errors", due and (due - counted["OK"]) / due > ERROR_SHARE)
        self._count("wrong answers", mismatched)
        if self._open_loop:
            lag = Histogram.sum([kinds[_LAG] for kinds in chunk.histograms.values()])
            self._count("behind", lag.count and lag.percentile(99) > LAG_P99)

    def observe(self, values: Mapping[str, Any]) -> None:
        """What telemetry observed in a second, when and of which source."""
        source = str(values.get("source"))
        kind = source.partition(" ")[0]
        for of, name, least, warning in OBSERVED:
            if kind == of:
                self._count(warning, (values.get(name) or 0.0) > least)
        if kind == "worker" and values.get("cpu_seconds") is not None:
            now = float(values["time"]), float(values["cpu_seconds"])
            before, self._cpu[source] = self._cpu.get(source), now
            passed, used = np.subtract(now, before or now)
            self._count("client saturated", used > CPU_SHARE * passed)
        if kind == "load":
            workers = int(values.get("workers") or 0)
            self._count("lost worker", workers < self._workers)
            self._workers = max(self._workers, workers)
        self._count("restarted", kind == "server" and values.get("processes") == 0)

    def _count(self, warning: str, seen: object) -> None:
        if seen:
            self.seconds[warning] += 1
