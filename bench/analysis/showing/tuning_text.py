"""The answer of a tuning in sentences."""

import math
from collections.abc import Sequence
from typing import Final

from bench.analysis import formatting
from bench.analysis.tuning.race import Scores, mean_score
from bench.config.tune import words
from bench.runs.tuning import Gain, TunedSetting, Tuning
from bench.wording import counted

SHOWN: Final = 3
"""Settings of a line of progress."""


def sentences(tuning: Tuning) -> list[str]:
    """What is best and by how much, then the other one of the last comparison, and what it took."""
    texts = [_answer(tuning)]
    others = [each for each in tuning.gains if each.setting != tuning.best]
    if tuning.outcome in ("gain", "undecided"):
        texts += [_other(each, tuning) for each in others]
    grid = ""
    if tuning.trials and tuning.outcome != "unfinished" and tuning.trials < tuning.grid_trials:
        grid = f"; {grid_text(len(tuning.settings))} would be {tuning.grid_trials:,}"
    texts.append(f"{counted(tuning.trials, 'trial')}{grid}")
    return texts


def grid_text(settings: int) -> str:
    """What a race spares: so many settings, measured as often as those of its last comparison."""
    return f"all {counted(settings, 'setting')} in as many blocks as the last comparison has"


def _answer(tuning: Tuning) -> str:
    best = None if tuning.best is None else tuning.setting(tuning.best)
    won = next((each for each in tuning.gains if each.setting == tuning.best), None)
    if best is None:
        reasons = [each.reason for each in tuning.settings if each.reason]
        return f"inconclusive: no setting was measured{f' ({reasons[0]})' if reasons else ''}"
    title = f"{best.name} ({words(best.values) or 'the default'})"
    if tuning.outcome == "load generator":
        return f"no answer: the load generator was the limit ({tuning.reason})"
    if tuning.outcome == "unfinished":
        of_default = _level(tuning.settings[0], tuning)
        return f"unfinished; the best so far: {title}: {_level(best, tuning)}, the default {of_default}"
    tolerance = f"{tuning.tolerance:.0%}".replace("%", " %")
    if won is None or won.ratio is None:
        why = next((each.reason for each in tuning.gains if each.reason), "")
        return f"inconclusive: nothing is known of the gain of {title}{f': {why}' if why else ''}"
    if tuning.outcome == "none":
        return f"nothing beats the default by more than {tolerance}: the best, {title}, gains {_gained(won, tuning)}"
    if tuning.outcome == "gain":
        of_default = _level(tuning.settings[0], tuning)
        by = "" if tuning.percentile is None else "a "
        return f"{title} beats the default by {by}{_gained(won, tuning)}; {_level(best, tuning)}, the default {of_default}"
    more = ""
    if won.needed_low is not None:
        number = f"{won.needed_low}" if won.needed_high is None else f"{won.needed_low} to {won.needed_high}"
        more = f"; {'at least ' if won.needed_high is None else ''}{number} blocks would decide: a greater `trials`"
    return f"inconclusive: {title} gains {_gained(won, tuning)}, which may be no more than {tolerance}{more}"


def _other(each: Gain, tuning: Tuning) -> str:
    setting = tuning.setting(each.setting)
    title = f"{setting.name} ({words(setting.values)})"
    return f"{title}: {_gained(each, tuning)}" if each.ratio is not None else f"{title}: {each.reason}"


def _gained(each: Gain, tuning: Tuning) -> str:
    """Such as `31 % (27 to 35 % in a 99 % interval, 12 blocks)`; of a latency, by how much lower it is."""
    latency = tuning.percentile is not None
    sizes = [each.ratio or 1.0, each.low or 0.0, each.high or math.inf]
    percents = [100 * (1 - 1 / size if latency else size - 1) if size > 0 else -math.inf for size in sizes]
    size, low, high = (_percent(percent) for percent in percents)
    lower = f" lower p{tuning.percentile:g}" if latency else ""
    return f"{size} %{lower} ({low} to {high} % in a {100 * (each.confidence or 0):.3g} % interval, {each.blocks} blocks)"


def _percent(value: float) -> str:
    if not math.isfinite(value):
        return "?"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.1f}"


def _level(setting: TunedSetting, tuning: Tuning) -> str:
    """What was measured of a setting in one number."""
    if tuning.percentile is None:
        return f"{formatting.rate(setting.throughput)} examples/s with p99 {formatting.duration(setting.p99)}"
    score = setting.score or 0.0
    return f"p{tuning.percentile:g} {formatting.duration(1 / score if score else math.inf)}"


def standing_text(scores: Scores, order: Sequence[str], default: str) -> str:
    """The best settings of a round, by their scores relative to the default's in the blocks that both have."""
    texts = []
    for name in order[:SHOWN]:
        both = [block for block in scores[name] if block in scores.get(default, {})]
        gain = (
            mean_score(scores[name], both) - mean_score(scores.get(default, {}), both) if both else math.nan
        )
        known = math.isfinite(gain)
        texts.append(f"{name} ({100 * math.expm1(gain):+.1f} % to the default)" if known else name)
    return f"the best: {', '.join(texts)}" if texts else "no setting was measured"
