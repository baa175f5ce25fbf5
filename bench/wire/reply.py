"""The end of a call, whatever transport made it."""

from typing import Final, NamedTuple

from bench import __version__

USER_AGENT: Final = f"serving-bench/{__version__}"
LARGEST_ANSWER: Final = 64 << 20
"""Bytes of an answer that is read unless the user says otherwise; grpcio's own default is 4 MiB."""


class Reply(NamedTuple):
    """The end of a call. Instants are `time.perf_counter()`'s."""

    status: int
    """gRPC status code."""
    details: str
    message: bytes
    """Empty on errors."""
    sent: float | None
    """When the last byte of the request was handed to the kernel, for the first time if it had to be sent again; None:
    never, as while the server is down."""
    done: float
    """When the last frame of the answer was read, or the call was given up."""
    held_since: float | None = None
    """When the request was to leave, where it could not leave at once; None: it could."""
