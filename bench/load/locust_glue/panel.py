"""A tab of Locust's web interface: what the run measures, its verdict, its report and its folder.

Locust shows whole milliseconds, and warnings in its log only. Its documented ways to extend the interface are used: tabs and
tables in the arguments of its page, rows in the answer that the page asks for every two seconds, links on its Download tab.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import gevent
from flask import Response, request

from bench.load.progress import Progress
from bench.load.run_folder import RunFolder
from bench.load.verdict import READ_SECONDS, measured
from bench.runs.thresholds import LAG_P99
from bench.wording import duration

KEY: Final = "bench"
TITLE: Final = "Measured"
_COLUMNS: Final = {"what": "", "now": "Last 2 s", "run": "This run"}
_LINKS: Final = {"bench/report": "Report of the last run", "bench/folder": "Folder of the last run (tar)"}
_POLLED: Final = "/stats/requests"
_SECONDS: Final = 2.0
_RUNNING: Final = "running"
Row = dict[str, str]


class Panel:
    """Rows about the run that lasts, then about the one that was the last."""

    def __init__(self) -> None:
        self._now, self._run = Progress(), Progress()
        self._rows: list[Row] = []
        self._following: Any = None
        self._checked_by = 0.0
        """While the run has ended and its verdict is not there yet: until when it is waited for."""
        self._last: Path | None = None
        """The last run whose folder is whole."""
        self._page: tuple[Path, str] | None = None
        """A run and its page."""

    def offer(self, web: Any, prefix: str) -> None:
        """Add tab, table and links to Locust's page."""
        structure = [{"key": key, "title": title} for key, title in _COLUMNS.items()]
        web.template_args |= {
            "extended_tabs": [{"title": TITLE, "key": KEY}],
            "extended_tables": [{"key": KEY, "structure": structure}],
            "extended_csv_files": [
                {"href": f"{prefix}/{path}", "title": title} for path, title in _LINKS.items()
            ],
        }
        web.app.add_url_rule(
            f"{prefix}/bench/report", "bench_report", web.auth_required_if_enabled(self._report)
        )
        web.app.after_request(self._extended)

    def begin(self, folder: RunFolder) -> None:
        """Follow a run that is recorded into the folder."""
        self._now, self._run = Progress(), Progress()
        self._rows, self._checked_by = [_row("state", "starting")], 0.0

        def add(chunk: Any) -> None:
            self._now.add(chunk)
            self._run.add(chunk)

        folder.listeners.append(add)
        self._following = gevent.spawn(self._follow)

    def stop(self) -> None:
        """No more requests will come; the run is being written."""
        following, self._following = self._following, None
        if following is not None:
            following.kill()
            self._look("checking")
            self._checked_by = time.monotonic() + READ_SECONDS

    def finish(self, path: Path, report: dict[str, Any] | None) -> None:
        """The folder is whole. report: what `bench report --json` says of it."""
        self._last, self._checked_by = path, 0.0
        state = _row("finished", run=f"{path.name} (report and folder: see Download Data)")
        if report is None:
            self._rows = [state, *self._rows[1:]]
            return
        rows = [state]
        for line in report["lines"]:
            version = "" if line["version"] is None else f", version {line['version']}"
            rows.append(
                _row(f"{line['name']}{version}, batch {line['batch']}", run=f"{line['requests']:,} requests")
            )
            # a browser shows two blanks as one
            rows += [_row(name, run=text.replace("  ", " · ")) for name, text in measured(line)]
        rows += [
            _warning(f"{doubt['reason']}; {doubt['remedy']}", doubt["check"]) for doubt in report["doubts"]
        ]
        if not report["doubts"]:
            rows.append(_row("warnings", run="none"))
        self._rows = rows

    def refuse(self, reason: str) -> None:
        """A test was ended because something has to be mended."""
        self._rows = [_row("state", "refused"), _warning(reason)]

    def _follow(self) -> None:
        while True:
            gevent.sleep(_SECONDS)
            self._look(_RUNNING)
            self._now.restart()

    def _look(self, state: str) -> None:
        now, run = self._now, self._run
        rows = [_row("state", state), _row("throughput", now.throughput, run.throughput)]
        for q in (50.0, 99.0):
            rows.append(
                _row(f"latency p{q:g}", now.latency(q) or "no answers", run.latency(q) or "no answers")
            )
        if run.late:  # nothing is late in a closed loop
            rows.append(_row("send delay p99", duration(now.late), duration(run.late)))
        rows.append(_row("errors", now.errors, run.errors))
        if now.late > LAG_P99:
            rows.append(
                _warning(
                    f"sent late: send delay {duration(now.late)} at p99; leave a core to the load process"
                )
            )
        self._rows = rows

    def _extended(self, answer: Response) -> Response:
        if not request.path.endswith(_POLLED) or answer.status_code != 200:
            return answer
        content = answer.get_json(silent=True)
        if isinstance(content, dict):
            content["extended_stats"] = [{"key": KEY, "data": self._rows}]
            if time.monotonic() < self._checked_by:
                content["state"] = (
                    _RUNNING  # the page asks no more once it has stopped, and would miss the verdict
                )
            answer.set_data(json.dumps(content))
        return answer

    def _report(self) -> Any:
        """The page of the last run; made when it is first asked for, by a process of its own."""
        if self._last is None:
            return _plain_text("no finished run yet", 404)
        if self._following is not None:
            return _plain_text(
                "a run is in progress, which making the page would disturb; try again after its end", 409
            )
        if self._page is None or self._page[0] != self._last:
            with tempfile.TemporaryDirectory(prefix="serving-bench-") as place:
                page = Path(place) / "report.html"
                command = [sys.executable, "-m", "bench", "report", str(self._last), "--html", str(page)]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=READ_SECONDS
                )
                if not page.is_file():
                    return _plain_text(done.stderr.strip(), 500)
                self._page = (self._last, page.read_text())
        return self._page[1], 200, {"Content-Type": "text/html; charset=utf-8"}


def _plain_text(text: str, status: int) -> Any:
    return f"{text}\n", status, {"Content-Type": "text/plain; charset=utf-8"}


def _row(name: str, now: str = "", run: str = "") -> Row:
    return {"what": name, "now": now, "run": run}


def _warning(text: str, check: str = "") -> Row:
    return _row(f"warning{f' [{check}]' if check else ''}", run=text)
