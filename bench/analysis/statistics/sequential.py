"""Sequential tests: looks at trials still coming in without more false verdicts.

Who looks after every block until something is significant finds something in the end. So the error rate is spent
piece by piece: a look when the share t of the budget is used may spend alpha * (f(t) - f(t of the look before)) with
f(t) = t**2, a spending function of Kim and DeMets (1987, "Design and analysis of group sequential tests based on the
type I error spending rate function", Biometrika 74), which keeps most of it for later, when there is more to see. The
pieces add up to alpha, so by Bonferroni's inequality all looks together are wrong with at most that probability,
however much they have in common. The share may be one of blocks or one of time (Lan and DeMets 1989, "Group
sequential procedures: calendar versus information time", Statistics in Medicine 8): when a look comes must only not
depend on what was seen.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.analysis.statistics.intervals import ERROR_RATE

FIRST: Final = 4
"""Blocks before the first look, if there can be more: fewer say next to nothing of how trials differ."""
LEAST: Final = 2
"""Blocks without which nothing is known of how trials differ."""
GROWTH: Final = 1.4
"""Each look has so many times as many blocks as the one before: a few looks, none of them long to wait for."""


class Look(NamedTuple):
    """A moment at which the trials so far are judged."""

    blocks: int
    rate: float
    """The error rate that this look may use."""
    last: bool = False
    """Whether no block follows it."""


@dataclass
class Looks:
    """The looks of a gate whose blocks are as many as a budget turns out to allow."""

    alpha: float = ERROR_RATE
    _next: int = FIRST
    _used: float = 0.0

    def after(self, blocks: int, used: float, *, last: bool) -> Look | None:
        """The look that is due after so many blocks, with this share of the budget used; None: go on without one.

        last: whether no further block fits into the budget; what is left of the error rate is then spent.
        """
        if not (blocks >= self._next or (last and blocks >= LEAST)):
            return None
        share = 1.0 if last else min(1.0, used)
        rate = self.alpha * (share**2 - self._used**2)
        if rate <= 0:
            return None
        self._used = share
        self._next = max(blocks + 1, round(blocks * GROWTH))
        return Look(blocks, rate, last)


def looks(most: int, alpha: float = ERROR_RATE) -> list[Look]:
    """The looks of a gate that runs at most so many blocks; none where these are fewer than LEAST."""
    coming = Looks(alpha)
    possible = (coming.after(blocks, blocks / most, last=blocks == most) for blocks in range(1, most + 1))
    return [look for look in possible if look is not None]
