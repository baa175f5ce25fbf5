"""The pair of tried values between which something that grows passes a bound."""

from collections.abc import Iterable, Mapping


def bracket(tried: Iterable[tuple[float, bool]]) -> tuple[float | None, float | None]:
    """The highest rate that passed below all that failed, and the lowest that failed; None: there is none.

    tried: rates, and whether each passed.
    """
    every = list(tried)
    least = min((rate for rate, passed in every if not passed), default=None)
    passed = [rate for rate, passed in every if passed and (least is None or rate < least)]
    return max(passed, default=None), least


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
