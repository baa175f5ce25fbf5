"""A tuning's result from its trials: every setting, the gains, the effects of the parameters, and what has to be said of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bench.analysis import formatting
from bench.analysis.tuning import effects
from bench.analysis.tuning.conclusion import (
    TOLERANCE,
    Pairs,
    best_of,
    gain,
    limited_by_generator,
    outcome,
)
from bench.analysis.tuning.race import ranked
from bench.analysis.tuning.standing import Standing, described
from bench.config.tune import Objective
from bench.runs.tuning import Effect, Gain, Tuning
from bench.wording import counted

MOST_FAILED: Final = 3
"""Failed settings that have a remark of their own."""


class Raced(NamedTuple):
    """A round: who took part beside the default, and in which blocks."""

    names: list[str]
    blocks: range


class Measurements(NamedTuple):
    """All that a tuning has measured."""

    settings: Sequence[tuple[str, str, int, Mapping[str, Any]]]
    """Name, server, batch size and values of each, the default first."""
    parameters: Mapping[str, Sequence[Any]]
    objective: Objective
    standing: Standing
    rounds: Sequence[Raced]
    """As far as they are planned."""
    later: Callable[[str, int], bool]
    """Whether a setting was measured after the default in a block."""
    final_blocks: int
    loads: int
    finished: bool
    """Whether the last round is the comparison, and was run."""

    @property
    def default(self) -> str:
        """Its name."""
        return self.settings[0][0]


def answer(measurements: Measurements) -> Tuning:
    """What is known: the answer where all rounds were run, else the best so far."""
    standing, objective = measurements.standing, measurements.objective
    last = measurements.rounds[-1] if measurements.rounds else Raced([], range(0))
    finalists = last.names if measurements.finished else []
    gains = [gain(_pairs(measurements, name, last.blocks), len(finalists)) for name in finalists]
    limits = {
        name: (each.limit, each.remedy)
        for name in (measurements.default, *finalists)
        for trials in [standing.under_best_load(name, last.blocks)]
        if limited_by_generator([each.limit for each in trials])
        for each in [next(each for each in trials if each.limit)]
    }
    best = best_of(gains)
    if measurements.finished:
        result, reason = outcome(
            gains, {name: "; ".join(each) for name, each in limits.items()}, measurements.default
        )
    else:
        result, reason = "unfinished", ""
    names = [name for name, *_ in measurements.settings]
    if best is not None:
        name_of_best: str | None = best.setting
    else:
        scores = standing.scores(range(1, last.blocks.stop))
        name_of_best = next(iter(ranked(scores, standing.able(last.names))), None)
    return Tuning(
        objective=objective.text,
        percentile=objective.percentile,
        service_level=objective.service_level,
        outcome=result,
        tolerance=TOLERANCE,
        best=name_of_best,
        gains=gains,
        settings=described(standing, measurements.settings, lambda name: _last_round(measurements, name)),
        effects=_effects(measurements),
        effect_confidence=effects.CONFIDENCE,
        trials=sum(len(loads) for own in standing.trials.values() for loads in own.values()),
        grid_trials=len(names) * measurements.final_blocks * measurements.loads,
        reason=reason,
        remarks=_remarks(measurements, best, limits if result == "gain" else {}, last.blocks),
    )


def _last_round(measurements: Measurements, name: str) -> int:
    inside = [
        number
        for number, each in enumerate(measurements.rounds, 1)
        if name in each.names or name == measurements.default
    ]
    return max(inside, default=0)


def _pairs(measurements: Measurements, name: str, blocks: range) -> Pairs:
    """The scores of the default and a setting in the blocks that both have."""
    for setting in (measurements.default, name):
        if setting in measurements.standing.failed:
            return Pairs(name, [], [], [], f"{setting} failed: {measurements.standing.failed[setting]}")
    scores = measurements.standing.scores(blocks)
    first, second = scores.get(measurements.default, {}), scores.get(name, {})
    both = [block for block in blocks if block in first and block in second]
    return Pairs(
        name,
        [first[block] for block in both],
        [second[block] for block in both],
        [measurements.later(name, block) for block in both],
    )


def _effects(measurements: Measurements) -> list[Effect]:
    """Of the first round, in which all settings took part."""
    if not measurements.rounds:
        return []
    scores = measurements.standing.scores(measurements.rounds[0].blocks)
    observations = [
        effects.Observation(values, block, score)
        for name, _, _, values in measurements.settings
        if values and name not in measurements.standing.failed
        for block, score in scores.get(name, {}).items()
        if score > 0
    ]
    return [Effect(**each._asdict()) for each in effects.effects(observations, measurements.parameters)]


def _remarks(
    measurements: Measurements, best: Gain | None, limits: Mapping[str, tuple[str, str]], blocks: range
) -> list[str]:
    """What the numbers do not show. limits: settings of which the load generator was the limit, where a gain is claimed."""
    texts = []
    if best is not None and best.setting in limits:
        texts.append(
            f"the load generator was the limit of {best.setting} ({limits[best.setting][0]}): it gains at "
            f"least that much; {limits[best.setting][1]}"
        )
    for name in dict.fromkeys((measurements.default, *([] if best is None else [best.setting]))):
        trials = measurements.standing.under_best_load(name, blocks) if measurements.finished else []
        missed = [each for each in trials if each.in_time < measurements.objective.share]
        if missed:
            worst = formatting.share(max(1 - each.in_time for each in missed))
            texts.append(
                f"{name} misses the service level in {len(missed)} of {counted(len(trials), 'block')} (up to {worst} of the "
                "requests are late or fail), and counts by so much less: fewer users would show what it sustains"
            )
    failed = list(measurements.standing.failed.items())
    texts += [f"{name} failed: {reason}" for name, reason in failed[:MOST_FAILED]]
    if len(failed) > MOST_FAILED:
        texts.append(f"and {counted(len(failed) - MOST_FAILED, 'setting')} more failed")
    return texts
