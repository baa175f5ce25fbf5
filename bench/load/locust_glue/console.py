"""Console of a headless run: a line every two seconds, in place of Locust's tables of whole milliseconds."""

import logging
import time
from typing import Any, Final

import gevent
import numpy as np
from locust import stats

from bench.load.run_folder import RunFolder
from bench.load.verdict import failures
from bench.runs.chunk import KINDS, Chunk
from bench.runs.histogram import highest_ns, nearest_rank
from bench.runs.sample import CANCELLED_BY_CLIENT
from bench.wording import counted, duration

log = logging.getLogger("bench")

_LATENCY: Final = KINDS.index("latency")
_TABLES: Final = "locust.stats_logger"


class _Silent(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return False


class Progress:
    """Requests that ended since the last line."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._since = time.perf_counter()

    def add(self, chunk: Chunk) -> None:
        """Take in what a load process sent."""
        self._chunks.append(chunk)

    def line(self) -> str:
        """Rate, latency and failures since the last line; percentiles are over all requests, as in a report."""
        now, chunks = time.perf_counter(), self._chunks
        seconds, self._since, self._chunks = now - self._since, now, []
        outcomes: dict[str, int] = {}
        buckets: list[Any] = []
        for chunk in chunks:
            for (key, _), tally in chunk.tallies.items():
                outcomes[key.outcome] = outcomes.get(key.outcome, 0) + tally.requests
            buckets += [
                kinds[_LATENCY] for (key, _), kinds in chunk.histograms.items() if key.outcome == "OK"
            ]
        parts = [f"{outcomes.get('OK', 0) / seconds:,.0f} req/s"]
        due = sum(count for outcome, count in outcomes.items() if outcome != CANCELLED_BY_CLIENT)
        if buckets:
            indices = np.concatenate([each.indices for each in buckets])
            counts = np.concatenate([each.counts for each in buckets])
            order = np.argsort(indices, kind="stable")
            ranks = np.cumsum(counts[order])
            for q in (50.0, 99.0):
                at = int(np.searchsorted(ranks, nearest_rank(q, due)))
                text = (
                    "not reached"
                    if at >= len(order)
                    else duration(highest_ns(indices[order[at]]).item() / 1e9)
                )
                parts.append(f"p{q:g} {text}")
        return "  ".join([*parts, f"errors {failures(outcomes)}"])


class Console:
    """Prints a line at Locust's interval while a headless run lasts, where Locust would print its tables."""

    def __init__(self, environment: Any, runner: Any) -> None:
        self._environment, self._runner = environment, runner
        self._printing: Any = None
        if self.replaces_tables:
            logging.getLogger(_TABLES).addFilter(_Silent())

    @property
    def replaces_tables(self) -> bool:
        """Whether the run is headless and of our users alone; --print-stats keeps Locust's tables."""
        parsed = self._environment.parsed_options
        ours = all(hasattr(user, "payload") for user in self._environment.user_classes)
        return bool(parsed.headless and ours and not getattr(parsed, "print_stats", False))

    def begin(self, folder: RunFolder) -> None:
        """Follow a run that is recorded into the folder."""
        if self.replaces_tables and not self._environment.parsed_options.only_summary:
            progress = Progress()
            folder.heard = progress.add
            self._printing = gevent.spawn(self._print, progress)

    def stop(self) -> None:
        """Print no more."""
        printing, self._printing = self._printing, None
        if printing is not None:
            printing.kill()

    def _print(self, progress: Progress) -> None:
        begun = time.perf_counter()
        while True:
            gevent.sleep(stats.CONSOLE_STATS_INTERVAL_SEC)
            log.info(
                "%4.0f s  %s  %s",
                time.perf_counter() - begun,
                counted(self._runner.user_count, "user"),
                progress.line(),
            )
