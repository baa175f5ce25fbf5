"""A run whose folder cannot be written any more, as on a full disk."""

import contextlib
import errno
import time
from collections.abc import Callable, Mapping
from typing import Any

from bench import BenchError
from bench.runs.chunk import Chunk, Pause, no_pause
from bench.runs.recording import RECORDING_ENDED, RunWriter
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT


class RunFolder:
    """A run folder that is written until the first write fails; then the user is told once, and nothing more is tried.

    What is there stays readable and says that it is unfinished.
    """

    def __init__(self, writer: RunWriter, failed: Callable[[str], None]) -> None:
        """failed: called once, with the reason and the remedy."""
        self._writer, self._failed = writer, failed
        self.path = writer.path
        self.broken = False
        self.measured = False
        """Whether any request has ended."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What it says of itself so far."""
        return self._writer.manifest

    def append(self, worker: int, chunk: Chunk, pause: Pause = no_pause) -> None:
        """Take in what a load process sent."""
        self.measured = self.measured or any(
            key.outcome not in (UNSENT, CANCELLED_BY_CLIENT) for key, _ in chunk.tallies
        )
        self._try(self._writer.append, worker, chunk, pause)

    def update(self, **fields: Any) -> None:
        """Set fields of the manifest."""
        self._try(self._writer.update, **fields)

    def event(self, time: float, kind: str, text: str, **values: float | str) -> None:
        """Note what happened, in seconds of the run."""
        self._try(self._writer.event, time, kind, text, **values)

    def telemetry(self, time: float, **values: float | str | None) -> None:
        """Note an observation, in seconds of the run."""
        self._try(self._writer.telemetry, time, **values)

    def attach(self, name: str, content: bytes) -> None:
        """Put one more file into the folder."""
        self._try(self._writer.attach, name, content)

    def finish(self, **fields: Any) -> bool:
        """Write what is left and say that the run is finished. False where it is not, since a write has failed."""
        self._try(self._writer.finish, **fields)
        return not self.broken

    def _try(self, write: Callable[..., None], *values: Any, **named: Any) -> None:
        if self.broken:
            return
        try:
            write(*values, **named)
        except BenchError as error:
            self.broken = True
            origin = self._writer.manifest.get("clock_origin")
            if origin is not None:
                with contextlib.suppress(BenchError):  # a line may fit where a second's records did not
                    self._writer.event(time.perf_counter() - origin, RECORDING_ENDED, str(error))
            self._writer.abandon()
            remedy = "make room there, or name another folder with --results"
            if getattr(error.__cause__, "errno", None) in (errno.EMFILE, errno.ENFILE):
                remedy = "allow more open files: ulimit -n"
            self._failed(f"{error}; {remedy}")
