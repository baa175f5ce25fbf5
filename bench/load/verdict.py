"""Summary of the run that has just ended, with its warnings.

The checks belong to the reading side, which a load process does not import: they run in a process of their own, which
packs the samples first.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT
from bench.wording import counted as things
from bench.wording import duration, significant

log = logging.getLogger("bench")

READ_SECONDS = 120.0
PACKED_PER_SECOND: Final = 50_000
"""Requests, on a slow machine: so much more time has the process that packs them."""
LATENCIES: Final = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p99.9": "p999", "max": "max"}


def conclude(run: Path, requests: int) -> dict[str, Any] | None:
    """Have a run packed and sealed that has ended, and give what `bench report --json` says of it; None where it says nothing.

    requests: that it has recorded.
    """
    text = _concluded(run, requests)
    if text is None:
        return None
    (report,) = json.loads(text)["runs"]
    plain: dict[str, Any] = report
    return plain


def pack(run: Path, requests: int) -> None:
    """Have a run packed and sealed that has ended, and not read."""
    _concluded(run, requests, "--unread")


def _concluded(run: Path, requests: int, *flags: str) -> str | None:
    """What `bench conclude` prints of a run; None where it fails."""
    seconds = READ_SECONDS + requests / PACKED_PER_SECOND
    try:
        # a session of its own: Ctrl-C ends the load test, not the reading of what it has measured
        done = subprocess.run(
            [sys.executable, "-m", "bench", "conclude", str(run), *flags],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        log.warning("%s: not checked within %.0f s; see: bench report %s", run, seconds, run)
        return None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        log.warning("%s: not checked: %s", run, reason)
        return None
    for line in done.stderr.splitlines():
        log.warning("%s", line)
    return done.stdout


def counted(counts: Mapping[str, int]) -> str:
    """The counts of a run in words."""
    unsent = f" and {counts['unsent']} that failed unsent" if counts["unsent"] else ""
    again = f" (and {counts['retries']} again)" if counts["retries"] else ""
    return f"{counts['sent']} requests sent{again}{unsent}, {counts['recorded']} recorded"


class Entry(NamedTuple):
    """A line of a summary."""

    level: int
    title: str
    text: str = ""
    whole: bool = False
    """Whether it is never wrapped: what is copied from a terminal."""


def summary(run: Path, report: dict[str, Any]) -> Iterator[Entry]:
    """Lines that can be read in ten seconds: what was measured, warnings, where it is, what is next."""
    for line in report["lines"]:
        yield Entry(logging.INFO, _title(line))
        yield from (Entry(logging.INFO, f"  {name}", text) for name, text in measured(line))
    for warning in report["doubts"]:
        text = f"{warning['reason']}; {warning['remedy']} [{warning['check']}]"
        yield Entry(logging.WARNING, "warning", text)
    yield Entry(logging.INFO, "results", str(run), whole=True)
    yield Entry(logging.INFO, "next", f"bench report {run}", whole=True)


def _title(line: dict[str, Any]) -> str:
    version = "" if line["version"] is None else f"  version {line['version']}"
    return f"{line['name']}{version}  batch {line['batch']}  {things(line['requests'], 'request')}"


def measured(line: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Titles and values of a condition's numbers; Locust's own tables round to whole milliseconds, these do not."""
    rates = [f"{line['requests_per_second']:,.0f} req/s"]
    if line["batch"] != 1:
        rates.append(f"{line['inferences_per_second']:,.0f} inferences/s")
    yield "throughput", "  ".join(rates)
    times = [f"{name} {duration(line[key])}" for name, key in LATENCIES.items() if line.get(key) is not None]
    times += [f"({why['text']})" for why in list(line["reasons"].values())[:1]]
    yield "latency", "  ".join(times) or "no answers"
    yield "errors", failures(line["outcomes"])
    cancelled = line["outcomes"].get(CANCELLED_BY_CLIENT)
    if cancelled:
        yield "cancelled", f"{cancelled:,} by this client"
    for name in ("goodput", "accuracy"):
        if line.get(name) is not None:
            yield name, f"{line[name]:.4f}"


def failures(outcomes: Mapping[str, int]) -> str:
    """Such as `none` or `1.2 %: UNAVAILABLE 12`; what this client cancelled is no error."""
    due = sum(count for outcome, count in outcomes.items() if outcome != CANCELLED_BY_CLIENT)
    failed = {name: n for name, n in outcomes.items() if name not in ("OK", CANCELLED_BY_CLIENT)}
    if not failed:
        return "none" if due else "no answers"
    most = sorted(failed, key=lambda name: -failed[name])
    kinds = ", ".join(f"{'not sent' if name == UNSENT else name} {failed[name]:,}" for name in most)
    return f"{significant(100 * sum(failed.values()) / due)} %: {kinds}"
