"""Unexpected exceptions: the log line and the client's status."""

import logging
import traceback
from pathlib import Path
from typing import Final

from bench.server.refusal import Code, Refusal

log = logging.getLogger(__name__)

_FRAMES: Final = 4


def unforeseen(error: Exception, during: str) -> Refusal:
    """Log the error in one line, with the innermost lines of code first; gives what its request is answered.

    Memory that a request would have needed is no error of ours, and not logged: RESOURCE_EXHAUSTED.
    """
    if isinstance(error, MemoryError):
        return Refusal(Code.RESOURCE_EXHAUSTED, "the server has not enough memory for this request")
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_FRAMES:])
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    log.error("internal error in %s: %s (%s)", during, text, where)
    return Refusal(Code.INTERNAL, text)
