"""Publish the state of a test to programs that drive Locust's web interface (`bench run --master`).

Locust's own routes start and stop a test and tell how it goes. Beside them:

    GET /bench/runs            scenario, options, state and load processes of this Locust; its runs; refused tests
    GET /bench/runs/<name>     the folder of a run that is finished, as a tar archive
    GET /bench/folder          the same of the last run
    GET /bench/report          the page of the last run, for people: see `panel`

Only folders that this process has written since it was started are given away.
"""

import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from locust.runners import MasterRunner

from bench.load.locust_glue import start_form
from bench.load.locust_glue.live import Live, live_options
from bench.load.locust_glue.panel import Panel
from bench.load.observing.server_side import look_beside
from bench.load.options import ScenarioOptions
from bench.load.run_folder import RunFolder

_PIECE: Final = 1 << 20
"""Bytes of an archive that are sent at once."""


@dataclass
class _Published:
    path: Path
    note: str | None
    finished: bool = False


class Published:
    """The runs of this process, in the order in which they began."""

    def __init__(self, environment: Any, runner: Any) -> None:
        self._environment, self._runner = environment, runner
        self._runs: dict[str, _Published] = {}
        self._refused: list[str] = []
        self._panel, self._live = Panel(), Live(environment)

    def offer(self, web: Any) -> None:
        """Add the routes to Locust's web interface, with the login that it asks for."""
        prefix = str(self._environment.parsed_options.web_base_path or "").rstrip("/")
        for path, name, view in (
            ("/bench/runs", "bench_runs", self._overview),
            ("/bench/runs/<name>", "bench_run", self._archive),
            ("/bench/folder", "bench_folder", self._last),
        ):
            web.app.add_url_rule(prefix + path, name, web.auth_required_if_enabled(view))
        self._panel.offer(web, prefix)
        start_form.offer(web, prefix)

    def look(self, options: ScenarioOptions) -> None:
        """Raise BenchError for what cannot be observed or exported, before anything is written."""
        look_beside(options)
        live_options(self._environment.parsed_options)

    def begin(self, folder: RunFolder, note: str | None) -> None:
        """A run has begun to record. Raises BenchError where its metrics cannot be offered."""
        self._live.begin(folder)
        self._runs[folder.path.name] = _Published(folder.path, note)
        if self._environment.web_ui is not None:
            self._panel.begin(folder)

    def stop(self) -> None:
        """Its load has ended."""
        self._panel.stop()

    def finish(self, path: Path, report: dict[str, Any] | None) -> None:
        """Its folder is whole. report: what `bench report --json` says of it."""
        self._runs[path.name].finished = True
        self._live.finish(each["check"] for each in (report or {"doubts": []})["doubts"])
        self._panel.finish(path, report)

    def refuse(self, reason: str) -> None:
        """A test was ended because something has to be mended."""
        self._refused.append(reason)
        self._panel.refuse(reason)

    def _overview(self) -> dict[str, Any]:
        parsed = self._environment.parsed_options
        master = isinstance(self._runner, MasterRunner)
        return {
            "scenario": Path(self._environment.locustfile or "scenario").stem,
            "options": sorted(vars(parsed)),
            "state": self._runner.state,
            # those that have just stopped are not ready yet, and would be left out of the next test
            "workers": len(self._runner.clients.ready) if master else None,
            "runs": [
                {"name": name, "note": run.note, "finished": run.finished} for name, run in self._runs.items()
            ],
            "refused": self._refused,
        }

    def _last(self) -> Any:
        return self._archive(next((name for name, run in reversed(self._runs.items()) if run.finished), ""))

    def _archive(self, name: str) -> Any:
        run = self._runs.get(name)
        if run is None or not run.finished:
            return "no finished run of this name\n", 404, {"Content-Type": "text/plain; charset=utf-8"}
        as_file = f'attachment; filename="{name}.tar"'
        return _pieces(run.path), 200, {"Content-Type": "application/x-tar", "Content-Disposition": as_file}


def _pieces(folder: Path) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(folder, arcname=folder.name)
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece
