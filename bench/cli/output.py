"""Standard streams whose closed pipes change no exit code."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from bench import BenchError


class _Pipe(io.RawIOBase):
    """Writes to a descriptor until its reader has left; what comes after that is dropped."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        """needed: what else fails than a closed pipe is an error."""
        self._descriptor, self._needed, self._gone = descriptor, needed, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        if self._gone:
            return len(content)
        try:
            return os.write(self._descriptor, content)
        except OSError as error:
            self._gone = True  # nothing is tried again while the interpreter ends: it would exit with 120
            if self._needed and not isinstance(error, BrokenPipeError):
                raise BenchError(f"standard output: {error.strerror}; the output is not complete") from error
            return len(content)


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """Within the block `... | head` ends nothing: a verdict's exit code is that of the verdict.

    Raises BenchError where standard output cannot be written for another reason, such as a full disk.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _lasting(sys.stdout, needed=True), _lasting(sys.stderr, needed=False)
    try:
        yield
        sys.stdout.flush()
    finally:
        with contextlib.suppress(BenchError):
            sys.stdout.flush()
            sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream: TextIO | None, *, needed: bool) -> TextIO:
    if stream is None:  # closed by who started us
        return io.StringIO()
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):  # text in memory
        return stream
    stream.flush()
    buffer = io.BufferedWriter(_Pipe(descriptor, needed=needed))  # type: ignore[type-var]
    # what is printed is not held back: in a log it stands in its order beside that of other processes
    return io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=True)
