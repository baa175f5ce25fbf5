"""Ranking of conditions: the best, those not told apart, and the Pareto front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trial, known
from bench.analysis.judging.change import change, judged_together
from bench.analysis.statistics.front import front
from bench.analysis.statistics.intervals import alone


class Measured(Protocol):
    """A trial, as far as it is ranked."""

    @property
    def block(self) -> tuple[str, int] | None:
        """The experiment and the block in it."""

    @property
    def values(self) -> Mapping[str, float]:
        """Every metric by name."""


@dataclass(frozen=True)
class Place:
    """One thing's place in an order."""

    rank: int
    """From 1; the same for all that are not distinguishable from the best of them."""
    identity: Identity
    value: float
    trials: int


def ranking(groups: dict[Identity, list[Trial]], metric: str) -> list[Place]:
    """From best to worst; a place is shared with whatever is not shown to be better. Without those not measured."""
    how = METRICS[metric]
    measured = {identity: trials for identity, trials in groups.items() if known(trials, metric)}
    centre = {identity: _mean(known(trials, metric)) for identity, trials in measured.items()}
    order = sorted(centre, key=lambda identity: centre[identity], reverse=how.better == "higher")
    places: list[Place] = []
    leader: Identity | None = None
    rank = 0
    for at, identity in enumerate(order):
        if leader is None or shown_worse(measured[leader], measured[identity], metric, len(order)):
            leader, rank = identity, at + 1
        places.append(Place(rank, identity, centre[identity], len(measured[identity])))
    return places


def pareto(groups: dict[Identity, list[Trial]]) -> list[Identity]:
    """Those that no other beats in both p99 and inferences per second, by their means over the trials."""
    sides = {
        identity: [known(trials, name) for name in ("p99", "inferences_per_second")]
        for identity, trials in groups.items()
    }
    return front(
        {identity: (_mean(p99), _mean(rate)) for identity, (p99, rate) in sides.items() if p99 and rate}
    )


def _mean(values: Sequence[float]) -> float:
    return alone(values).mean


def shown_worse(leader: Sequence[Measured], other: Sequence[Measured], metric: str, compared: int) -> bool:
    """Whether the other is shown to be worse, with the error rate of all that are ranked."""
    blocks = {trial.block: trial for trial in leader if trial.block is not None}
    pairs = [(blocks[trial.block], trial) for trial in other if trial.block in blocks]
    first, second = zip(*pairs, strict=True) if len(pairs) > 1 else (leader, other)
    difference = change(
        METRICS[metric],
        [trial.values[metric] for trial in first],
        [trial.values[metric] for trial in second],
        paired=len(pairs) > 1,
        tolerance=0.0,
    )
    # Bonferroni over the steps of the order: their number is known before, their p-values one after the other
    return judged_together([difference] * max(1, compared - 1))[0].verdict == "worse"
