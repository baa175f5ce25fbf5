"""Settings with known throughput, as a race meets them; without a clock.

A trial shows the truth of its setting times what its block and its own luck do: blocks differ by 3 %, trials by 2 %, and one in
twenty is disturbed and loses up to a fifth.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bench.analysis.tuning.conclusion import Pairs, best_of, gain, outcome
from bench.analysis.tuning.race import rounds, survivors
from bench.runs.tuning import Gain

DEFAULT: Final = "default"
FINAL: Final = 12
"""Blocks of the last comparison."""
OF_BLOCKS, OF_TRIALS, DISTURBED, LOST = 0.03, 0.02, 0.05, 0.2


def surface(seed: int) -> dict[str, float]:
    """48 settings of three parameters, of which the best lies where the seed has it, and a default below most of them."""
    rng = np.random.default_rng(seed)
    sizes, delays, threads = rng.uniform(0, 0.4, 4), rng.uniform(0, 0.3, 3), rng.uniform(0, 0.3, 4)
    found = {}
    for size, delay, thread in itertools.product(range(4), range(3), range(4)):
        both = rng.normal(0, 0.05)  # what the parameters do together
        found[f"{size}{delay}{thread}"] = math.exp(sizes[size] + delays[delay] + threads[thread] + both)
    return found | {DEFAULT: float(np.quantile(list(found.values()), 0.3))}


def flat() -> dict[str, float]:
    """48 settings that change nothing."""
    return {f"{number:02}": 1.0 for number in range(48)} | {DEFAULT: 1.0}


@dataclass
class Raced:
    """A race as it went."""

    chosen: str
    trials: int
    gains: list[Gain]
    outcome: str
    scores: dict[str, dict[int, float]] = field(default_factory=dict)


def race(truth: dict[str, float], seed: int, final: int = FINAL, spread: float = OF_TRIALS) -> Raced:
    """Run all rounds on a surface. spread: of trials."""
    rng = np.random.default_rng(1000 + seed)
    contenders = [name for name in truth if name != DEFAULT]
    scores: dict[str, dict[int, float]] = {}
    block = trials = 0
    planned = rounds(len(contenders), final)
    for number, each in enumerate(planned):
        if number:
            contenders = survivors(scores, contenders, each.settings)
        blocks = range(block + 1, block + each.blocks + 1)
        for block in blocks:
            own = math.exp(rng.normal(0, OF_BLOCKS))
            for name in (*contenders, DEFAULT):
                scores.setdefault(name, {})[block] = truth[name] * own * luck(rng, spread)
                trials += 1
    later = [bool(at % 2) for at in range(planned[-1].blocks)]
    gains = [
        gain(Pairs(name, _of(scores[DEFAULT], blocks), _of(scores[name], blocks), later), len(contenders))
        for name in contenders
    ]
    best = best_of(gains)
    assert best is not None
    return Raced(best.setting, trials, gains, outcome(gains, {}, DEFAULT)[0], scores)


def luck(rng: np.random.Generator, spread: float) -> float:
    """Of one trial."""
    lost = rng.uniform(0, LOST) if rng.random() < DISTURBED else 0.0
    return math.exp(rng.normal(0, spread)) * (1 - lost)


def grid_trials(truth: dict[str, float], final: int = FINAL) -> int:
    """Of all settings, each as often as those of the last comparison."""
    return len(truth) * final


def _of(scores: dict[int, float], blocks: Sequence[int]) -> list[float]:
    return [scores[block] for block in blocks]
