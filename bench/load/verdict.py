"""Can the run that has just ended be believed?

The checks belong to the reading side, which a load process does not import: they run in a process of their own
(about a second), as the packing of the samples does.
"""

import json
import logging
import subprocess
import sys
from pathlib import Path

log = logging.getLogger("bench")

READ_SECONDS = 120.0


def doubts_of(run: Path) -> list[dict[str, str]] | None:
    """The doubts of a finished run, each with `check`, `reason` and `remedy`; None where they could not be had."""
    command = [sys.executable, "-m", "bench", "report", str(run), "--json"]
    try:
        # a session of its own: Ctrl-C ends the load test, not the reading of what it has measured
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=READ_SECONDS, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        log.warning("%s: not checked within %g s; see: bench report %s", run, READ_SECONDS, run)
        return None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        log.warning("%s: not checked: %s", run, reason)
        return None
    (report,) = json.loads(done.stdout)["runs"]
    doubts: list[dict[str, str]] = report["doubts"]
    return doubts


def tell(run: Path, doubts: list[dict[str, str]]) -> None:
    """Say what speaks against a run, or that nothing does."""
    for doubt in doubts:
        log.warning("doubt: %s; %s", doubt["reason"], doubt["remedy"])
    log.info("%s: %s; read it with: bench report %s", run, _summary(len(doubts)), run)


def _summary(count: int) -> str:
    return {0: "no doubts", 1: "1 doubt"}.get(count, f"{count} doubts")
