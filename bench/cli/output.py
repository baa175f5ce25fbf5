"""Standard streams whose closed pipes change no exit code, and on which text of others commands nothing."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Final, TextIO

from bench import BenchError, escape

IN_GITHUB: Final = "GITHUB_ACTIONS"
"""GitHub's variable: `true` where its runner reads our output."""


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

    def write(self, content: bytes | bytearray | memoryview) -> int:  # type: ignore[override]  # of all that has bytes, the kinds that are written here
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
    sys.stdout = Printable(_lasting(sys.stdout, needed=True))
    sys.stderr = Printable(_lasting(sys.stderr, needed=False))
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
    buffer = io.BufferedWriter(_Pipe(descriptor, needed=needed))  # type: ignore[type-var]  # it writes only
    # what is printed is not held back: in a log it stands in its order beside that of other processes
    return io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=True)


class Printable(io.TextIOBase):
    """Writes to another stream what no terminal and no CI log obeys, whoever the text is from."""

    encoding, errors = "utf-8", "backslashreplace"  # as click looks for them

    def __init__(self, stream: TextIO, *, styled: bool = False) -> None:
        """styled: the text is escaped already, and has styles of a terminal in it."""
        self._stream, self._styled, self._line = stream, styled, ""

    def styled(self) -> "Printable":
        """The same stream for text with styles."""
        return Printable(self._stream, styled=True)

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """Whether the stream behind it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The file descriptor of the stream behind it."""
        return self._stream.fileno()

    def flush(self) -> None:
        """Write the unfinished line too."""
        if self._line.strip():
            self._stream.write(escape.ci_log(self._line))
            self._line = ""
        self._stream.flush()

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        shown = text if self._styled else escape.lines(text)
        if os.environ.get(IN_GITHUB) == "true":  # how a whole line begins decides whether it is a command
            whole, end, self._line = (self._line + shown).rpartition("\n")
            shown = escape.ci_log(whole + end)
        self._stream.write(shown)
        return len(text)

    def command(self, text: str) -> None:
        """Write a line that is to be obeyed."""
        self.flush()
        self._stream.write(text + "\n")


def note(text: str) -> None:
    """A line on standard error beside the output."""
    print(escape.one_line(f"bench: {text}"), file=sys.stderr, flush=True)


def command(text: str) -> None:
    """A line on standard output that the reader of a CI log obeys."""
    if isinstance(sys.stdout, Printable):
        sys.stdout.command(text)
    else:
        print(text)
