"""Distances of two values of one output.

Numbers: the relative difference |a - b| / max(|a|, |b|, floor), where the floor is 1 % of the root mean square of the
output's values in the baseline: what is near 0 beside the others does not count as far apart. NaN equals NaN, an
infinity the same one. Ids (whole numbers, truth values) and texts are equal or not: a distance between them says nothing.
"""

from collections.abc import Iterable
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
NUMBERS, IDS, TEXTS = "numbers", "ids", "texts"
FLOOR: Final = 0.01
"""Share of the root mean square below which a number is as good as 0."""
STEPS: Final = 2
"""Numbers are equal that are as near as so many steps of their dtype."""


def kind_of(values: Array) -> str:
    """What is compared: NUMBERS, IDS or TEXTS."""
    if values.dtype.kind in "OSU":
        return TEXTS
    return NUMBERS if _epsilon(values.dtype) is not None else IDS


def limit_of(values: Array, tolerance: float) -> float:
    """The relative difference up to which two values of this dtype agree."""
    return max(tolerance, STEPS * (_epsilon(values.dtype) or 0.0))


def floor_of(values: Iterable[Array]) -> float:
    """Of all values of an output, those that are finite."""
    count, squares = 0, 0.0
    for each in values:
        numbers = np.abs(_wide(each)).ravel()
        finite = numbers[np.isfinite(numbers)]
        count += finite.size
        squares += float(finite @ finite)
    return FLOOR * float(np.sqrt(squares / count)) if count else 0.0


def distance(before: Array, after: Array, floor: float) -> float:
    """The largest relative difference of two outputs; 0: equal, inf: not to be measured, as of two ids."""
    if kind_of(before) != kind_of(after) or before.shape != after.shape:
        return np.inf
    if kind_of(before) != NUMBERS:
        return 0.0 if np.array_equal(_plain(before), _plain(after)) else np.inf
    if before.dtype == after.dtype and before.tobytes() == after.tobytes():
        return 0.0
    a, b = _wide(before).ravel(), _wide(after).ravel()
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        apart = np.abs(a - b)
        apart = apart / np.maximum(np.maximum(np.abs(a), np.abs(b)), floor)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    apart[np.isnan(apart)] = np.inf  # a number against NaN, an infinity against another one
    apart[same] = 0.0
    return float(apart.max(initial=0.0))


def best(values: Array, most: int) -> list[Any]:
    """The places of the greatest numbers, greatest first and the first of equal ones first; or the first ids or texts."""
    flat = values.ravel()
    if kind_of(values) != NUMBERS:
        return list(_plain(flat)[:most].tolist())
    numbers = _wide(flat)
    if numbers.dtype.kind == "c":
        numbers = np.abs(numbers)
    numbers = np.where(np.isnan(numbers), -np.inf, numbers)
    return list(np.argsort(-numbers, kind="stable")[:most].tolist())


def best_distance(before: Array, after: Array, most: int) -> float:
    """0 where both have the same best ones, in whichever order; inf where not."""
    if kind_of(before) != kind_of(after):
        return np.inf
    return 0.0 if sorted(map(str, best(before, most))) == sorted(map(str, best(after, most))) else np.inf


def overlap(before: Array, after: Array, most: int) -> float:
    """Share of the best ones of `before` that are among those of `after`."""
    first = best(before, most)
    others = set(best(after, most))
    return sum(each in others for each in first) / len(first) if first else 1.0


def _epsilon(dtype: np.dtype[Any]) -> float | None:
    """The step between 1 and the next number of a floating-point dtype; None of others."""
    try:
        finfo: Any = ml_dtypes.finfo  # untyped
        return float(finfo(dtype).eps)
    except ValueError:
        return None


def _wide(values: Array) -> Array:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


def _plain(values: Array) -> Array:
    """As numpy compares it: int4 as int8, quantised integers as what they are kept in."""
    if values.dtype.names:
        return values.view(values.dtype[0])
    return values.astype(np.int8) if values.dtype.kind == "V" else values
