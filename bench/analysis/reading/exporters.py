"""Checks of the exporters that a run read: values that are missing."""

from collections.abc import Iterator
from typing import Final

from bench import escape
from bench.analysis.reading.cells import cpu_cores, observations
from bench.analysis.reading.run_warning import RunWarning
from bench.runs.manifest import TelemetryPage
from bench.runs.run import Run

MOST_MISSING: Final = 0.1
"""Share of the readings of a page that may fail, or lack a value that was there at first."""
LEAST_COVERED: Final = 0.5
"""Share of the steady part that the first and the last count of CPU time have to span."""
SLACK_SECONDS: Final = 2.0
"""By which they may be less apart: pages are read once a second."""
TOLD: Final = {
    "server_machine": "CPU, memory and network of the server's machine",
    "server": "CPU, memory and network of the server's containers",
    "gpu": "the GPUs",
}
CHECK: Final = "telemetry"


def check(run: Run) -> list[RunWarning]:
    """A warning for each page of which too much is missing."""
    warnings = []
    for page in run.manifest.telemetry:
        problem = next(_problems(run, page), None)
        if problem is not None:
            where = escape.one_line(page.url)
            warnings.append(
                RunWarning(CHECK, f"{where}: {problem}", "see whether the exporter is up, and run it again")
            )
    return warnings


def _problems(run: Run, page: TelemetryPage) -> Iterator[str]:
    kind = page.source.partition(" ")[0]
    values = TOLD.get(kind, escape.one_line(page.source))
    if page.failed > MOST_MISSING * page.read:
        reason = f" ({escape.one_line(page.problem)})" if page.problem else ""
        yield f"{page.failed} of {page.read} readings failed{reason}: {values} are known in part"
    answered = page.read - page.failed
    gone = {name: count for name, count in page.missing.items() if count > MOST_MISSING * answered}
    if gone:
        names = ", ".join(escape.one_line(name) for name in sorted(gone))
        yield f"{names} missing in {max(gone.values())} of {answered} readings: {values} are known in part"
    rows = observations(run.steady, kind).get(page.source, [])
    first, end = run.steady.window or run.steady.seconds
    if not rows:
        yield f"nothing came in the steady part: {values} are not known"
    elif kind != "gpu":
        looked = [float(row["time"]) for row in rows if row.get("cpu_seconds") is not None]
        covered = looked[-1] - looked[0] if looked else 0.0
        if cpu_cores(rows) is None or covered < LEAST_COVERED * (end - first) - SLACK_SECONDS:
            yield (
                f"CPU time was counted {len(looked)} times in the steady part of {end - first} s, which is not enough for a rate; "
                "run longer: cAdvisor and kubelets count every 10 to 15 s"
            )
