"""Console of a run: a line every two seconds, in place of Locust's tables of whole milliseconds, and the summary at the end."""

import logging
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable
from typing import Any, Final

import gevent
from locust import stats

from bench.load.progress import Progress
from bench.load.run_folder import RunFolder
from bench.load.verdict import Entry
from bench.wording import counted

log = logging.getLogger("bench")

_TABLES: Final = "locust.stats_logger"
"""Locust's logger for its tables: without the prefix of 45 characters that its log lines have."""
_OURS: Final = "bench_line"
TITLE: Final = 14
"""Columns of the title of a line, with the blanks after it."""


class _OursAlone(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return hasattr(record, _OURS)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of a text, broken between words; of values with two blanks between them, between these only."""
    parts = text.split("  ")
    if len(parts) == 1:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [text]
    lines = parts[:1]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return lines


def show(entry: Entry) -> None:
    """Print a line as Locust prints its tables, without a prefix; in a terminal its text is wrapped beside its title.

    Where Locust logs into a file, it is logged too.
    """
    title = entry.title.ljust(TITLE) if entry.text else entry.title
    lines = [entry.text]
    if not entry.whole and (os.environ.get("COLUMNS") or sys.stderr.isatty()):
        width = max(1, shutil.get_terminal_size().columns - len(title))
        lines = _wrapped(entry.text, width)
    for at, line in enumerate(lines):
        text = f"{title if at == 0 else ' ' * len(title)}{line}"
        logging.getLogger(_TABLES).log(entry.level, "%s", text, extra={_OURS: True})
    if any(isinstance(handler, logging.FileHandler) for handler in log.handlers + logging.root.handlers):
        log.log(entry.level, "%s", f"{title}{entry.text}")


def show_summary(entries: Iterable[Entry]) -> None:
    """Print what a run has measured below an empty line."""
    for entry in [Entry(logging.INFO, ""), *entries]:
        show(entry)


class Console:
    """Prints a line at Locust's interval while a headless run lasts, where Locust would print its tables."""

    def __init__(self, environment: Any, runner: Any) -> None:
        self._environment, self._runner = environment, runner
        self._printing: Any = None
        if self.replaces_tables:
            logging.getLogger(_TABLES).addFilter(_OursAlone())

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
            seconds, users = time.perf_counter() - begun, counted(self._runner.user_count, "user")
            show(Entry(logging.INFO, f"{seconds:4.0f} s  {users}  {progress.line()}"))
