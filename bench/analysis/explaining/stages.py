"""The difference of two sides in mean latency, split into the stages of a request, with intervals.

Each trial's mean latency is split by `bench.analysis.reading.reconciliation`. The unit is the trial, as in every
comparison, and a stage is judged as a metric is: it is named where the whole interval of its difference lies beyond
TOLERANCE of the baseline's mean latency, all stages judged together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench import BenchError
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.change import Change, change, judged_together
from bench.analysis.judging.compare import Match
from bench.analysis.reading.metric import Metric
from bench.analysis.reading.reconciliation import Stage, split
from bench.analysis.statistics.intervals import ERROR_RATE
from bench.runs.run import Run

TOLERANCE: Final = 0.02
"""Share of the baseline's mean latency up to which the difference of a stage counts as none."""
COUNTED: Final = 0.01
"""Share of the requests by which the server's count may differ from the client's: beyond it, its times are of others too."""
BEYOND: Final = "network and server"
"""The stage behind the client where the server's counters are not known."""

Parts = dict[str, float]
"""Mean seconds of a request in each stage, in their order."""


@dataclass(frozen=True)
class StageChange:
    """The change of a stage."""

    stage: str
    change: Change
    """Differences in seconds."""

    @property
    def named(self) -> bool:
        """Whether the stage is shown to have become longer."""
        return self.change.verdict == "worse"


@dataclass(frozen=True)
class Differences:
    """The stages of a candidate beside those of its baseline."""

    stages: tuple[StageChange, ...]
    before: float
    """Mean latency in seconds."""
    after: float
    trials: tuple[int, int]

    @property
    def without_server(self) -> bool:
        """Whether the server's part is one stage with the network, since counters are not known."""
        return any(each.stage == BEYOND for each in self.stages)

    @property
    def named(self) -> list[StageChange]:
        """The stages that are shown to have become longer, the largest difference first."""
        return sorted((each for each in self.stages if each.named), key=lambda each: -each.change.size)

    def share(self, each: StageChange) -> float:
        """The difference of a stage as a share of the baseline's mean latency."""
        return each.change.size / self.before


def parts_of(trial: Trial) -> Parts | None:
    """The stages of a trial's mean latency; None where its run cannot be read, or answered nothing."""
    try:
        run = Run.open(trial.path)
        known = split(run)
        if known is not None and abs(known.server_requests - known.requests) <= COUNTED * known.requests:
            return {str(part.stage): part.seconds for part in known.parts}
        whole = run.within(*run.seconds)
        lag, service = (whole.histogram(kind) for kind in ("lag", "service"))
    except BenchError:
        return None
    return {str(Stage.CLIENT_QUEUE): lag.mean, BEYOND: service.mean} if lag.count else None


def differences(match: Match) -> Differences | None:
    """The stages that both sides know; None where a trial of them knows none, or no request took any time.

    Where a trial lacks the server's counters, all are split into the client's part and the rest.
    """
    sides = [[parts_of(trial) for trial in side] for side in (match.before, match.after)]
    known = [[parts for parts in side if parts is not None] for side in sides]
    if [len(side) for side in known] != [len(side) for side in sides] or not all(known):
        return None
    if any(BEYOND in parts for side in known for parts in side):
        known = [[_without_server(parts) for parts in side] for side in known]
    before, after = known
    return (
        _judged(before, after, match)
        if any(value > 0 for parts in before for value in parts.values())
        else None
    )


def _without_server(parts: Parts) -> Parts:
    client = str(Stage.CLIENT_QUEUE)
    return {client: parts[client], BEYOND: sum(value for name, value in parts.items() if name != client)}


def _judged(before: Sequence[Parts], after: Sequence[Parts], match: Match) -> Differences:
    means = [sum(sum(parts.values()) for parts in side) / len(side) for side in (before, after)]
    changes = [
        change(
            _metric(stage, means[0]),
            [parts[stage] for parts in before],
            [parts[stage] for parts in after],
            paired=match.paired,
            later=match.later,
            sessions=match.sessions,
            rate=ERROR_RATE,
        )
        for stage in before[0]
    ]
    stages = tuple(map(StageChange, before[0], judged_together(changes)))
    return Differences(stages, means[0], means[1], (len(before), len(after)))


def _metric(stage: str, latency: float) -> Metric:
    """A stage as something that is judged: by differences, since a stage may take no time at all."""
    return Difference(stage, "s", "lower", lambda _: 0.0, stage, tolerance=TOLERANCE * latency)


class Difference(Metric):
    """A duration whose changes are differences."""

    @property
    def ratio(self) -> bool:
        """They are not ratios."""
        return False
