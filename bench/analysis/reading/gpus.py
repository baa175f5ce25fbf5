"""The GPUs that the server of a run uses: how busy they were, and what energy they took."""

import re
from typing import Any, Final

from bench.analysis.reading.cells import observations, per_second_of, values
from bench.runs.run import Run

_VALUE: Final = re.compile(r"(?:utilization|memory|power|clock|joules)(\d+)")
"""Of a GPU, by its number; an exporter may lack some."""


def watts(run: Run) -> list[float]:
    """Of each of them in the window of the run, where its energy is counted; none of a run that shares them (a duet)."""
    each = (per_second_of(rows, f"joules{number}") for number, rows in _used(run))
    return [power for power in each if power is not None]


def busy(run: Run) -> list[float]:
    """The share of time in which each of them computed, from 0 to 1; none of a run that shares them (a duet)."""
    shares = (values(rows, f"utilization{number}") for number, rows in _used(run))
    return [sum(each) / len(each) for each in shares if each]


def _used(run: Run) -> list[tuple[str, list[dict[str, Any]]]]:
    """Number and observations of those that the server uses, or may: what it holds there is not known to be nothing.

    Those of a machine elsewhere, or of an exporter, were named as its own.
    """
    exported = any(page.source.partition(" ")[0] == "gpu" for page in run.manifest.telemetry)
    if run.manifest.duet is not None or (run.manifest.target.pid is None and not exported):
        return []
    used = []
    for rows in observations(run, "gpu").values():
        numbers = {named[1] for row in rows for name in row if (named := _VALUE.fullmatch(name))}
        for number in sorted(numbers):
            held = values(rows, f"server_memory{number}")
            if not held or max(held) > 0:
                used.append((number, rows))
    return used
