"""Single requests as columns, in few bytes."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.runs.packing import Ints, pack, unpack

NEVER: Final = np.iinfo(np.int64).min
"""Stands in `Columns.lag` and `.service` for a request that was never sent: it has neither."""
UNKNOWN: Final = -1
"""Stands in status (never sent), version (none named) and correct (not checked)."""
SLOWEST: Final = 32
"""Of so many requests the message of the slowest is kept: all of them would need two thirds more room."""
STEP_NS: Final = 1000
"""Single requests are packed in whole microseconds; what is counted of them is counted before, in nanoseconds."""


class Columns(NamedTuple):
    """Requests as columns of equal length, in nanoseconds; in whole microseconds of them once they were packed.

    sent = due + lag and done = sent + service: kept as differences, since these are small numbers, which take
    a third of the space of three instants when they are packed.
    """

    name: NDArray[np.int32]
    """Index into `Chunk.names`."""
    batch: NDArray[np.int32]
    due: Ints
    """Since the start of the run."""
    lag: Ints
    """NEVER where nothing was sent."""
    service: Ints
    """NEVER where nothing was sent."""
    status: NDArray[np.int16]
    """gRPC status code, or `bench.runs.sample.CANCELLED_STATUS`; UNKNOWN where nothing was sent."""
    version: Ints
    """Model version that answered; UNKNOWN where the answer names none."""
    correct: NDArray[np.int32]
    """Examples answered with their label; UNKNOWN where nothing was checked."""
    mismatched: NDArray[np.bool_]
    """Answered OK, yet not by the model, version or shape that was asked for, or not as before."""
    message: NDArray[np.int32]
    """Number of the message in its pool, of the slowest and of those that failed; UNKNOWN of the others."""

    def where(self, rows: NDArray[np.bool_] | Ints) -> "Columns":
        """Some of the rows, by mask or by position."""
        arrays: tuple[NDArray[Any], ...] = self
        return Columns(*(array[rows] for array in arrays))

    @classmethod
    def concatenated(cls, parts: Sequence["Columns"]) -> "Columns":
        """The rows of all parts, one after the other."""
        columns: list[tuple[NDArray[Any], ...]] = list(zip(*parts, strict=True))
        return Columns(*(np.concatenate(arrays) for arrays in columns))


_DTYPES: Final[tuple[Any, ...]] = tuple(
    map(np.dtype, ("i4", "i4", "i8", "i8", "i8", "i2", "i8", "i4", "?", "i4"))
)
_LATER: Final = 1
"""Columns that earlier records lack: the last ones."""


def no_columns() -> Columns:
    """Columns of no request."""
    return Columns(*(np.empty(0, dtype) for dtype in _DTYPES))


def with_messages_of_slowest(columns: Columns) -> Columns:
    """The same without the messages of most: the slowest of SLOWEST have one, those that failed before all others."""
    most = -(-len(columns.due) // SLOWEST)
    if not most or (columns.message == UNKNOWN).all():
        return columns
    latency = np.where(columns.status == 0, columns.lag + columns.service, np.iinfo(np.int64).max)
    slowest = np.argpartition(latency, len(latency) - most)[-most:]
    message = np.full(len(latency), UNKNOWN, np.int32)
    message[slowest] = columns.message[slowest]
    return columns._replace(message=message)


def packed(columns: Columns) -> bytes:
    """Columns as few bytes: ordered by due, whole microseconds, due as the difference to the one before.

    due, lag and service are rounded each by itself, so each comes back to half a microsecond.
    """
    if (columns.due[1:] < columns.due[:-1]).any():
        columns = columns.where(np.argsort(columns.due, kind="stable"))
    due, lag, service = (
        (values + STEP_NS // 2) // STEP_NS for values in (columns.due, columns.lag, columns.service)
    )
    never = columns.status == UNKNOWN
    if never.any():
        lag, service = np.where(never, 0, lag), np.where(never, 0, service)
    return pack(columns._replace(due=np.diff(due, prepend=0), lag=lag, service=service))


def unpacked(raw: bytes, rows: int) -> Columns:
    """So many requests that `packed` wrote. Raises ValueError on anything else."""
    arrays = unpack(raw, len(_DTYPES) - _LATER, rows, _LATER)
    arrays += [np.full(rows, UNKNOWN)] * (len(_DTYPES) - len(arrays))
    columns = Columns(
        *(array.astype(dtype, copy=False) for array, dtype in zip(arrays, _DTYPES, strict=True))
    )
    never = columns.status == UNKNOWN
    lag, service = (np.where(never, NEVER, each * STEP_NS) for each in (columns.lag, columns.service))
    return columns._replace(due=np.cumsum(columns.due) * STEP_NS, lag=lag, service=service)
