"""Find the examples that two conditions answer differently.

An example is suspected where its first two answers differ by more than the tolerance. A model may differ from itself,
too: it draws lots, or adds up in another order. So both are asked again about the suspected examples, and about some
others. An example differs where each answer of one condition is further from each answer of the other than the
tolerance, and more than twice as far as any two answers of the same condition are from each other. Of a model that flips
a coin, n answers of each side are apart by chance with probability 2 ** (1 - 2 n): 0.8 % for 4, 0.003 % for 8.
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Any, Final, NamedTuple

from bench.analysis.agreement.values import (
    IDS,
    NUMBERS,
    Array,
    best,
    best_distance,
    distance,
    floor_of,
    kind_of,
    limit_of,
    overlap,
)
from bench.runs.answers import OutputAgreement

Answer = Mapping[str, Array] | str
"""Outputs of one example by name; a text: the error instead."""
Again = Callable[[Sequence[int]], Mapping[int, tuple[Answer, Answer]]]
"""Asks both about some examples again; gives those that there was time for."""

TOLERANCE: Final = 1e-3
MOST_REPEATED: Final = 300
"""Suspected examples that are asked again; of more, as many as these show are taken to differ."""
OTHERS_REPEATED: Final = 50
"""Further examples that are asked again: they show whether a condition differs from itself."""
ROUNDS: Final = 8
"""Answers of each condition to a suspected example, where a condition differs from itself; else 2."""
SPREAD: Final = 2.0
WORST: Final = 10
TOP: Final = 10
"""Best values that `overlap` is about, unless told otherwise."""


class Rule(NamedTuple):
    """The tolerance within which two answers agree."""

    tolerance: float = TOLERANCE
    """Relative difference of numbers."""
    top: int | None = None
    """So many best values, or first ids, have to be the same; None: all values."""
    outputs: tuple[str, ...] = ()
    """What is compared; none: every output of the baseline."""

    @property
    def text(self) -> str:
        """In a word or two."""
        return "values" if self.top is None else f"top {self.top}"


class Difference(NamedTuple):
    """The difference of two answers to one example."""

    beyond: float
    """As a multiple of what agrees: above 1 they differ; inf: not to be measured."""
    size: float
    """Relative difference of numbers; inf: not to be measured."""
    output: str
    cause: str
    """`values`, `missing output`, `shape`, `dtype` or `no answer`."""


SAME: Final = Difference(0.0, 0.0, "", "values")


class Differences:
    """The examples that two conditions answer differently."""

    def __init__(
        self, before: Sequence[Answer], after: Sequence[Answer], rule: Rule, *, seed: int = 1
    ) -> None:
        """before, after: [examples], each condition's first answers."""
        self.rule = rule
        self.before, self.after = before, after
        outputs = dict.fromkeys(name for each in before if not isinstance(each, str) for name in each)
        self.outputs = [name for name in outputs if not rule.outputs or name in rule.outputs]
        self._floors = {name: floor_of(_of(before, name)) for name in self.outputs}
        self.first = [self.between(*pair) for pair in zip(before, after, strict=True)]
        self.suspected = [number for number, each in enumerate(self.first) if each.beyond > 1]
        self._rng = random.Random(seed)  # noqa: S311 - a sample, no secret
        self._answers: dict[int, tuple[list[Answer], list[Answer]]] = {}

    def between(self, before: Answer, after: Answer) -> Difference:
        """How two answers differ: in the output in which they differ most."""
        if isinstance(before, str) or isinstance(after, str):
            both = isinstance(before, str) and isinstance(after, str)
            return SAME if both else Difference(math.inf, math.inf, "", "no answer")
        worst = SAME
        for name in self.outputs:
            if name not in before and name not in after:
                continue
            difference = self._of_output(name, before.get(name), after.get(name))
            if (difference.beyond, difference.size) > (worst.beyond, worst.size):
                worst = difference
        return worst

    def _of_output(self, name: str, a: Array | None, b: Array | None) -> Difference:
        if a is None or b is None:
            return Difference(math.inf, math.inf, name, "missing output")
        if self.rule.top is not None and a.size > 1:
            size = best_distance(a, b, self.rule.top)
            return Difference(size, size, name, "values")
        size = distance(a, b, self._floors[name])
        if size == 0:
            return SAME
        if kind_of(a) != kind_of(b):
            return Difference(math.inf, math.inf, name, "dtype")
        if a.shape != b.shape:
            return Difference(math.inf, math.inf, name, "shape")
        limit = max(limit_of(a, self.rule.tolerance), limit_of(b, self.rule.tolerance))
        return Difference(size / limit if limit else math.inf, size, name, "values")

    def repeat(self, again: Again) -> None:
        """Ask again where it matters."""
        chosen = self.suspected
        if len(chosen) > MOST_REPEATED:
            chosen = sorted(self._rng.sample(chosen, MOST_REPEATED))
        known = set(self.suspected)
        others = [number for number in range(len(self.first)) if number not in known]
        others = sorted(self._rng.sample(others, min(OTHERS_REPEATED, len(others))))
        self._note(again([*chosen, *others]))
        if not any(self._spread(number, side) > 1 for number in self._answers for side in (0, 1)):
            return
        for _ in range(ROUNDS - 2):
            left = [number for number in chosen if self.differs(number)]
            if not left:
                return
            self._note(again(left))

    def _note(self, answers: Mapping[int, tuple[Answer, Answer]]) -> None:
        for number, pair in answers.items():
            sides = self._answers.setdefault(number, ([self.before[number]], [self.after[number]]))
            for side, answer in zip(sides, pair, strict=True):
                side.append(answer)

    def differs(self, number: int) -> bool:
        """Whether an example differs, as far as it was asked."""
        if number not in self._answers:
            return self.first[number].beyond > 1
        before, after = self._answers[number]
        nearest = min(self.between(*pair).beyond for pair in product(before, after))
        return nearest > 1 and nearest > SPREAD * max(self._spread(number, 0), self._spread(number, 1))

    def _spread(self, number: int, side: int) -> float:
        """How far a condition's own answers to an example are from each other."""
        pairs = combinations(self._answers[number][side], 2)
        return max((self.between(*pair).beyond for pair in pairs), default=0.0)

    @property
    def repeated(self) -> list[int]:
        """The examples that were asked again."""
        return sorted(self._answers)

    def unsteady(self, side: int) -> int:
        """Of these, those to which a condition (0: the baseline) gave answers that differ."""
        return sum(self._spread(number, side) > 1 for number in self._answers)

    @property
    def count(self) -> int:
        """Examples that differ; where not all suspected ones were asked again, in the proportion of those that were."""
        again = [number for number in self.suspected if number in self._answers]
        confirmed = sum(self.differs(number) for number in again)
        if not again:
            return len(self.suspected)
        return round(len(self.suspected) * confirmed / len(again))

    @property
    def worst(self) -> list[int]:
        """The examples that differ most, largest first; of conditions that differ from themselves, those asked again."""
        numbers = [number for number in self.suspected if self.differs(number)]
        if self.unsteady(0) or self.unsteady(1):
            numbers = [number for number in numbers if number in self._answers]
        order = sorted(numbers, key=lambda number: (-self.first[number].beyond, number))
        return order[:WORST]

    def by_output(self) -> list[OutputAgreement]:
        """How each output agrees, by the first answers."""
        return [self._agreement(name) for name in self.outputs]

    def _agreement(self, name: str) -> OutputAgreement:
        pairs = list(_pairs(self.before, self.after, name))
        if not pairs:
            return OutputAgreement(
                output=name, kind=IDS, compared=0, differing=0, note="in no answer of both"
            )
        differences = [self._of_output(name, *pair) for pair in pairs]
        kind = kind_of(pairs[0][0])
        sizes = [distance(a, b, self._floors[name]) for a, b in pairs] if kind == NUMBERS else []
        finite = [size for size in sizes if math.isfinite(size)]
        ranked = _ranking(pairs, kind, self.rule.top or TOP)
        return OutputAgreement(
            output=name,
            kind=kind,
            compared=len(pairs),
            differing=sum(each.beyond > 1 for each in differences),
            largest=max(finite, default=None),
            mean=math.fsum(finite) / len(finite) if finite else None,
            incomparable=len(sizes) - len(finite),
            note=_note(pairs),
            **ranked,
        )

    def notes(self, before: str, after: str) -> list[str]:
        """What outputs one condition alone has, and what cannot be compared."""
        sides = [
            {name for each in answers if not isinstance(each, str) for name in each}
            for answers in (self.before, self.after)
        ]
        if not all(sides):
            return []
        texts = []
        for own, others, has, lacks in ((0, 1, before, after), (1, 0, after, before)):
            names = sorted(sides[own] - sides[others])
            if names:
                texts.append(
                    f"{lacks} lacks output{'s' * (len(names) > 1)} {', '.join(names)}, which {has} has"
                )
        return texts


