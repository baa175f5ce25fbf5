"""The smallest sufficient number of users: of those that send again as soon as they are answered, the fewest that reach most of the throughput.

Throughput grows with the users until the server is always busy, and then only the latency grows (Little 1961). The knee is
the smallest number of users that reaches KNEE of the plateau: of the most throughput that any number of users within
the service level has. A ladder of doublings finds the plateau, and halving the gap below it the knee; what is left of the
time goes to the two of which it is least sure on which side they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from bench.analysis.capacity.bracket import knee
from bench.analysis.capacity.level import Floats, Level
from bench.analysis.capacity.search import CONFIDENCE
from bench.analysis.statistics.distributions import stdtrit
from bench.runs.capacity import Knee

KNEE: Final = 0.95
"""Share of the plateau."""
FLAT: Final = 1.03
"""Factor of the throughput by which twice the users have to add to it; where two doublings do not, the plateau is there."""
MOST_USERS: Final = 4096
LIMIT: Final = 0.1
"""Share by which the most users within the service level are known well enough."""
AGAIN: Final = 3
"""Levels, at most, that are to tell whether a number of users misses the service level: one pause is enough for one to fail."""


class UsersLevel(NamedTuple):
    """The results of a number of users."""

    users: int
    level: Level
    answered: tuple[int, ...]
    """Requests answered rightly, in parts of equal length."""


class Throughput(NamedTuple):
    """Requests per second, from all levels of equally many users."""

    rate: float
    error: float
    """Standard error of its logarithm."""
    parts: int
    within: bool
    """Whether the service level is kept."""
    doubtful: bool
    """Whether it is missed, but perhaps by chance."""
    levels: int
    """How many levels it was measured in."""


@dataclass
class Ladder:
    """The search of one knee."""

    allowed: float
    """Share of requests that may miss the service level."""
    max_errors: float | None = None
    levels: list[UsersLevel] = field(default_factory=list)

    @property
    def known(self) -> dict[int, Throughput]:
        """By the number of users, in their order."""
        by_users: dict[int, list[UsersLevel]] = {}
        for each in self.levels:
            by_users.setdefault(each.users, []).append(each)
        return {users: self._of(by_users[users]) for users in sorted(by_users)}

    @property
    def best(self) -> int | None:
        """The users with the most throughput within the service level."""
        within = {users: each.rate for users, each in self.known.items() if each.within and each.rate > 0}
        return max(within, key=lambda users: within[users], default=None)

    @property
    def knee(self) -> Knee | None:
        """None where no number of users keeps the service level."""
        known, best = self.known, self.best
        if best is None:
            return None
        plateau = known[best].rate
        fewest = min(users for users in known if users <= best and known[users].rate >= KNEE * plateau)
        below, surely = knee({users: self._reaches(users, best) for users in known if users <= best})
        return Knee(
            users=fewest,
            low=min(fewest, (below or 0) + 1),
            high=max(fewest, surely) if surely is not None and self.levelled else None,
            throughput=known[fewest].rate,
            plateau=plateau,
            share=KNEE,
        )

    @property
    def levelled(self) -> bool:
        """Whether more users would not reach more within the service level."""
        known, best = self.known, self.best
        if best is None:
            return False
        failing = self._failing
        if failing is not None and failing > best:
            return self._gap is None
        top = sorted(users for users in known)[-3:]
        return len(top) == 3 and known[top[2]].rate < FLAT * known[top[0]].rate

    def next(self) -> int | None:
        """The users to measure now; None: none help."""
        known, failing = self.known, self._failing
        most = max(known, default=0)
        if failing is not None and known[failing].doubtful and known[failing].levels < AGAIN:
            return failing
        if failing is None and not self.levelled:
            return max(1, 2 * most) if 2 * most <= MOST_USERS else None
        if self.best is None:
            return None if failing == 1 else (failing or 2) // 2
        if self._gap is not None:
            return self._gap
        knee = self.knee
        if knee is None or knee.low == knee.high:
            return None
        below = max((users for users in known if users < knee.users), default=0)
        if knee.users - below > 1:
            return (below + knee.users + 1) // 2 if below else knee.users // 2
        unsure = {users for users in (below, knee.users, self.best) if users}
        return min(unsure, key=lambda users: known[users].parts)

    @property
    def decided(self) -> bool:
        """Whether more levels are of no use."""
        return bool(self.levels) and self.next() is None

    @property
    def _failing(self) -> int | None:
        """The fewest users that miss the service level beyond those that keep it."""
        known = self.known
        within = max((users for users, each in known.items() if each.within), default=0)
        return min(
            (users for users, each in known.items() if not each.within and users > within), default=None
        )

    @property
    def _gap(self) -> int | None:
        """Users between the most that keep the service level and the fewest that miss it, while throughput grows there."""
        failing, known = self._failing, self.known
        within = max((users for users, each in known.items() if each.within), default=0)
        if failing is None or not within or failing - within <= max(1.0, LIMIT * within):
            return None
        fewer = max((users for users in known if users <= within / 2), default=within)
        if fewer < within and known[within].rate < FLAT * known[fewer].rate:
            return None
        return (within + failing) // 2

    def _reaches(self, users: int, best: int) -> bool | None:
        """Whether so many surely reach KNEE of the best throughput; None: it is not sure."""
        fewer, other = self.known[users], self.known[best]
        if users == best:
            return True
        if fewer.rate <= 0:
            return False
        t = float(stdtrit(max(2, min(fewer.parts, other.parts) - 1), (1 + CONFIDENCE) / 2))
        apart = math.log(fewer.rate / other.rate / KNEE)
        return None if abs(apart) <= t * math.hypot(fewer.error, other.error) else apart > 0

    def _of(self, levels: Sequence[UsersLevel]) -> Throughput:
        seconds = sum(each.level.seconds for each in levels)
        answered = sum(sum(each.answered) for each in levels)
        lengths = [each.level.seconds / len(each.answered) for each in levels]
        rates: Floats = np.concatenate(
            [np.array(each.answered) / length for each, length in zip(levels, lengths, strict=True)]
        )
        mean = answered / seconds if seconds else 0.0
        rest = rates - mean
        square = float(rest @ rest)
        shared = float(rest[1:] @ rest[:-1]) / square if square else 0.0
        spread = math.sqrt(square / max(1, len(rates) - 1) / len(rates) * (1 + 2 * max(0.0, shared)))
        limits = [_within([each.level.misses for each in levels], self.allowed, levels)]
        if self.max_errors is not None:
            limits.append(_within([each.level.errors for each in levels], self.max_errors, levels))
        within, sure = all(each for each, _ in limits), any(sure for each, sure in limits if not each)
        error = spread / mean if mean else 0.0
        return Throughput(mean, error, len(rates), within, not within and not sure, len(levels))


def _within(
    counts: Sequence[tuple[int, ...]], allowed: float, levels: Sequence[UsersLevel]
) -> tuple[bool, bool]:
    """Whether at most the allowed share of requests is among those counted; and, if not, whether that is sure (one-sided 95 %).

    counts: of each level, by parts. One pause makes misses in one part; without another it may have been chance.
    """
    beyond: Floats = np.concatenate(
        [
            np.array(each) - allowed * of.level.requests / len(each)
            for each, of in zip(counts, levels, strict=True)
        ]
    )
    over, parts = float(beyond.sum()), len(beyond)
    if over <= 0 or parts < 2:
        return over <= 0, False
    chance = float(stdtrit(parts - 1, 0.95)) * math.sqrt(parts * float(beyond.var(ddof=1)))
    return False, over > chance
