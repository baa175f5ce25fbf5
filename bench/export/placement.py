"""How does a version appear in a directory that a server watches, whole or not at all?"""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import BenchError

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


class VersionExists(BenchError):  # noqa: N818 - a BenchError like all others
    """The version is on disk and was not to be replaced."""


@dataclass(frozen=True)
class Destination:
    """Where one version of one model goes: MODELS/NAME/VERSION, as TensorFlow Serving expects it."""

    models: Path
    model: str
    version: int
    force: bool = False
    """Replace a version that is there."""

    def __post_init__(self) -> None:
        if not self.model or self.model != Path(self.model).name or self.model.startswith("."):
            raise BenchError(f"--model {self.model!r}: not a folder name; take one such as mnist")
        if self.version < 0:
            raise BenchError(f"--version {self.version}: a version is a folder named by a number from 0 up")

    @property
    def path(self) -> Path:
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
        try:  # from before the folder is made: an interrupt may come right after it
            _make_empty(temporary)
            yield temporary
            self._place(temporary)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # what failed, or what was replaced

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
