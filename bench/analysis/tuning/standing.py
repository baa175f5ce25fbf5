"""The knowledge of a tuning's settings so far, from the trials that were measured."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from bench.analysis.statistics.front import front
from bench.analysis.tuning.measured import Measured
from bench.analysis.tuning.race import Scores, mean_score
from bench.runs.tuning import TunedSetting


@dataclass
class Standing:
    """Trials by setting, block and load."""

    trials: dict[str, dict[int, dict[str, Measured]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Setting -> why a trial of it failed."""

    def add(self, setting: str, block: int, load: str, result: Measured | str) -> None:
        """A trial, or why it counts nothing."""
        if isinstance(result, str):
            self.failed.setdefault(setting, result)
        else:
            self.trials.setdefault(setting, {}).setdefault(block, {})[load] = result

    def able(self, names: Iterable[str]) -> list[str]:
        """Those of which no trial failed."""
        return [name for name in names if name not in self.failed]

    def scores(self, blocks: Collection[int]) -> Scores:
        """The score of each setting in some blocks: under the load that suits it best."""
        return {
            name: {
                block: max(each.score for each in loads.values())
                for block, loads in own.items()
                if block in blocks
            }
            for name, own in self.trials.items()
        }

    def best_load(self, name: str) -> str | None:
        """The load under which the scores of a setting are the highest in the mean; None: nothing was measured."""
        by_load: dict[str, dict[int, float]] = {}
        for block, loads in self.trials.get(name, {}).items():
            for load, each in loads.items():
                by_load.setdefault(load, {})[block] = each.score
        return max(by_load, key=lambda load: mean_score(by_load[load], by_load[load]), default=None)

    def under_best_load(self, name: str, blocks: Collection[int] | None = None) -> list[Measured]:
        """The trials of a setting under that load."""
        load = self.best_load(name)
        own = self.trials.get(name, {})
        return [
            loads[load]
            for block, loads in sorted(own.items())
            if load is not None and load in loads and (blocks is None or block in blocks)
        ]


def described(
    standing: Standing,
    settings: Sequence[tuple[str, str, int, Mapping[str, Any]]],
    last_round: Callable[[str], int],
) -> list[TunedSetting]:
    """All settings as they are written. settings: name, server, batch and values of each; last_round: it took part in."""
    listed = []
    for name, server, batch, values in settings:
        trials = standing.under_best_load(name)
        own = standing.trials.get(name, {})
        score = mean_score(standing.scores(own)[name], own) if own else -math.inf
        listed.append(
            TunedSetting(
                name=name,
                server=server,
                batch=batch,
                values=dict(values),
                round=last_round(name),
                blocks=len(own),
                load=standing.best_load(name),
                throughput=_mean([each.throughput for each in trials]),
                p99=_mean([each.p99 for each in trials]),
                in_time=_share([each.in_time for each in trials]),
                score=math.exp(score) if own else None,
                cost_per_million=_mean([each.cost for each in trials]),
                reason=standing.failed.get(name, ""),
            )
        )
    points = {
        each.name: (each.p99, each.throughput)
        for each in listed
        if each.throughput is not None and each.p99 is not None and not each.reason
    }
    unbeaten = front(points)
    return [each.model_copy(update={"pareto": each.name in unbeaten}) for each in listed]


def _mean(values: Sequence[float]) -> float | None:
    """The geometric mean; None of nothing, and where one is not known."""
    if not values or not all(math.isfinite(value) for value in values):
        return None
    return math.exp(fmean(map(math.log, values))) if min(values) > 0 else 0.0


def _share(values: Sequence[float]) -> float | None:
    return fmean(values) if values and all(math.isfinite(value) for value in values) else None
