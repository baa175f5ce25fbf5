"""MNIST digits and their labels.

Digits come from one of three places: the 5,000 that are bundled (source and licence: mnist_5k.LICENSE.md), a folder
with the four files of the MNIST database, or a folder of PNGs as the project mnist_png lays them out.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bench import BenchError, extras
from bench.runs.files import MIB, open_file

LARGEST: Final = 128 * MIB
"""Bytes of an IDX file, also of what it unpacks to; MNIST's largest holds 47 MB."""
SIZE: Final = 28
CLASSES: Final = 10
BUNDLED: Final = Path(__file__).with_name("mnist_5k.npz")

Part = Literal["train", "test"]

_IDX_STEM: Final[dict[Part, str]] = {"train": "train", "test": "t10k"}
_PNG_FOLDER: Final[dict[Part, str]] = {"train": "training", "test": "testing"}
_IMAGES_MAGIC: Final = 2051  # 0x00000803: unsigned bytes, three dimensions
_LABELS_MAGIC: Final = 2049  # 0x00000801: unsigned bytes, one dimension


class Digits(NamedTuple):
    """Digits with their labels."""

    images: npt.NDArray[np.float32]
    """[N, 28, 28, 1], 0 (background) to 1 (ink)."""
    labels: npt.NDArray[np.int64]
    """[N], 0 to 9."""
    source: str
    """Where they come from, for people."""


def load(part: Part, folder: Path | None = None) -> Digits:
    """Digits of the training or the testing part, in the order of their source.

    folder: None for the bundled digits; else one that holds `t10k-images-idx3-ubyte` and its three companions
    (plain or .gz), or PNGs as `testing/7/1234.png`. Only the part that is asked for has to be there.

    Raises BenchError where the folder holds neither, or a file is not what its name says.
    """
    if folder is None:
        with np.load(BUNDLED, allow_pickle=False) as arrays:
            return _digits(arrays[f"{part}_images"], arrays[f"{part}_labels"], "bundled MNIST subset")
    if not folder.is_dir():
        raise BenchError(f"{folder}: no such folder; leave --mnist out for the bundled digits")
    images = _idx_file(folder, f"{_IDX_STEM[part]}-images", 3)
    if images is not None:
        labels = _idx_file(folder, f"{_IDX_STEM[part]}-labels", 1)
        if labels is None:
            raise BenchError(f"{folder}: {images.name} has no {_IDX_STEM[part]}-labels-idx1-ubyte next to it")
        return _read_idx(images, labels)
    pngs = folder / _PNG_FOLDER[part]
    if pngs.is_dir():
        return _read_pngs(pngs)
    raise BenchError(
        f"{folder}: neither {_IDX_STEM[part]}-images-idx3-ubyte[.gz] nor a folder {_PNG_FOLDER[part]}/ "
        "with PNGs (as testing/7/1234.png) is in it; leave --mnist out for the bundled digits"
    )


def _digits(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], source: str) -> Digits:
    pixels = images.astype(np.float32).reshape(-1, SIZE, SIZE, 1)
    pixels /= 255
    return Digits(pixels, labels.astype(np.int64), source)


def _idx_file(folder: Path, stem: str, dimensions: int) -> Path | None:
    """The file of the database in one of the spellings that are in use, or None."""
    for mark in (f"-idx{dimensions}-ubyte", f".idx{dimensions}-ubyte"):
        for suffix in ("", ".gz"):
            path = folder / f"{stem}{mark}{suffix}"
            if path.is_file():
                return path
    return None


def _read_idx(images_path: Path, labels_path: Path) -> Digits:
    """Both files of a part; the format is described at http://yann.lecun.com/exdb/mnist/ ("FILE FORMATS")."""
    (count, rows, columns), pixels = _read_idx_file(images_path, _IMAGES_MAGIC, 3)
    if (rows, columns) != (SIZE, SIZE):
        raise BenchError(f"{images_path}: images of {columns}×{rows} pixels; MNIST has {SIZE}×{SIZE}")
    (labelled,), labels = _read_idx_file(labels_path, _LABELS_MAGIC, 1)
    if labelled != count:
        raise BenchError(
            f"{labels_path}: {labelled} labels for the {count} images of {images_path.name}; take both from one source"
        )
    if count == 0:
        raise BenchError(f"{images_path}: holds no image")
    if labels.max() >= CLASSES:
        raise BenchError(f"{labels_path}: label {labels.max()} is not a digit; MNIST has 0 to 9")
    return _digits(pixels, labels, f"IDX files in {images_path.parent}")


def _read_idx_file(path: Path, magic: int, dimensions: int) -> tuple[list[int], npt.NDArray[np.uint8]]:
    """The sizes of the dimensions, then all values."""
    try:
        with open_file(path, LARGEST) as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
            content = file.read(
                LARGEST
            )  # what is longer is none of MNIST's files, and is refused by its size
    except (OSError, EOFError, zlib.error) as error:
        raise BenchError(f"{path}: cannot be read ({error}); download it again") from error
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise BenchError(
            f"{path}: {len(content)} bytes are too few for a header of {header}; download it again"
        )
    number, *sizes = struct.unpack_from(f">{1 + dimensions}I", content)
    if number != magic:
        raise BenchError(
            f"{path}: magic number {number} instead of {magic}; the file is not what its name states"
        )
    values = np.frombuffer(content, np.uint8, offset=header)
    expected = int(np.prod(sizes, dtype=object))
    if values.size != expected:
        raise BenchError(
            f"{path}: {values.size} bytes after the header, which announces {expected}; download it again"
        )
    return sizes, values


def _read_pngs(folder: Path) -> Digits:
    paths = list(_labelled_pngs(folder))
    if not paths:
        raise BenchError(f"{folder}: no PNG in folders named 0 to 9 (as 7/1234.png)")
    images = np.empty((len(paths), SIZE, SIZE), np.uint8)
    for row, (path, _) in enumerate(paths):
        images[row] = _read_png(path)
    labels = np.array([label for _, label in paths], np.uint8)
    return _digits(images, labels, f"PNGs in {folder}")


def _labelled_pngs(folder: Path) -> Iterator[tuple[Path, int]]:
    """PNGs with their labels, sorted so that a run draws the same digits on every file system."""
    for label in range(CLASSES):
        for path in sorted(folder.glob(f"{label}/*.png"), key=lambda path: (len(path.stem), path.stem)):
            yield path, label


def _read_png(path: Path) -> npt.NDArray[np.uint8]:
    extras.need("PIL", str(path))
    from PIL import Image, UnidentifiedImageError  # only where PNGs are read: 20 ms and 8 MB

    try:
        with open_file(path, LARGEST) as file, Image.open(file, formats=["PNG"]) as image:
            if image.size != (SIZE, SIZE):
                columns, rows = image.size
                raise BenchError(f"{path}: an image of {columns}×{rows} pixels; MNIST has {SIZE}×{SIZE}")
            return np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # Pillow: SyntaxError for a broken PNG
        raise BenchError(f"{path}: not a readable PNG; remove it or download it again") from error
