"""A run whose folder cannot be written any more, as on a full disk, or soon could not."""

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import gevent

from bench import BenchError
from bench.load import verdict
from bench.runs.chunk import Chunk, Pause, no_pause
from bench.runs.recording import RECORDING_ENDED, RunWriter
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT

LEAST_ROOM: Final = 4 << 20
"""Bytes with which the record of a run can be brought to its end: so many are kept back while it is written."""
LOOK_SECONDS: Final = 0.05
"""The disk is looked at so often; a look takes 2 us, and nothing is written for it."""
_ROOM: Final = "make room there, or name another folder with --results"


def room_in(folder: Path) -> float:
    """Bytes that this process can still write there; infinite where the system does not say."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return float("inf")
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return blocks * disk.f_frsize if disk.f_blocks else float("inf")


def _reserve(folder: Path) -> IO[bytes]:
    """A file without a name that holds room for the end of a run, until it is closed. Raises BenchError."""
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lasts as long as the run
    except OSError as error:
        raise BenchError(f"{folder}: {error.strerror}; the run cannot be recorded") from error
    with contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, LEAST_ROOM)
    return file


class RunFolder:
    """A run folder that is written until its disk is full or a write fails; then the user is told once, and the run ends.

    What was kept back then brings the record to its end in order. After a write that failed nothing more is tried: what is
    there stays readable and says that it is unfinished.
    """

    def __init__(self, writer: RunWriter, failed: Callable[[str], None]) -> None:
        """failed: called once, with the reason and the remedy."""
        self._writer, self._failed = writer, failed
        self.path = writer.path
        self.broken = self.full = False
        self._reserve = _reserve(writer.path)
        self._looking = gevent.spawn(self._look)
        self.measured = False
        """Whether any request has ended."""
        self.listeners: list[Callable[[Chunk], None]] = []
        """Each is called with each chunk of requests."""
        self.observers: list[Callable[[Mapping[str, Any]], None]] = []
        """Each is called with each observation: its time, source and values."""

    @staticmethod
    def check_root(root: Path) -> None:
        """Raise BenchError unless there is room for run folders in `root`, which is made where it is missing."""
        RunWriter.check_root(root)
        room = room_in(root)
        if room < 2 * LEAST_ROOM:  # one for the reserve
            raise BenchError(f"{root}: {room / 1e6:.1f} MB are left on its disk; {_ROOM}")

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What it says of itself so far."""
        return self._writer.manifest

    def append(self, worker: int, chunk: Chunk, pause: Pause = no_pause) -> None:
        """Take in what a load process sent."""
        self.measured = self.measured or any(
            key.outcome not in (UNSENT, CANCELLED_BY_CLIENT) for key, _ in chunk.tallies
        )
        for listen in self.listeners:
            listen(chunk)
        self._try(self._writer.append, worker, chunk, pause)

    def update(self, **fields: Any) -> None:
        """Set fields of the manifest."""
        self._try(self._writer.update, **fields)

    def event(self, time: float, kind: str, text: str, **values: float | str) -> None:
        """Note what happened, in seconds of the run."""
        self._try(self._writer.event, time, kind, text, **values)

    def telemetry(self, time: float, **values: float | str | None) -> None:
        """Note an observation, in seconds of the run."""
        for observe in self.observers:
            observe({"time": time, **values})
        self._try(self._writer.telemetry, time, **values)

    def attach(self, name: str, content: bytes) -> None:
        """Put one more file into the folder."""
        self._try(self._writer.attach, name, content)

    def finish(self, **fields: Any) -> bool:
        """Write what is left and say that the run is finished. False where it is not, since a write has failed."""
        self._looking.kill()
        self._reserve.close()
        self._try(self._writer.finish, **fields)
        return not self.broken

    def pack(self) -> None:
        """Pack and seal a folder that is finished."""
        verdict.pack(self.path, self.manifest["counts"]["recorded"])
        self._try(self._writer.concluded)

    def conclude(self) -> dict[str, Any] | None:
        """Pack and seal a folder that is finished, and read it: what `bench report --json` says; None: nothing."""
        report = verdict.conclude(self.path, self.manifest["counts"]["recorded"])
        self._try(self._writer.concluded)
        if report is not None:
            self.update(doubts=report["doubts"])
        return report

    def _look(self) -> None:
        """Wait until the disk is full."""
        while (room := room_in(self.path)) >= LEAST_ROOM:
            gevent.sleep(LOOK_SECONDS)
        self.full = True
        self._reserve.close()
        reason = f"{self.path}: {room / 1e6:.1f} MB are left on its disk; the run ends here"
        self._note_end(reason)
        self._failed(f"{reason}; {_ROOM}")

    def _note_end(self, reason: str) -> None:
        origin = self._writer.manifest.get("clock_origin")
        if origin is not None:
            with contextlib.suppress(BenchError):  # a line may fit where a second's records did not
                self._writer.event(time.perf_counter() - origin, RECORDING_ENDED, reason)

    def _try(self, write: Callable[..., None], *values: Any, **named: Any) -> None:
        if self.broken:
            return
        try:
            write(*values, **named)
        except BenchError as error:
            self.broken = True
            self._reserve.close()
            if not self.full:
                self._note_end(str(error))
            self._writer.abandon()
            remedy = _ROOM
            if getattr(error.__cause__, "errno", None) in (errno.EMFILE, errno.ENFILE):
                remedy = "allow more open files: ulimit -n"
            self._failed(f"{error}; {remedy}")
