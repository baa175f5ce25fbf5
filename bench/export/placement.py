"""Atomic placement of a version in a directory that a server watches."""

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import BenchError

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_TEMPORARY: Final = re.compile(r"\.\d+\.exporting-(\d+)")


class VersionExists(BenchError):  # noqa: N818 - a BenchError like all others
    """The version is on disk and was not to be replaced."""


@dataclass(frozen=True)
class Destination:
    """The folder of one version of one model: MODELS/NAME/VERSION, as TensorFlow Serving expects it."""

    models: Path
    model: str
    version: int
    force: bool = False
    """Replace an existing version."""

    def __post_init__(self) -> None:
        if not self.model or self.model != Path(self.model).name or self.model.startswith("."):
            raise BenchError(f"--model {self.model!r}: not a folder name; take one such as mnist")
        if self.version < 0:
            raise BenchError(f"--version {self.version}: a version is a folder named by a number from 0 up")

    @property
    def path(self) -> Path:
        """The version's folder."""
        return self.models / self.model / str(self.version)

    def check(self) -> None:
        """Refuse early what would fail after the training. Raises VersionExists."""
        if self.path.exists() and not self.force:
            raise VersionExists(
                f"{self.path}: version exists; --force replaces it, another --version keeps it"
            )

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """A folder to write the version into; it takes its final name when the block ends without an error.

        The folder lies beside the version, so that the rename stays in one file system, under a name that is
        no number: servers pass over it. Where a version is replaced, old and new change places in one system
        call, so that a server which looks at that moment sees one of them. Raises BenchError, also VersionExists.
        """
        self.check()
        temporary = self.path.parent / f".{self.version}.exporting-{os.getpid()}"
        with contextlib.ExitStack() as stack:
            # from before the folder is made: an interrupt may come right after it
            stack.callback(shutil.rmtree, temporary, ignore_errors=True)  # what failed, or what was replaced
            _make_empty(temporary)
            stack.callback(os.close, _hold(temporary))
            _sweep(self.path.parent)
            yield temporary
            self._place(temporary)

    def _place(self, temporary: Path) -> None:
        if self.force and self.path.is_dir():
            _exchange(temporary, self.path)
            return
        try:
            temporary.rename(self.path)
        except OSError as error:  # the system refuses to rename onto a folder that is not empty
            raise VersionExists(
                f"{self.path}: appeared while it was being exported ({error.strerror}); --force replaces it"
            ) from error


def _make_empty(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)  # of a killed process that had the same id
        folder.mkdir()
    except OSError as error:
        raise BenchError(
            f"{folder.parent}: cannot write there ({error.strerror}); name another folder"
        ) from error


def _hold(folder: Path) -> int:
    """A descriptor with a lock on the folder, which ends with this process, whatever ends that."""
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):  # a file system without locks: leftovers stay there
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


def _sweep(parent: Path) -> None:
    """Remove what killed exports have left.

    The process id alone would not tell: exports in other containers may write here, whose processes are not seen.
    """
    for leftover in parent.glob(".*.exporting-*"):
        named = _TEMPORARY.fullmatch(leftover.name)
        if named is None or _runs(int(named[1])):
            continue
        with contextlib.suppress(OSError):  # locked: somebody is writing it; or it is gone in this moment
            descriptor = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(descriptor)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _exchange(new: Path, old: Path) -> None:
    """Let two folders change their names at once (renameat2(2)); on systems without it, one after the other."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(AttributeError):  # no such function here
        if libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE) == 0:
            return
    aside = new.with_name(f"{new.name}.replaced")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)
