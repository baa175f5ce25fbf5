"""Paths of files that are written at the end."""

import errno
import os
from pathlib import Path
from typing import Any, Final

import click

from bench import BenchError


class NewFile(click.Path):
    """A file to write, checked before what takes long: whether its folder exists, and whether it can be written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises BenchError."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        reason = _unwritable(path)
        if reason:
            option = f"{param.opts[0]} " if param else ""
            raise BenchError(f"{option}{path}: {os.strerror(reason)}; name a file in a folder that exists")
        return path


JSON_FILE: Final = click.option(
    "--json", "as_json", type=NewFile(), metavar="FILE", help="Write all results as JSON."
)
JUNIT_FILE: Final = click.option(
    "--junit", type=NewFile(), metavar="FILE", help="Write the verdicts as JUnit XML, for CI."
)


def _unwritable(path: Path) -> int:
    """An error number; 0: none."""
    if path.is_dir():
        return errno.EISDIR
    if not path.parent.exists():
        return errno.ENOENT
    if not path.parent.is_dir():
        return errno.ENOTDIR
    return 0 if os.access(path if path.exists() else path.parent, os.W_OK) else errno.EACCES
