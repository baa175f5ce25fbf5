"""Outcomes of requests, and bounds of what is recorded of them."""

from collections.abc import Mapping
from typing import Final

STATUS_NAMES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""gRPC status names by code (the gRPC core specification, "Status codes and their use in gRPC")."""

UNSENT: Final = "UNSENT"
"""Outcome of a request that was due and never sent, because the cap on requests in flight was reached
or the load process was held up until the load ended."""

CANCELLED_BY_CLIENT: Final = "CANCELLED_BY_CLIENT"
"""Outcome of a request that this load generator gave up before the request timeout, as when a user is taken out of the
load: never an error of the server. Its latency is the time that it had waited, which is less than it would have taken."""
CANCELLED_STATUS: Final = -2
"""Stands for it where other requests have their gRPC status code."""

MOST_VERSIONS: Final = 50
"""Versions of a model that are told apart in a run: far more than a rollout brings, and few enough for the second-by-second
counts of each. A server can invent as many as it likes; an answer that names a further one is wrong, and counted without
its version."""

LONGEST_RUN: Final = 7 * 86_400
"""Seconds of a run that are read: what is counted by second is gone through second by second."""

_PER_SECOND: Final = {b"nanoseconds": 1e9, b"microseconds": 1e6}


def stored_per_second(metadata: Mapping[bytes, bytes] | None) -> float | None:
    """How many of the units in which a run's samples.parquet keeps its instants make a second.

    metadata: of the file's schema, which begin their `units` with the unit; None where they do not: it is another file.
    """
    unit, _, _ = (metadata or {}).get(b"units", b"").partition(b";")
    return _PER_SECOND.get(unit)


def outcome(status: int | None) -> str:
    """The name of a status code, `UNSENT` for None; codes outside the specification become `STATUS_<n>`."""
    if status is None:
        return UNSENT
    if status == CANCELLED_STATUS:
        return CANCELLED_BY_CLIENT
    return STATUS_NAMES[status] if 0 <= status < len(STATUS_NAMES) else f"STATUS_{status}"