def _of(answers: Iterable[Answer], name: str) -> Iterable[Array]:
    arrays = (each[name] for each in answers if not isinstance(each, str) and name in each)
    return (each for each in arrays if kind_of(each) == NUMBERS)


def _pairs(before: Sequence[Answer], after: Sequence[Answer], name: str) -> Iterable[tuple[Array, Array]]:
    for a, b in zip(before, after, strict=True):
        if not isinstance(a, str) and not isinstance(b, str) and name in a and name in b:
            yield a[name], b[name]


def _ranking(pairs: Sequence[tuple[Array, Array]], kind: str, most: int) -> dict[str, Any]:
    """The agreement on what is best, of outputs with several values for each example."""
    if not all(a.size > 1 and b.size > 1 and kind_of(a) == kind_of(b) for a, b in pairs):
        return {}
    first = sum(best(a, 1) == best(b, 1) for a, b in pairs)
    size = min(min(a.size, b.size) for a, b in pairs)
    if kind == NUMBERS and size <= most:  # all of them are among the best
        return {"first": first}
    top = min(most, size)
    shared = math.fsum(overlap(a, b, top) for a, b in pairs) / len(pairs)
    return {"first": first, "top": top, "overlap": shared}


def _note(pairs: Sequence[tuple[Array, Array]]) -> str:
    """What dtypes or shapes differ in, where they do."""
    remarks = []
    for attribute, of in (("dtype", _dtype), ("shape", _shape)):
        other = next(((of(a), of(b)) for a, b in pairs if of(a) != of(b)), None)
        if other is not None:
            remarks.append(f"{attribute} {other[0]} and {other[1]}")
    return ", ".join(remarks)


def _dtype(values: Array) -> str:
    return "string" if values.dtype.kind in "OSU" else str(values.dtype)


def _shape(values: Array) -> str:
    return str(list(values.shape))
