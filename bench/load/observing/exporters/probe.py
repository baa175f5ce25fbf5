"""Telemetry of a run from exporters' pages, read by a process of its own, beside the load."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.fileobject import FileObject

from bench import BenchError
from bench.config.telemetry import TelemetryPage
from bench.load.observing.telemetry import Values

START_SECONDS: Final = 60.0
"""For the first readings: a busy machine starts a process slowly, and a page may take its five seconds."""
_MODULE: Final = "bench.load.observing.exporters"


@dataclass
class _Page:
    """The readings of a page so far."""

    page: TelemetryPage
    source: str | None = None
    """Under which name its values are written."""
    newest: Values = field(default_factory=dict)
    read: int = 0
    failed: int = 0
    problem: str | None = None
    """Of the last reading that failed."""
    missing: Counter[str] = field(default_factory=Counter)
    """Values that the first reading had -> readings without them."""
    first: Event = field(default_factory=Event)


class Exporters:
    """A process that reads pages once a second, and what it tells."""

    def __init__(self, pages: Sequence[TelemetryPage]) -> None:
        """Raises BenchError for a page that cannot be read, or tells nothing that is known."""
        self._pages = [_Page(page) for page in pages]
        described = json.dumps([[page.url, page.labels] for page in pages])
        reading, writing = os.pipe()
        # not gevent's own: where nothing is patched, as in tests, that takes the exit codes of all other children
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            # a group of its own: Ctrl-C is for the load, which then ends this
            [sys.executable, "-P", "-m", _MODULE, described],
            stdin=subprocess.PIPE,
            stdout=writing,
            process_group=0,
        )
        os.close(writing)
        self._lines = FileObject(reading, "rb")
        self._following = gevent.spawn(self._follow)
        try:
            self._await_first()
        except BaseException:
            self.close()
            raise

    def probes(self) -> "list[ExporterProbe]":
        """One for each page."""
        return [ExporterProbe(self, page) for page in self._pages]

    def restart(self) -> None:
        """Count the readings of a run that begins now."""
        for page in self._pages:
            page.read = page.failed = 0
            page.problem = None
            page.missing.clear()

    @property
    def alive(self) -> bool:
        """Whether it still reads."""
        return self._process.poll() is None

    def close(self) -> None:
        """Read no more; may be called again."""
        self._following.kill()
        if self.alive:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._lines.close()

    def _await_first(self) -> None:
        sources: Counter[str] = Counter()
        with gevent.Timeout(START_SECONDS, False):
            for page in self._pages:
                page.first.wait()
        for page in self._pages:
            where = f"--server-telemetry {page.page.url}"
            if page.source is None:
                reason = page.problem or f"nothing came within {START_SECONDS:g} s"
                raise BenchError(f"{where}: {reason}")
            sources[page.source] += 1
            # values of several pages stand apart, as those of several load processes do
            page.source += "" if sources[page.source] == 1 else f" {sources[page.source]}"

    def _follow(self) -> None:
        for line in self._lines:
            reading = json.loads(line)
            page = self._pages[reading["page"]]
            page.read += 1
            if "problem" in reading:
                page.failed += 1
                page.problem = reading["problem"]
            else:
                page.source = page.source or reading["source"]
                page.newest = reading["values"]
                page.missing.update(reading["missing"])
            page.first.set()
        for page in self._pages:
            page.first.set()


class ExporterProbe:
    """The newest values of one page."""

    def __init__(self, exporters: Exporters, page: _Page) -> None:
        assert page.source is not None  # noqa: S101 - its first reading has come: for the type checker
        self._exporters, self._page, self.source = exporters, page, page.source

    def read(self, seconds: float) -> Values:
        """As `bench.load.observing.exporters.reading` gives them; nothing while no reading has come since the last call."""
        newest, self._page.newest = self._page.newest, {}
        return newest

    def described(self) -> dict[str, Any]:
        """Where it was read, how often, and what was missing."""
        page = self._page
        return {
            "url": page.page.url,
            "labels": {name: list(patterns) for name, patterns in page.page.labels},
            "source": self.source,
            "read": page.read,
            "failed": page.failed,
            "problem": page.problem,
            "missing": dict(page.missing),
        }

    def close(self) -> None:
        """Let the process end, for all its pages."""
        self._exporters.close()


_waiting: dict[tuple[TelemetryPage, ...], Exporters] = {}


def look(pages: tuple[TelemetryPage, ...]) -> Exporters:
    """A process that reads pages from now on, until a run takes it: it has started before the load begins. Raises BenchError."""
    exporters = _waiting.pop(pages, None)
    if exporters is not None and not exporters.alive:
        exporters.close()
        exporters = None
    _waiting[pages] = exporters or Exporters(pages)
    return _waiting[pages]


def take(pages: tuple[TelemetryPage, ...]) -> Exporters:
    """The same for a run that begins now, which closes it. Raises BenchError."""
    exporters = look(pages)
    del _waiting[pages]
    exporters.restart()
    return exporters
