"""The class that each model gave to each example.

Written once a run, where a scenario asks for it (`answers.npz` in the run folder), so that two models can be compared
on the same examples: what is asked a thousand times still counts once.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from bench import BenchError
from bench.runs.files import MIB, read_file

FILE: Final = "answers.npz"
UNSEEN: Final = -1
_DAMAGES: Final = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    IndexError,
    RuntimeError,
    MemoryError,
    struct.error,
    TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise for files that are none."""
LARGEST: Final = 256 * MIB
"""Bytes of the file, and of what it unpacks to."""

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Choices:
    """Classes by request name; arrays [examples], UNSEEN where an example was not asked or not answered."""

    labels: Ints
    """The right class of each example."""
    chosen: Mapping[str, Ints]

    @classmethod
    def merged(cls, parts: Iterable["Choices"]) -> Self:
        """What several load processes saw; of two that saw an example, the later part counts."""
        labels = np.empty(0, np.int32)
        chosen: dict[str, Ints] = {}
        for part in parts:
            labels = _over(labels, part.labels)
            for name, classes in part.chosen.items():
                chosen[name] = _over(chosen.get(name, np.empty(0, np.int32)), classes)
        size = len(labels)
        return cls(labels, {name: _over(np.full(size, UNSEEN, np.int32), c) for name, c in chosen.items()})

    def to_bytes(self) -> bytes:
        """The same as the content of an npz file without Python objects."""
        names = list(self.chosen)
        table = np.array([self.chosen[name] for name in names], np.int32).reshape(
            len(names), len(self.labels)
        )
        file = io.BytesIO()
        np.savez_compressed(file, names=np.array(names, np.str_), chosen=table, labels=self.labels)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes, largest: int = LARGEST) -> Self:
        """Raises BenchError where they are no such file, or unpack to more than `largest` bytes; runs nothing that is in it."""
        try:
            check_size(raw, largest)
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                names, table, labels = arrays["names"], arrays["chosen"], arrays["labels"]
                fits = table.ndim == 2 and table.shape == (len(names), len(labels))
                if not fits or {table.dtype.kind, labels.dtype.kind} != {"i"} or names.dtype.kind != "U":
                    raise ValueError(f"classes {table.shape} of {len(names)} names and {labels.shape} labels")
                return cls(labels, dict(zip(names.tolist(), table, strict=True)))
        except _DAMAGES as error:
            raise BenchError(f"{FILE}: damaged ({error}); run it again") from error

    @classmethod
    def of_run(cls, folder: Path) -> Self | None:
        """The choices in a run folder; None where they were not kept. Raises BenchError."""
        try:
            return cls.from_bytes(read_file(folder / FILE, LARGEST))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BenchError(f"{folder / FILE}: {error.strerror}; run it again") from error


def check_size(raw: bytes, largest: int) -> None:
    """Raise ValueError for an npz file that unpacks to more than `largest` bytes, and BadZipFile for none."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        size = sum(each.file_size for each in archive.infolist())
    if size > largest:
        raise ValueError(f"it unpacks to {size:,} bytes, at most {largest:,} are read")


def _over(below: Ints, above: npt.NDArray[Any]) -> Ints:
    """`above` where it has seen something, else `below`; as long as the longer of them."""
    size = max(len(below), len(above))
    out = np.full(size, UNSEEN, np.int32)
    out[: len(below)] = below
    seen = np.flatnonzero(above != UNSEEN)
    out[seen] = above[seen]
    return out
