"""Remedies for the errors of a run, with what the run knows of them."""

from typing import Final

from bench.protocol.hints import hint
from bench.protocol.tfserving_hints import THREADS
from bench.runs.run import Run
from bench.runs.sample import UNSENT

_MOST: Final = 1e6
"""Calls in flight; more are no count of a load process."""


def remedy(run: Run, status: str, details: str) -> str:
    """What helps against an error that a server is known for; else where to look."""
    if status == UNSENT:
        return "the server never saw them: lower the rate, raise the cap on requests in flight (--max-in-flight), or use more load processes (--processes)"
    known = hint(status, details, run.manifest.target.protocol)
    if known is None:
        return "they count as slower than any answer: find the reason in the server's log first"
    if known.key != THREADS:
        return f"{known.cause}: {known.remedy}"
    calls = _most_in_flight(run)
    cores = run.manifest.machine.logical_cores
    threads = 64
    while calls and threads < 2 * calls:
        threads *= 2
    default = f", {4 * cores} on a server with the {cores} cores of this machine" if cores else ""
    return (
        f"if it is a TensorFlow Serving, its --grpc_max_threads (4 x cores{default}) is less than the calls in flight"
        f"{f' (up to {calls:,})' if calls else ''}: start it with --grpc_max_threads={threads}; its log does not show it"
    )


def _most_in_flight(run: Run) -> int | None:
    """Calls that were seen under way at once; users of a closed loop whose run did not record it; None: not known."""
    most: dict[str, float] = {}
    for row in run.telemetry:
        seen = row.get("in_flight_max")
        if isinstance(seen, int | float) and 0 <= seen < _MOST:
            source = str(row.get("source"))
            most[source] = max(most.get(source, 0), seen)
    users = run.manifest.load.users if run.manifest.load.closed else None
    return int(sum(most.values())) or users
