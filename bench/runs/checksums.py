"""Checksums of a run's files, written when the run ends: against accidents and honest mistakes, no signature.

The file is that of `sha256sum`: `cd RUN && sha256sum -c SHA256SUMS` checks it without this package.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from bench.runs.files import MIB, open_file, read_file

FILE: Final = "SHA256SUMS"
LARGEST: Final = 8192 * MIB
"""Of a file that is read to check it."""


def seal(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write the checksums of all files of a finished run; of some files only, where the rest is sealed already.

    Raises OSError.
    """
    known = {} if names is None else _read(folder)
    write(folder, _files(folder) if names is None else names, known=known)


def write(
    folder: Path, names: Iterable[str], file: str = FILE, *, known: Mapping[str, str] | None = None
) -> None:
    """Write the checksums of these files into one; known: those of others. Raises OSError."""
    sums = {**(known or {}), **{name: _sum(folder / name) for name in names}}
    temporary = folder / f".{file}.{os.getpid()}"
    try:
        temporary.write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))
        temporary.replace(folder / file)
    finally:
        temporary.unlink(missing_ok=True)


def altered(folder: Path, readable: Iterable[str], file: str = FILE) -> list[str]:
    """What is not as it was when the run ended, such as `counts.jsonl changed`.

    readable: names of files that would be read if they were there: one of them that has no checksum was added.
    """
    try:
        sums = _read(folder, file)
    except FileNotFoundError:
        return [f"{file} missing"]
    except (OSError, ValueError):
        return [f"{file} damaged"]
    differing = []
    for name, expected in sums.items():
        try:
            same = _sum(folder / name) == expected
        except FileNotFoundError:
            differing.append(f"{name} missing")
        except OSError as error:
            differing.append(f"{name} not readable ({error.strerror})")
        else:
            if not same:
                differing.append(f"{name} changed")
    # an empty folder of shards is left where samples were packed: only files count
    added = [name for name in readable if name not in sums and (folder / name).is_file()]
    return differing + [f"{name} added" for name in added]


def recorded(folder: Path, name: str) -> str:
    """The checksum that a file had when the run ended; empty where that is not known."""
    try:
        return _read(folder).get(name, "")
    except (OSError, ValueError):
        return ""


def _files(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != FILE and not path.name.startswith(".")
    ]


def _read(folder: Path, file: str = FILE) -> dict[str, str]:
    """Checksum by name. Raises OSError, and ValueError for what is no such file."""
    sums = {}
    for line in read_file(folder / file, MIB).decode().splitlines():
        digest, separator, name = line.partition("  ")
        # the folder may be somebody else's: nothing outside of it is looked at
        if not separator or not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(line)
        sums[name] = digest
    if not sums:
        raise ValueError("empty")
    return sums


def _sum(path: Path) -> str:
    with open_file(path, LARGEST) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
