"""The pair of tried values between which something that grows passes a bound."""

import math
from collections.abc import Iterable, Mapping


def bracket(tried: Iterable[tuple[float, bool]]) -> tuple[float | None, float | None]:
    """The highest rate below which none failed, and the lowest above which none passed; None: there is none.

    tried: rates, and whether each passed. A rate that failed below one that passed, as in a pause of the server, is no end.
    """
    every = list(tried)
    lowest = min((rate for rate, passed in every if not passed), default=math.inf)
    highest = max((rate for rate, passed in every if passed), default=-math.inf)
    below = max((rate for rate, passed in every if passed and rate < lowest), default=None)
    return below, min((rate for rate, passed in every if not passed and rate > highest), default=None)


def knee(reaches: Mapping[int, bool | None]) -> tuple[int | None, int | None]:
    """The largest size that surely does not reach most of the best below the smallest that surely does, and this one.

    reaches: by size; None: it is not sure. None in the result: there is none.
    """
    smallest = min((size for size, reached in reaches.items() if reached), default=None)
    below = [
        size
        for size, reached in reaches.items()
        if reached is False and (smallest is None or size < smallest)
    ]
    return max(below, default=None), smallest
