"""When may a gate look at trials that are still coming in, without being wrong more often for it?

Who looks after every block until something is significant finds something in the end. So the error rate is spent
piece by piece: look l at n of at most N blocks may use alpha * (f(n_l / N) - f(n_(l-1) / N)) with f(t) = t**2, a
spending function of Kim and DeMets (1987, "Design and analysis of group sequential tests based on the type I error
spending rate function", Biometrika 74), which keeps most of it for later, when there is more to see. The pieces add
up to alpha, so by Bonferroni's inequality all looks together are wrong with at most that probability, however much
they have in common.
"""

from typing import Final, NamedTuple

from bench.analysis.intervals import ERROR_RATE

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


def looks(most: int, alpha: float = ERROR_RATE) -> list[Look]:
    """The looks of a gate that runs at most so many blocks; none where these are fewer than LEAST."""
    found: list[Look] = []
    blocks = min(FIRST, most)
    while most >= LEAST:
        before = found[-1].blocks if found else 0
        found.append(Look(blocks, alpha * ((blocks / most) ** 2 - (before / most) ** 2)))
        if blocks == most:
            break
        blocks = min(most, max(blocks + 1, round(blocks * GROWTH)))
    return found
