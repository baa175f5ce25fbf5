"""The Pareto front of things that have a cost and a gain."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

Thing = TypeVar("Thing", bound=Hashable)


def front(points: Mapping[Thing, tuple[float, float]]) -> list[Thing]:
    """Those that no other one beats in both. points: cost, which is to be low, and gain, which is to be high."""
    return [
        thing
        for thing, (paid, gained) in points.items()
        if not any(p <= paid and g >= gained and (p, g) != (paid, gained) for p, g in points.values())
    ]
