"""Comparison of each answer with the earlier answers to the same message.

A server that flips an answer now and then, mixes up the rows of a batch, or gives two callers each other's answer
passes every look at a single answer. It does not pass the comparison with the other answers to the same message: a
run sends each message of its pool many times.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

TOLERANCE: Final = 1e-3
"""Absolute, and relative to the reference: a server that executes several requests together adds up in another
order, which moves the last digits of a deep network's outputs by some 1e-5 of them."""
KEPT_BYTES: Final = 32 * 2**20
"""Of answers of one version; beyond that, only the first messages of the pool are compared."""
KEPT_VERSIONS: Final = 4


@dataclass
class _Answers:
    """The answer of one version to each message."""

    values: Array
    """[messages, ...]: those of the shape and dtype that the first answer had."""
    known: Bools
    """[messages]: whether there is one."""
    confirmed: Bools
    """[messages]: whether it was given twice."""
    odd: Bools
    """[messages]: whether it is in `others`."""
    room: int
    """Bytes that `others` may still take."""
    others: dict[int, Array] = field(default_factory=dict)
    """Answers of other shapes: an output may have one for each message, such as the boxes found on a picture."""

    @classmethod
    def none(cls, messages: int, like: Array) -> "_Answers":
        """Room for answers like these, [answers, ...]."""
        room = min(messages, max(1, KEPT_BYTES // max(1, like[:1].nbytes)))
        no = np.zeros(room, np.bool_)
        return cls(np.zeros((room, *like.shape[1:]), like.dtype), no, no.copy(), no.copy(), KEPT_BYTES)

    def takes(self, values: Array) -> bool:
        """Whether answers, [answers, ...], have the dtype and shape of `values`."""
        return self.values.shape[1:] == values.shape[1:] and self.values.dtype == values.dtype

    def of(self, message: int) -> Array:
        """The answer to a message, [...]."""
        return self.others[message] if self.odd[message] else np.asarray(self.values[message])

    def put(self, message: int, value: Array) -> None:
        """Keep the answer to a message, [...], as far as there is room for it."""
        before = self.others.pop(message, None)
        self.room += 0 if before is None else before.nbytes
        self.odd[message] = not self.takes(value[np.newaxis])
        if not self.odd[message]:
            self.values[message] = value
        elif value.nbytes <= self.room:
            self.room -= value.nbytes
            self.others[message] = value.copy()
        else:
            self.odd[message] = self.known[message] = False
            return
        self.known[message] = True


class References:
    """The answer to each message of a pool by each model version: the first one that came.

    Where the first one turns out to differ from the second, the second takes its place, until one is confirmed: so
    one wrong answer is counted once, or a few times where it is among the first answers to its message.
    """

    def __init__(self, messages: int, *, tolerance: float = TOLERANCE) -> None:
        """messages: in the pool. tolerance: absolute, and relative to the reference.

        It is widened for dtypes of less precision; numbers that are not floats and texts have to be equal.
        """
        self._messages = messages
        self._tolerance = tolerance
        self._versions: OrderedDict[int | None, _Answers] = OrderedDict()

    def same(self, version: int | None, messages: Indices, values: Array) -> Bools:
        """[answers]: whether an answer has the shape and all values that its message got before.

        messages: which of the pool each of the answers, [answers, ...], is to. What has no reference yet becomes one,
        and counts as the same.
        """
        answers = self._of(version, values)
        room = len(answers.known)
        alike = answers.takes(values)
        if alike and room == self._messages and not answers.others:
            return self._compare(answers, messages, values)
        same = np.ones(len(values), np.bool_)
        single = (messages < room) & (answers.odd[np.minimum(messages, room - 1)] | (not alike))
        rows = np.flatnonzero((messages < room) & ~single)
        if len(rows):
            same[rows] = self._compare(answers, messages[rows], values[rows])
        for row in np.flatnonzero(single).tolist():
            same[row] = self._compare_one(answers, int(messages[row]), np.asarray(values[row]))
        return same

    def settled(self, version: int | None, messages: Indices, values: Array) -> Bools:
        """[answers]: whether the result of `same` for an answer is final.

        It is where its reference will not be replaced, and where it will never have one.
        """
        answers = self._of(version, values)
        room = len(answers.known)
        settled: Bools = answers.confirmed[np.minimum(messages, room - 1)] | (messages >= room)
        return settled

    def _of(self, version: int | None, values: Array) -> _Answers:
        answers = self._versions.get(version)
        if answers is None:
            answers = self._versions[version] = _Answers.none(self._messages, values)
            if len(self._versions) > KEPT_VERSIONS:
                self._versions.popitem(last=False)
        return answers

    def _compare(self, answers: _Answers, messages: Indices, values: Array) -> Bools:
        """Answers that have the shape of `answers.values`, as have their references, if there are any."""
        known = answers.known[messages]
        if not known.all():
            new = np.flatnonzero(~known)
            # the last of several answers to one message stays, and the others are compared with it
            _, back = np.unique(messages[new][::-1], return_index=True)
            last = new[len(new) - 1 - back]
            answers.values[messages[last]] = values[last]
            answers.known[messages[last]] = True
            known[new] = True
            known[last] = False
        same = equal(values, answers.values[messages], self._tolerance)
        answers.confirmed[messages[same & known]] = True
        if not same.all():
            warned = ~same & ~answers.confirmed[messages]
            answers.values[messages[warned]] = values[warned]
        return same

    def _compare_one(self, answers: _Answers, message: int, value: Array) -> bool:
        if not answers.known[message]:
            answers.put(message, value)
            return True
        before = answers.of(message)
        alike = before.shape == value.shape and before.dtype == value.dtype
        if alike and bool(equal(value[np.newaxis], before[np.newaxis], self._tolerance)[0]):
            answers.confirmed[message] = True
            return True
        if not answers.confirmed[message]:
            answers.put(message, value)
        return False


def equal(values: Array, expected: Array, tolerance: float) -> Bools:
    """[answers]: whether all values of an answer are the expected ones; both [answers, ...]."""
    same: Bools = np.asarray(values == expected, np.bool_)
    # answers are mostly the same to the bit, which is seen in a third of the time
    if not same.all():
        widened = wide(values)
        if widened.dtype.kind in "fc":
            limit = max(tolerance, 2 * _epsilon(values.dtype))
            same = np.asarray(np.isclose(widened, wide(expected), rtol=limit, atol=limit, equal_nan=True))
    return np.asarray(same.reshape(len(values), -1).all(axis=1))


def wide(values: Array) -> Array:
    """Values of a dtype that numpy itself knows: bfloat16, float8 and half as float32, int4 as int8."""
    dtype = values.dtype
    if dtype.names:
        return values.view(dtype[0])
    if dtype.kind == "V" or (dtype.kind == "f" and dtype.itemsize < 4):
        whole = dtype in _SMALL_INTEGERS
        return values.astype(np.int8 if whole else np.float32)
    return values


_SMALL_INTEGERS: Final = {
    np.dtype(kind) for kind in (ml_dtypes.int2, ml_dtypes.int4, ml_dtypes.uint2, ml_dtypes.uint4)
}


def _epsilon(dtype: np.dtype[Any]) -> float:
    """The step between 1 and the next number of a floating-point dtype."""
    finfo: Any = ml_dtypes.finfo  # untyped
    return float(finfo(dtype).eps)
