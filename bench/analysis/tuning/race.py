"""A race of settings: rounds after which the worse ones are left out, so that most of the time goes to the best few.

Successive halving (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter
optimization"): each round takes about as many trials, shared by fewer settings. All settings of a round are measured in
the same blocks, interleaved, and are compared in the blocks that they have in common: what the machine does in a block hits
all of them. The last round is another one: the best two and the default are measured in fresh blocks, of which the gain is
told, since the blocks that chose a winner flatter it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

FINALISTS: Final = 2
"""Settings that the default is compared with at last."""
KEEP: Final = 3
"""Of so many settings one goes on to the next round."""
ROUND_TRIALS: Final = 16
"""Trials that a round has at least, where the last comparison is no shorter."""

Scores = Mapping[str, Mapping[int, float]]
"""Setting -> block -> score: higher is better, 0 is the worst."""


class Round(NamedTuple):
    """A part of the race."""

    settings: int
    """That take part, beside the default."""
    blocks: int

    @property
    def trials(self) -> int:
        """Trials, with the default's."""
        return (self.settings + 1) * self.blocks


def rounds(settings: int, final: int) -> list[Round]:
    """The rounds of so many settings beside the default; the last one is the comparison, of `final` blocks."""
    planned, left = [], settings
    while left > FINALISTS:
        planned.append(Round(left, max(1, min(final, round(ROUND_TRIALS / left)))))
        left = max(FINALISTS, math.ceil(left / KEEP))
    return [*planned, Round(left, final)]


def ranked(scores: Scores, names: Collection[str]) -> list[str]:
    """Those of the names that have scores, the best first, by their mean logarithms in the blocks that they have in common."""
    present = [name for name in names if scores.get(name)]
    common = set.intersection(*(set(scores[name]) for name in present)) if present else set()
    means = {name: mean_score(scores[name], common or scores[name]) for name in present}
    return sorted(present, key=lambda name: -means[name])


def mean_score(scores: Mapping[int, float], blocks: Collection[int]) -> float:
    """The mean logarithm; -inf where one of them is 0."""
    values = [scores[block] for block in blocks]
    return math.fsum(map(math.log, values)) / len(values) if all(value > 0 for value in values) else -math.inf


def survivors(scores: Scores, names: Sequence[str], places: int) -> list[str]:
    """The best of a round's settings, for so many places in the next one."""
    return ranked(scores, names)[:places]
