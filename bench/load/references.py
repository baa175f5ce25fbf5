"""Does a question get the answer that it got before?

A server that flips an answer now and then, mixes up the rows of a batch, or gives two callers each other's answer
passes every look at a single answer. It does not pass the comparison with the other answers to the same message: a
run sends each message of its pool many times.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

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

    values: npt.NDArray[Any]
    """[messages, batch, ...]"""
    known: Bools
    """[messages]: whether there is one."""
    confirmed: Bools
    """[messages]: whether it was given twice."""

    @classmethod
    def none(cls, messages: int, like: npt.NDArray[Any]) -> "_Answers":
        """Room for answers like these, [answers, batch, ...]."""
        kept = min(messages, max(1, KEPT_BYTES // max(1, like[:1].nbytes)))
        no = np.zeros(kept, np.bool_)
        return cls(np.zeros((kept, *like.shape[1:]), like.dtype), no, no.copy())

    def takes(self, values: npt.NDArray[Any]) -> bool:
        """Whether answers, [answers, batch, ...], have the type and shape of these."""
        return self.values.shape[1:] == values.shape[1:] and self.values.dtype == values.dtype


class References:
    """The answer to each message of a pool by each model version: the first one that came.

    Where the first one turns out to differ from the second, the second takes its place, until one is confirmed: so
    one wrong answer is counted once, or a few times where it is among the first answers to its message.
    """

    def __init__(self, messages: int, *, tolerance: float = TOLERANCE) -> None:
        """messages: in the pool. tolerance: absolute, and relative to the reference; numbers that are not floats
        and texts have to be equal."""
        self._messages = messages
        self._tolerance = tolerance
        self._versions: OrderedDict[int | None, _Answers] = OrderedDict()

    def same(self, version: int | None, messages: Indices, values: npt.NDArray[Any]) -> Bools:
        """[answers, batch]: whether all values of the example are those that its message got before.

        messages: which of the pool each of the answers, [answers, batch, ...], is to. What has no reference yet
        becomes one, and counts as the same.
        """
        answers = self._of(version, values)
        alike = answers.takes(values)
        kept = len(answers.known)
        if alike and kept == self._messages:
            return self._compare(answers, messages, values)
        same = np.ones(values.shape[:2], np.bool_)
        rows = np.flatnonzero(messages < kept)
        if alike:
            same[rows] = self._compare(answers, messages[rows], values[rows])
        else:  # outputs may have another shape from message to message, not from answer to answer
            same[rows] = ~answers.confirmed[messages[rows], np.newaxis]
        return same

    def settled(self, version: int | None, messages: Indices, values: npt.NDArray[Any]) -> Bools:
        """[answers]: whether what `same` said of an answer holds for good: its reference will not be replaced, or it
        will never have one."""
        answers = self._of(version, values)
        if not answers.takes(values):
            return np.zeros(len(values), np.bool_)
        kept = len(answers.known)
        settled: Bools = answers.confirmed[np.minimum(messages, kept - 1)] | (messages >= kept)
        return settled

    def _of(self, version: int | None, values: npt.NDArray[Any]) -> _Answers:
        answers = self._versions.get(version)
        if answers is None:
            answers = self._versions[version] = _Answers.none(self._messages, values)
            if len(self._versions) > KEPT_VERSIONS:
                self._versions.popitem(last=False)
        return answers

    def _compare(self, answers: _Answers, messages: Indices, values: npt.NDArray[Any]) -> Bools:
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
        agreed = same.all(axis=1)
        answers.confirmed[messages[agreed & known]] = True
        if not agreed.all():
            doubtful = ~agreed & ~answers.confirmed[messages]
            answers.values[messages[doubtful]] = values[doubtful]
        return same


def equal(values: npt.NDArray[Any], expected: npt.NDArray[Any], tolerance: float) -> Bools:
    """[answers, batch]: whether all values of an example are the expected ones; both [answers, batch, ...]."""
    same: Bools = np.asarray(values == expected, np.bool_)
    # answers are mostly the same to the bit, which is seen in a third of the time
    if not same.all() and values.dtype.kind in "fc":
        same = np.asarray(np.isclose(values, expected, rtol=tolerance, atol=tolerance, equal_nan=True))
    return np.asarray(same.all(axis=tuple(range(2, same.ndim))))
