"""Console of a headless run: a line every two seconds, in place of Locust's tables of whole milliseconds."""

import logging
import time
from typing import Any, Final

import gevent
from locust import stats

from bench.load.progress import Progress
from bench.load.run_folder import RunFolder
from bench.wording import counted

log = logging.getLogger("bench")

_TABLES: Final = "locust.stats_logger"


class _Silent(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return False


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
            folder.listeners.append(progress.add)
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
