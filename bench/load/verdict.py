"""Summary of the run that has just ended, with its warnings.

The checks belong to the reading side, which a load process does not import: they run in a process of their own
(about a second), as the packing of the samples does.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.runs.sample import CANCELLED_BY_CLIENT

log = logging.getLogger("bench")

READ_SECONDS = 120.0


def read(run: Path) -> dict[str, Any] | None:
    """What `bench report --json` says of a run; None where it could not be had."""
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
    found: dict[str, Any] = report
    return found


def counted(counts: Mapping[str, int]) -> str:
    """The counts of a run in words."""
    unsent = f" and {counts['unsent']} that failed unsent" if counts["unsent"] else ""
    again = f" (and {counts['retries']} again)" if counts["retries"] else ""
    return f"{counts['sent']} requests sent{again}{unsent}, {counts['recorded']} recorded"


def tell(run: Path, report: dict[str, Any]) -> None:
    """Say what a run has measured, and what speaks against believing it."""
    for line in report["lines"]:
        log.info("%s", _measured(line))
    doubts = report["doubts"]
    for doubt in doubts:
        log.warning("%s; %s [%s]", doubt["reason"], doubt["remedy"], doubt["check"])
    log.info("%s: %s; read it with: bench report %s", run, _summary(len(doubts)), run)


def _measured(line: dict[str, Any]) -> str:
    """Locust's own table rounds to whole milliseconds; this one does not."""
    version = "" if line["version"] is None else f" version {line['version']}"
    parts = [f"{line['name']}{version} batch {line['batch']}: {line['requests_per_second']:,.0f} req/s"]
    for name in ("p50", "p99"):
        if line.get(name) is not None:
            parts.append(f"{name} {_duration(line[name])}")
    parts.append(f"errors {line['error_share']:.2%}" if line["error_share"] else "no errors")
    cancelled = line["outcomes"].get(CANCELLED_BY_CLIENT)
    if cancelled:
        parts.append(f"{cancelled:,} cancelled by this client")
    if line.get("accuracy") is not None:
        parts.append(f"accuracy {line['accuracy']:.4f}")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < 0.01 else f"{seconds * 1e3:,.1f} ms"


def _summary(count: int) -> str:
    return {0: "no warnings", 1: "1 warning"}.get(count, f"{count} warnings")
