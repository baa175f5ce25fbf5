"""Probe of a signature: whether requests may share a run, and how long a run takes.

A batch may only be made of requests whose answers do not depend on their neighbours. That is tried out when a
model is loaded: random examples alone and together, and beside one that is all NaN.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from bench.server.refusal import Refusal
from bench.wire.messages import SignatureDef, TensorInfo, types_pb2

Array = np.ndarray[Any, Any]

_UNKNOWN_SIZE: Final = 8
"""Size given to an inner dimension that the signature leaves open."""

_MANY: Final = 32
"""Rows of the runs that tell what a row costs."""
_LONGEST_TRIAL: Final = 2.0
"""Seconds that such a run may be expected to take at most."""
_ACCUSTOMED: Final = 128
"""Up to so many rows, every size is run once..."""
_ACCUSTOM_SECONDS: Final = 0.1
"""...as long as all of these together take no longer than this."""

_FLOATS: Final = {
    types_pb2.DT_FLOAT: np.float32,
    types_pb2.DT_DOUBLE: np.float64,
    types_pb2.DT_HALF: np.float16,
}
_INTEGERS: Final = {
    types_pb2.DT_INT8: np.int8,
    types_pb2.DT_INT16: np.int16,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_UINT16: np.uint16,
    types_pb2.DT_UINT32: np.uint32,
    types_pb2.DT_UINT64: np.uint64,
    types_pb2.DT_BOOL: np.bool_,
}


Clock = Callable[[], float]
"""Seconds. Where a run does all its work in the calling thread, that thread's processor time is the better clock:
time spent waiting for a busy processor or for the interpreter would make a quick model look slow."""


class Pace:
    """The duration of a signature's runs: tried out at load, learnt further from every run.

    The model is a duration for any run, and so much more for each row. Used without a lock by several threads: a
    lost update makes an estimate older, not wrong.
    """

    __slots__ = ("clock", "per_row", "shortest")

    _WEIGHT: Final = 0.2
    """Of the newest run, if it had at least `_TELLING` rows; less of smaller ones, which say little of a row."""
    _TELLING: Final = 32

    def __init__(self, shortest: float | None, clock: Clock = time.perf_counter) -> None:
        self.clock = clock
        """What runs are timed with."""
        self.shortest = shortest
        """Seconds of the shortest run; None: there was none."""
        self.per_row = 0.0
        """Seconds that each row adds."""

    def learn(self, rows: int, seconds: float) -> None:
        """A run over so many rows took so long."""
        if self.shortest is None or seconds < self.shortest:
            self.shortest = seconds
        if rows:
            newest = (seconds - self.shortest) / rows
            self.per_row += self._WEIGHT * min(1.0, rows / self._TELLING) * (newest - self.per_row)

    def expected(self, rows: int) -> float:
        """Seconds that a run over so many rows should take; inf when nothing is known."""
        return float("inf") if self.shortest is None else self.shortest + rows * self.per_row


@dataclass(frozen=True)
class Traits:
    """The traits of a signature that were found out."""

    rows_independent: bool
    """Each example's answer is the same alone and in a batch."""
    pace: Pace


def untried() -> Traits:
    """Traits of a signature that could not be tried: run alone, and not where others would wait for it."""
    return Traits(rows_independent=False, pace=Pace(None))


