"""Rules by which an output is compared with the labels of its examples.

argmax: the greatest of an example's values stands at the index that the label says. threshold: the example's one value
is above a threshold where the label is 1, and not where it is 0. equal: the example's one value is the label.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.load.checking.references import wide
from bench.payload import Pool
from bench.payload.pool import ARGMAX, EQUAL, THRESHOLD

Array = npt.NDArray[Any]


class Unfit(ValueError):  # noqa: N818 - an adjective says what the output is
    """The output cannot be compared with the labels; `cause` is `shape` or `dtype`."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class Compared(NamedTuple):
    """The results of comparing answers with their examples' labels."""

    right: npt.NDArray[np.bool_]
    """[answers, batch]"""
    chosen: Array
    """[answers, batch]: the class, 0 or 1, or value that each example was given."""


class LabelRule:
    """Compares the output of a pool with the pool's labels."""

    def __init__(self, pool: Pool) -> None:
        if pool.labels is None:
            raise ValueError("a pool without labels")
        self._pool = pool
        self._labels = pool.labels
        self._texts = pool.labels.dtype.kind == "O"
        self._classes = 0 if self._texts else int(pool.labels.max()) + 1

    def compare(self, values: Array, messages: npt.NDArray[np.int64]) -> Compared:
        """values: [answers, *shape of the output]; messages: which of the pool each answers. Raises Unfit."""
        labels = self._labels[messages]
        rows = self._by_example(values)
        count = rows.shape[2]
        rule = self._pool.compare or self._fitting(rows)
        if rule == ARGMAX:
            if count < max(self._classes, 2):
                raise Unfit(
                    "shape", self._lacks(f"{count} value{'s' * (count != 1)}", "a value for each class")
                )
            return _argmax(self._numbers(rows), labels)
        if count != 1:
            raise Unfit("shape", self._lacks(f"{count} values", "one value"))
        single = rows[:, :, 0]
        if rule == THRESHOLD:
            return self._above(self._numbers(single), labels)
        if (single.dtype.kind == "O") != self._texts:
            kinds = ("texts", "numbers") if self._texts else ("numbers", "texts")
            raise Unfit("dtype", f"the labels are {kinds[0]}, output {self._pool.output!r} holds {kinds[1]}")
        return Compared(np.asarray(single == labels, np.bool_), single)

    def _fitting(self, rows: Array) -> str:
        """The rule where the pool names none."""
        if rows.shape[2] != 1:
            return EQUAL if self._texts else ARGMAX
        floats = wide(rows[:0]).dtype.kind == "f"
        return THRESHOLD if floats and not self._texts else EQUAL

    def _by_example(self, values: Array) -> Array:
        """[answers, batch, values of an example], a view."""
        batch, shape = self._pool.batch, values.shape[1:]
        if len(shape) == 1 and batch == 1 and shape[0] != 1:
            shape = (1, *shape)  # of a model without batch dimension
        if not shape and batch == 1:
            shape = (1,)
        if len(shape) not in (1, 2) or shape[0] != batch:
            raise Unfit(
                "shape",
                f"output {self._pool.output!r} has shape {list(values.shape[1:])}; to be compared with labels it has "
                f"to be [{batch}] or [{batch}, values], {batch} being the examples of the request",
            )
        return values.reshape(len(values), batch, shape[1] if len(shape) == 2 else 1)

    def _numbers(self, values: Array) -> Array:
        numbers = wide(values)
        if numbers.dtype.kind not in "fiub":
            name = "texts" if numbers.dtype.kind == "O" else str(numbers.dtype)
            raise Unfit("dtype", f"output {self._pool.output!r} holds {name}, which have no order")
        return numbers

    def _above(self, scores: Array, labels: Array) -> Compared:
        if self._classes > 2:
            raise Unfit("shape", self._lacks("one value", "a value for each class"))
        above = scores > self._pool.threshold
        right = above == (labels == 1)
        if scores.dtype.kind == "f":
            right &= ~np.isnan(scores)
        return Compared(right, above.astype(np.int32))

    def _lacks(self, has: str, needs: str) -> str:
        rule = self._pool.compare
        how = f"compare={rule!r}" if rule else "its dtype and shape"
        return (
            f"output {self._pool.output!r} has {has} for each example, and comparing it with labels up to "
            f"{self._classes - 1} by {how} needs {needs}; Pool.of(..., compare=) names another rule"
        )


def _argmax(values: Array, labels: Array) -> Compared:
    """values [answers, batch, classes], labels [answers, batch]; an example with nan among its values is wrong."""
    answers, batch, classes = values.shape
    flat = values.reshape(-1, classes)
    chosen = flat.argmax(axis=1)
    right = chosen == labels.ravel()
    if values.dtype.kind == "f" and flat.size and np.isnan(flat.min()):
        right &= ~np.isnan(flat).any(axis=1)
    return Compared(right.reshape(answers, batch), chosen.reshape(answers, batch))
