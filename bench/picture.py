"""Pictures from anywhere as inputs like those that a model was trained on."""

import struct
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from bench import BenchError
from bench.mnist import SIZE
from bench.runs.files import MIB, open_file

LARGEST: Final = 256 * MIB
"""Bytes of a picture's file."""
_MOST_PIXELS: Final = 50_000_000
_INK_BOX: Final = 20
"""MNIST's digits fill a box of 20×20 and have their centre of mass in the middle of 28×28 pixels
(http://yann.lecun.com/exdb/mnist/)."""
_INK: Final = 0.1
"""Fainter pixels are not part of the drawing."""

Floats = npt.NDArray[np.float32]


def read(path: Path, rows: int | None, columns: int | None, channels: int) -> Floats:
    """The picture in a PNG or JPEG file as [rows, columns, channels], 0 to 1. None: as many as the picture has.

    A single channel of 28×28 is made to look like MNIST: light ink on black and, unless the picture has that
    size already, cut out, resized and centred as MNIST's digits were. Anything else is resized only.
    A linear model that knows 95 % of MNIST's digits knows 90 % of them drawn large on a page. Raises BenchError.
    """
    digits = (rows, columns, channels) == (SIZE, SIZE, 1)
    picture = _opened(path, drawing=digits)
    if digits:
        return _like_mnist(_grey(picture))[..., np.newaxis]
    if channels not in (1, 3):
        raise BenchError(f"{path}: the model expects {channels} channels; pictures have 1 (grey) or 3 (RGB)")
    rows, columns = rows or picture.height, columns or picture.width
    resized = picture.convert("L" if channels == 1 else "RGB").resize(
        (columns, rows), Image.Resampling.BILINEAR
    )
    return np.asarray(resized, np.float32).reshape(rows, columns, channels) / np.float32(255)


def _opened(path: Path, *, drawing: bool) -> Image.Image:
    """The picture the right way up, without transparency: what is transparent is white, as on paper.

    drawing: it is black where white would hide what is drawn in a light colour.
    """
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of damaged EXIF, which does no harm
            open_file(path, LARGEST) as file,
            Image.open(file, formats=["PNG", "JPEG"]) as picture,
        ):
            if picture.width * picture.height > _MOST_PIXELS:
                raise BenchError(
                    f"{path}: {picture.width}×{picture.height} pixels are too many; make it smaller"
                )
            picture.load()
            whole = _upright(picture)
    except FileNotFoundError as error:
        raise BenchError(f"{path}: no such file") from error
    except Image.DecompressionBombError as error:
        raise BenchError(f"{path}: too many pixels; make it smaller") from error
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
    ) as error:  # SyntaxError: of a broken PNG
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise BenchError(f"{path}: not a readable PNG or JPEG picture{reason}") from error
    return _on_paper(whole, drawing=drawing) if whole.has_transparency_data else whole


def _upright(picture: Image.Image) -> Image.Image:
    """As EXIF's Orientation says that it is to be seen; as it is where EXIF is damaged."""
    try:
        return ImageOps.exif_transpose(picture)
    except (ValueError, TypeError, KeyError, ZeroDivisionError, SyntaxError, struct.error):
        return picture.copy()


def _on_paper(picture: Image.Image, *, drawing: bool) -> Image.Image:
    if picture.mode.startswith("I"):  # Pillow cuts 16 bits off at 255 when it converts them
        values = np.array(picture)
        hidden = values == picture.info["transparency"]
        light = drawing and not hidden.all() and bool(values[~hidden].mean() > 32767)
        values[hidden] = 0 if light else 65535
        return Image.fromarray(values)
    coloured = picture.convert("RGBA")
    paper = "white"
    if drawing:
        alpha = np.asarray(coloured.getchannel("A"), np.float64)
        seen = np.asarray(coloured.convert("RGB").convert("L"), np.float64)
        if alpha.any() and (seen * alpha).sum() / alpha.sum() > 127:
            paper = "black"
    return Image.alpha_composite(Image.new("RGBA", coloured.size, paper), coloured).convert("RGB")


def _grey(picture: Image.Image) -> Floats:
    """[rows, columns], 0 to 1. Pillow cuts 16 bits off at 255 when it converts them, so numpy divides."""
    if picture.mode.startswith("I"):
        return np.asarray(picture, np.float32) / np.float32(65535)
    return np.asarray(picture.convert("L"), np.float32) / np.float32(255)


def _like_mnist(grey: Floats) -> Floats:
    """[28, 28]: light ink on black, cut out and centred unless the picture has this size already."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(border) > 0.5:
        grey, border = np.float32(1) - grey, np.float32(1) - border
    if grey.shape == (SIZE, SIZE):
        return grey
    ink = np.clip(grey - np.median(border), 0, None)
    if ink.max() < _INK:
        return np.zeros((SIZE, SIZE), np.float32)  # nothing is drawn
    ink /= ink.max()
    drawn = ink > _INK
    (top, bottom), (left, right) = _span(drawn.any(axis=1)), _span(drawn.any(axis=0))
    cut = Image.fromarray(ink[top:bottom, left:right])
    scale = _INK_BOX / max(cut.size)
    small = cut.resize(
        (max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.Resampling.BOX
    )
    return _centred(np.clip(np.asarray(small, np.float32), 0, 1))


def _span(used: npt.NDArray[np.bool_]) -> tuple[int, int]:
    where = np.flatnonzero(used)
    return int(where[0]), int(where[-1]) + 1


def _centred(ink: Floats) -> Floats:
    """[28, 28] with the centre of mass of the ink in the middle, as far as the ink stays inside."""
    canvas = np.zeros((SIZE, SIZE), np.float32)
    places: list[slice[Any, Any, Any]] = []
    for axis, length in enumerate(ink.shape):
        mass = ink.sum(axis=1 - axis)
        centre = float((mass * (np.arange(length) + 0.5)).sum() / mass.sum())
        start = min(max(round(SIZE / 2 - centre), 0), SIZE - length)
        places.append(slice(start, start + length))
    canvas[tuple(places)] = ink
    return canvas
