"""Find restarts of the measured server by its process, start time, counters and refused connections together."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from bench.analysis.reading.run_warning import RunWarning
from bench.runs.run import Run

STARTED: Final = "started"
"""Of the server's counters, and of the target: when its process began, in Unix time."""
APART: Final = 1.0
"""Seconds by which start times differ that are of two processes: they are rounded, and clocks are set."""


class Signs(NamedTuple):
    """Signs that the server ended, or was restarted."""

    certain: list[str]
    likely: list[str]
    """What something else may be the reason of: it counts where the server has also counted too little."""


def check(run: Run, growth: Mapping[str, float] | None, answered: int) -> RunWarning | None:
    """A warning where the server did not run through.

    growth: of its counters; None: not known. answered: requests answered OK, of those that the counters are of. A server
    that was fresh before the run has counters that did not fall: what it counted since its second start is too little.
    """
    signs = signs_of(run, growth)
    ok = None if growth is None or "ok" not in growth else round(growth["ok"])
    fewer = ok is not None and 0 <= ok < answered
    if not signs.certain and not (fewer and signs.likely):
        return None
    reasons = [*signs.certain, *signs.likely]
    if fewer:
        reasons.append(f"{answered:,} requests were answered OK, it counts only {ok:,}")
    return RunWarning(
        "restarted",
        f"the server ended, or was restarted: {'; '.join(reasons)}",
        "run it again undisturbed",
    )


def signs_of(run: Run, growth: Mapping[str, float] | None) -> Signs:
    """All signs in a run."""
    certain = []
    gone = _process_gone(run)
    if gone is not None:
        certain.append(f"its process had ended at {gone:.1f} s")
    for whose, starts in (("its process", _start_times(run)), ("a container of it", _containers(run))):
        # others follow each other in any order: of several servers behind one address
        if starts and starts == sorted(starts) and starts[-1] - starts[0] > APART:
            certain.append(f"{whose} began {starts[-1] - starts[0]:,.0f} s later than the one before the run")
    fallen = [name for name, value in (growth or {}).items() if value < 0]
    if fallen:
        certain.append(f"its counters fell ({', '.join(fallen)})")
    elif _fell(run):
        certain.append("its counters fell while the load lasted")
    refused = sum(
        tally.requests
        for (key, _), tally in run.within(*run.seconds).tallies.items()
        if key.outcome == "UNAVAILABLE"
    )
    return Signs(certain, [f"{refused:,} requests found no server or lost it"] if refused else [])


def _process_gone(run: Run) -> float | None:
    """At which second of the load no process of the server was left."""
    stopped = run.manifest.stopped or math.inf
    gone = [
        float(row["time"])
        for row in run.telemetry
        if row.get("source") == "server" and row.get("processes") == 0 and row.get("time") is not None
    ]
    return min((at for at in gone if at < stopped), default=None)


def _start_times(run: Run) -> list[float]:
    """Those that were read before, during and after the run, in this order."""
    counters = run.manifest.server_counters
    ends = [
        None if page is None else page.started
        for page in ((counters.before, counters.after) if counters else ())
    ]
    during = [row.get(STARTED) for row in run.telemetry if row.get("source") == "counters"]
    return [float(each) for each in (*ends[:1], *during, *ends[1:]) if each is not None]


def _containers(run: Run) -> list[float]:
    """When the newest of the server's containers began, as an exporter told again and again."""
    starts = [row.get(STARTED) for row in run.telemetry if row.get("source") == "server"]
    return [float(each) for each in starts if each is not None]


def _fell(run: Run) -> bool:
    counted = [
        row["ok"] for row in run.telemetry if row.get("source") == "counters" and row.get("ok") is not None
    ]
    return any(after < before for before, after in pairwise(counted))
