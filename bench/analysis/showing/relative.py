"""Conditions of an experiment relative to the first of them: ratios with intervals, and the conclusion in a sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.analysis.grouping.groups import CONFIDENCE, FEWEST, Group
from bench.analysis.grouping.identity import PARTS
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.judging.change import Change, change
from bench.wording import counted

THROUGHPUT: Final = "inferences_per_second"
LATENCY: Final = "p50"
IN_WORDS: Final = {THROUGHPUT: "throughput", LATENCY: "median latency"}


@dataclass(frozen=True)
class Relative:
    """One condition relative to the first of its experiment."""

    group: Group
    base: Group
    ratio: Change | None
    """None: it is the first itself, or was measured once."""

    @property
    def text(self) -> str:
        """Such as `x1.36 ±0.05`; the half width of the 95 % interval, from four trials on."""
        if self.group is self.base:
            return "x1"
        if self.ratio is None or not math.isfinite(self.ratio.size):
            return ""
        half = (self.ratio.high - self.ratio.low) / 2
        few = min(len(self.group.trials), len(self.base.trials)) < FEWEST or not math.isfinite(half)
        digits = _digits(self.ratio.size)
        return f"x{self.ratio.size:.{digits}f}" + ("" if few else f" ±{half:.{digits}f}")


def metric_of(*, closed: bool) -> str:
    """What conditions are compared in: an open loop has the throughput that was ordered."""
    return THROUGHPUT if closed else LATENCY


def relatives(groups: Sequence[Group], metric: str) -> list[Relative]:
    """Each group relative to the first of the same experiment, over common blocks where there are two of them."""
    bases: dict[str, Group] = {}
    return [_relative(group, bases.setdefault(group.experiment, group), metric) for group in groups]


def _relative(group: Group, base: Group, metric: str) -> Relative:
    if group is base:
        return Relative(group, base, None)
    blocks = {trial.block: trial for trial in base.trials}
    pairs = [(blocks[trial.block], trial) for trial in group.trials if trial.block in blocks]
    first, second = zip(*pairs, strict=True) if len(pairs) > 1 else (base.trials, group.trials)
    difference = change(
        METRICS[metric],
        [trial.values.get(metric, math.nan) for trial in first],
        [trial.values.get(metric, math.nan) for trial in second],
        paired=len(pairs) > 1,
        rate=(1 - CONFIDENCE) / 2,
    )
    return Relative(group, base, difference)


def conclusion(groups: Sequence[Group], metric: str) -> str | None:
    """One sentence on the condition that differs most from the first; None where more than one thing varies."""
    varied = [part for part in PARTS if len({getattr(group.identity, part) for group in groups}) > 1]
    varied = [part for part in varied if not (part == "build" and "server" in varied)]
    known = [
        each
        for each in relatives(groups, metric)
        if each.ratio is not None and math.isfinite(each.ratio.size) and each.ratio.size > 0
    ]
    if len(varied) != 1 or not known or len({group.experiment for group in groups}) > 1:
        return None
    most = max(known, key=lambda each: abs(math.log(each.ratio.size if each.ratio else 1.0)))
    assert most.ratio is not None  # noqa: S101 - those without are left out above
    name, base = (each.identity.words(varied) for each in (most.group, most.base))
    few = min(len(most.group.trials), len(most.base.trials)) < FEWEST
    ends = f"{_text(most.ratio.low)} to {_text(most.ratio.high)}"
    if not few and most.ratio.low <= 1 <= most.ratio.high:
        return f"no significant difference in {IN_WORDS[metric]} between {base} and {name} (ratio {ends})"
    interval = f"{counted(len(most.group.trials), 'trial')} each, no interval" if few else ends
    return f"{name} has {_text(most.ratio.size)} times the {IN_WORDS[metric]} of {base} ({interval})"


def _text(ratio: float) -> str:
    return f"{ratio:.{_digits(ratio)}f}"


def _digits(ratio: float) -> int:
    return 2 if ratio < 10 else 1 if ratio < 100 else 0
