"""The effect of each parameter: main effects on the logarithm of the score.

All settings of the first round are fitted by least squares with a mean, a level for each value of each parameter, and one
for each block. Where each value was tried with each this is the difference of means; what parameters do together
(interactions) is in the residuals, and so in the width of the intervals, which are Student's t.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from bench.analysis.statistics.distributions import stdtrit

CONFIDENCE: Final = 0.95
"""Of each interval by itself."""
WIDEST: Final = 20.0
"""Half of an interval of logarithms from which on it says nothing."""


class Effect(NamedTuple):
    """The mean score under one value of a parameter by that under its first value."""

    parameter: str
    value: Any
    ratio: float
    low: float | None
    """Ends of the interval; None: as many settings as unknowns show no spread."""
    high: float | None


class Observation(NamedTuple):
    """A score above 0 of a setting in a block."""

    values: Mapping[str, Any]
    block: int
    score: float


def effects(observations: Sequence[Observation], parameters: Mapping[str, Sequence[Any]]) -> list[Effect]:
    """The effects of every value but the first of each parameter; nothing of values that were not measured apart."""
    levels = [
        (name, value)
        for name, values in parameters.items()
        for value in _measured(observations, name, values)[1:]
    ]
    if not observations or not levels:
        return []
    blocks = sorted({each.block for each in observations})
    rows = [
        [
            1.0,
            *(float(each.values[name] == value) for name, value in levels),
            *(each.block == b for b in blocks[1:]),
        ]
        for each in observations
    ]
    matrix = np.array(rows, dtype=np.float64)
    scores = np.log([each.score for each in observations])
    rank = int(np.linalg.matrix_rank(matrix))
    inverse = np.linalg.pinv(matrix)
    fitted = inverse @ scores
    freedom = len(scores) - rank
    residual = float(((scores - matrix @ fitted) ** 2).sum())
    # a combination of coefficients can be told where the rows of the matrix span it
    spanned = inverse @ matrix
    listed = []
    for at, (name, value) in enumerate(levels, 1):
        if abs(spanned[at] - np.eye(matrix.shape[1])[at]).max() > 1e-6:
            continue
        half = math.inf
        if freedom > 0:
            variance = residual / freedom * float((inverse[at] ** 2).sum())
            half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
        mean = float(fitted[at])
        ends = (math.exp(mean - half), math.exp(mean + half)) if half < WIDEST else (None, None)
        listed.append(Effect(name, value, math.exp(mean), *ends))
    return listed


def _measured(observations: Sequence[Observation], name: str, values: Sequence[Any]) -> list[Any]:
    """The values of a parameter that some setting had, in their order."""
    seen = {json.dumps(each.values.get(name)) for each in observations}
    return [value for value in values if json.dumps(value) in seen]
