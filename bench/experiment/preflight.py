"""Preflight of an experiment: cells that would measure nothing, or something else than planned.

One Locust process loads the scenario, makes the payload of each cell and holds it against the cell and, where a server
runs, against the server, as each trial does before its load.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.experiment.order import cell_options, server_options
from bench.experiment.plan import Condition, PlannedTrial
from bench.experiment.study import Study
from bench.experiment.trial import arguments_of
from bench.launch.running import Running

_SECONDS: Final = 120.0
"""For all cells together; the trials say themselves what could not be said in this time."""


def refused(study: Study, trials: Sequence[PlannedTrial], server: Running | None) -> dict[Condition, str]:
    """The cells that cannot be measured, with the reason; server: None for the scenario's payloads alone.

    Raises BenchError where Locust does not come so far, as with a scenario that cannot be loaded.
    """
    by_cell = {trial.cell: trial for trial in trials}
    with tempfile.TemporaryDirectory(prefix="serving-bench-") as folder:
        cells = Path(folder) / "cells.json"
        cells.write_text(json.dumps([cell_options(study, trial) for trial in by_cell.values()]))
        command = [sys.executable, "-m", "locust", "-f", str(study.scenario), "--headless"]
        command += ["--preflight", str(cells), "--results", folder]
        if server is not None:
            command += ["--host", server.address]
            for name, value in server_options(server).items():
                command += arguments_of(name, value)
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{study.scenario}: the preflight took longer than {_SECONDS:g} s") from None
        try:
            reasons = json.loads(cells.with_suffix(".answer").read_text())
        except (OSError, ValueError):
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise BenchError(f"{study.scenario}: the preflight did not get through: {last}") from None
    return {cell: reason for cell, reason in zip(by_cell, reasons, strict=True) if reason is not None}
