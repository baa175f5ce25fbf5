"""Campaigns of trials with a known truth: noise between trials, drift of the machine, a known change."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.grouping.trials import Trial
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.statistics.clustered import Seconds
from bench.runs.manifest import Manifest

BASE = Identity("mnist", "Predict", "embedded", "", "mnist", 1, 8, "16 users")


NOTHING = Manifest.of({"state": "finished", "started": "2026-03-01T12:00:00", "scenario": "mnist"})
"""The manifest of a run of which nothing else is known."""


class Shown(NamedTuple):
    """What a run shows of itself: the same interval at any confidence."""

    ends: dict[str, tuple[float, float]]
    seconds: int = 60

    def interval(
        self, metric: str, confidence: float, answered_within: float | None = None
    ) -> tuple[float, float] | None:
        return self.ends.get(metric)

    def requests_of(self, share: str, answered_within: float | None = None) -> Seconds:
        return Seconds(np.zeros(self.seconds), np.full(self.seconds, 10_000 / self.seconds))


def trial(
    identity: Identity,
    values: dict[str, float],
    *,
    block: int | None = None,
    warnings: tuple[RunWarning, ...] = (),
    manifest: dict[str, object] | None = None,
    number: int = 0,
    ends: dict[str, tuple[float, float]] | None = None,
    session: str = "",
    examples: int = 10_000,
) -> Trial:
    """A trial with these values; what is not given is nan."""
    return Trial(
        identity=identity,
        values=dict.fromkeys(METRICS, float("nan")) | values,
        block=None if block is None else ("experiment", block),
        path=Path(f"results/{number:03}"),
        started=f"2026-03-01T12:00:{number:02}",
        warnings=list(warnings),
        manifest=Manifest.of({**NOTHING.raw, **manifest}) if manifest else NOTHING,
        answered=10_000,
        requests=10_000,
        within=None if ends is None else Shown(ends),
        examples=examples,
        session=session or f"{number} {identity}",
    )


def campaign(
    rng: np.random.Generator,
    *,
    trials: int,
    change: float = 1.0,
    noise: float = 0.01,
    drift: float = 0.0,
    interleaved: bool = True,
    metrics: tuple[str, ...] = ("p50",),
) -> tuple[list[Trial], list[Trial]]:
    """Trials of a baseline, and of a candidate `change` times as slow.

    The machine becomes slower by `drift` from the first trial to the last; interleaved trials stand in blocks of
    two in random order, others all after those of the baseline.
    """
    other = BASE._replace(version=2)
    before, after = [], []
    for block in range(trials):
        sides = [(BASE, before, 1.0), (other, after, change)]
        order = rng.permutation(2)
        for position, side in enumerate(order):
            identity, held, factor = sides[side]
            at = 2 * block + position if interleaved else block + trials * side
            slower = 1 + drift * at / (2 * trials)
            values = {
                name: 0.002 * factor * slower * float(np.exp(noise * rng.standard_normal()))
                for name in metrics
            }
            held.append(trial(identity, values, block=block if interleaved else None, number=at))
    return before, after
