"""Balanced orders: each condition equally often in each position.

A Williams design (Williams 1949, "Experimental designs balanced for the estimation of residual effects of treatments"):
a Latin square in which, of an even number of conditions, each also follows each other one equally often; of an odd
number that takes two squares, of which this takes turns. Which condition stands for which letter and in which turn the
rows come is drawn from a seed.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

Condition = TypeVar("Condition")


def order(conditions: Sequence[Condition], row: int, seed: str) -> list[Condition]:
    """The row-th order, from 0; any that follow each other in whole squares have each condition equally often in each place."""
    count = len(conditions)
    square, at = divmod(row, count)
    rng = random.Random(seed)  # noqa: S311 - an order, no secret
    letters, rows = list(conditions), list(range(count))
    rng.shuffle(letters)
    rng.shuffle(rows)
    first = _zigzag(count)
    if count % 2 and square % 2:
        first.reverse()
    return [letters[(place + rows[at]) % count] for place in first]


def _zigzag(count: int) -> list[int]:
    """0, 1, n - 1, 2, n - 2, ...: neighbours differ by each distance once."""
    places = [0]
    for step in range(1, count):
        places.append((step + 1) // 2 if step % 2 else count - step // 2)
    return places