class Runnable(Protocol):
    """The part of a servable that is probed."""

    @property
    def signatures(self) -> Mapping[str, SignatureDef]:
        """SignatureDef by key."""

    def run(self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """The outputs for these inputs. Raises `Refusal`."""


def examine(servable: Runnable, name: str, clock: Clock = time.perf_counter) -> Traits:
    """Run made-up examples through the signature; one that they do not suit counts as not batchable."""
    signature = servable.signatures[name]
    outputs = sorted(signature.outputs)
    rng = np.random.default_rng(0)
    single, double = made_up(signature, 1, rng), made_up(signature, 2, rng)
    if single is None or double is None or not _batch_major(signature):
        return untried()
    try:
        alone = [servable.run(name, single, outputs), servable.run(name, double, outputs)]
        mixed = {
            alias: np.concatenate([single[alias], _spoilt(single[alias]), double[alias]]) for alias in single
        }
        together = servable.run(name, mixed, outputs)
        pace = _pace(servable, name, single, outputs, clock)
    except Refusal:
        return untried()
    return Traits(all(_same_rows(alone, together[alias], alias) for alias in outputs), pace)


def _pace(
    servable: Runnable, name: str, single: Mapping[str, Array], outputs: Sequence[str], clock: Clock
) -> Pace:
    def shortest(inputs: Mapping[str, Array]) -> float:
        servable.run(name, inputs, outputs)  # the first run of a shape builds its kernels
        times = []
        for _ in range(3):
            start = clock()
            servable.run(name, inputs, outputs)
            times.append(clock() - start)
        return min(times)

    alone = shortest(single)
    pace = Pace(alone, clock)
    pace.per_row = alone  # where more is not tried, a row may cost as much as a run
    if pace.expected(_MANY) < _LONGEST_TRIAL:
        many = {alias: np.repeat(array, _MANY, axis=0) for alias, array in single.items()}
        pace.per_row = max(0.0, shortest(many) - alone) / _MANY
    _accustom(servable, name, single, outputs, pace)
    return pace


def _accustom(
    servable: Runnable, name: str, single: Mapping[str, Array], outputs: Sequence[str], pace: Pace
) -> None:
    """Run every small size once: the first run of each builds kernels, for 0.2 ms in which callers would wait."""
    until = time.perf_counter() + _ACCUSTOM_SECONDS
    for rows in range(1, _ACCUSTOMED + 1):
        if time.perf_counter() + pace.expected(rows) > until:
            return
        several = {alias: np.repeat(array, rows, axis=0) for alias, array in single.items()}
        try:
            servable.run(name, several, outputs)
        except Refusal:  # it takes no more at a time
            return


def made_up(signature: SignatureDef, examples: int, rng: np.random.Generator) -> dict[str, Array] | None:
    """Random input arrays that fit the signature; None where its dtypes or ranks do not say what would fit."""
    inputs = {}
    for alias, info in signature.inputs.items():
        shape = _shape(info, examples)
        if shape is None:
            return None
        if info.dtype in _FLOATS:
            inputs[alias] = rng.random(shape).astype(_FLOATS[info.dtype])
        elif info.dtype in _INTEGERS:
            # 0 and 1 are in range for every vocabulary that an embedding may have
            inputs[alias] = rng.integers(0, 2, shape).astype(_INTEGERS[info.dtype])
        else:
            return None
    return inputs or None


def _shape(info: TensorInfo, examples: int) -> tuple[int, ...] | None:
    shape = info.tensor_shape
    if shape.unknown_rank or not shape.dim:
        return None
    inner = [_UNKNOWN_SIZE if dim.size < 0 else dim.size for dim in shape.dim[1:]]
    return (examples, *inner)


def _batch_major(signature: SignatureDef) -> bool:
    """Every tensor of the signature has an open first dimension."""
    infos = [*signature.inputs.values(), *signature.outputs.values()]
    return all(
        info.tensor_shape.unknown_rank or (info.tensor_shape.dim and info.tensor_shape.dim[0].size < 0)
        for info in infos
    )


def _spoilt(rows: Array) -> Array:
    return np.full_like(rows, np.nan) if rows.dtype.kind == "f" else rows


def _same_rows(alone: list[dict[str, Array]], together: Array, alias: str) -> bool:
    first, rest = alone[0][alias], alone[1][alias]
    if together.ndim == 0 or first.ndim == 0 or len(first) != 1 or len(rest) != 2 or len(together) != 4:
        return False
    expected = np.concatenate([first, rest])
    batched = together[[0, 2, 3]]
    if expected.dtype.kind == "f":
        # different batch sizes may take different kernels: equal to rounding, not bit for bit
        return bool(np.allclose(expected, batched, rtol=1e-4, atol=1e-5, equal_nan=True))
    return bool(np.array_equal(expected, batched))
