"""Shapes of what `--json` prints: types that schemas are made of. Durations are seconds; null is what is not known."""

from typing import (
    Any,
    Final,
    Literal,
    NotRequired,  # of `typing` only from Python 3.12 on, for pydantic
)

from typing_extensions import TypedDict

from bench.runs.answers import Answers
from bench.runs.capacity import Capacity
from bench.runs.tuning import Tuning

Seconds = float | None


class IdentityOut(TypedDict):
    """A condition: what was measured, under which load."""

    scenario: str
    request: str
    server: str
    build: str
    model: str
    version: int | None
    batch: int
    load: str


class WarningOut(TypedDict):
    """A warning, by the name that accepts it."""

    check: str
    reason: str
    remedy: str


class WarmUpOut(TypedDict):
    """The warm-up that was left out at the start of a run, with its own figures."""

    rule: str
    seconds: float
    settled: bool
    requests: NotRequired[int | None]
    p50: NotRequired[Seconds]
    p99: NotRequired[Seconds]
    error_share: NotRequired[float | None]


class InterruptionOut(TypedDict):
    """A stretch in which a run was disturbed; instants in seconds since its start."""

    kind: str
    begin: float
    end: float
    seconds: float
    requests: int
    text: str


class AnswerOut(TypedDict):
    """The answer to a scenario's question: a sentence, and its numbers."""

    text: str
    values: dict[str, float | None]


class SplitOut(TypedDict):
    """Latency breakdown (mean), from the server's counters."""

    requests: int
    server_requests: int
    mean: float
    parts: dict[str, float]


class LineOut(TypedDict):
    """One request name, version and batch size of a run; each metric by its name beside these keys."""

    name: str
    version: int | None
    batch: int
    requests: int
    answered: int
    outcomes: dict[str, int]
    unsupported: list[str]
    reasons: dict[str, Any]


class RunOut(TypedDict):
    """A run."""

    path: str
    run: str
    started: str
    note: str | None
    finished: bool
    state: str
    scenario: str
    server: str
    load: str
    seconds: float
    warm_up: WarmUpOut
    doubts: list[WarningOut]
    interruptions: list[InterruptionOut]
    answers: list[AnswerOut]
    split: SplitOut | None
    retries: int | None
    addresses: dict[str, int]
    waited: dict[str, int]
    lines: list[LineOut]


class MetricOut(TypedDict):
    """A metric over the trials of a condition."""

    trials: int
    mean: float | None
    low: float | None
    high: float | None
    mean_of: Literal["logarithms", "values"]
    not_reached: int
    ends: Literal["interval", "range"]


class CellOut(IdentityOut):
    """A condition of an experiment, averaged over its trials."""

    experiment: str
    trials: int
    doubted: int
    confidence: float
    metrics: dict[str, MetricOut]


class FailedOut(IdentityOut):
    """A failed trial."""

    reason: str
    path: str


class UnreadableOut(TypedDict):
    """A folder that could not be read."""

    path: str
    reason: str


class AgreementOut(TypedDict):
    """Agreement of the answers of two conditions, and the experiment that compared them."""

    path: str
    answers: Answers


class SearchedOut(TypedDict):
    """A capacity, and the experiment that searched it."""

    path: str
    capacity: Capacity


class TunedOut(TypedDict):
    """A tuning, and the experiment that made it."""

    path: str
    tuning: Tuning


class ReportOut(TypedDict):
    """The output of `bench report --json`."""

    schema: Literal[1]
    units: dict[str, str]
    runs: list[RunOut]
    cells: list[CellOut]
    failed_trials: list[FailedOut]
    not_run: list[IdentityOut]
    cut_short: list[str]
    agreements: list[AgreementOut]
    capacities: list[SearchedOut]
    tunings: list[TunedOut]
    unreadable: list[UnreadableOut]


class ChangeOut(TypedDict):
    """The change of a metric from baseline to candidate."""

    metric: str
    told_as: Literal["ratio", "difference"]
    before: float | None
    after: float | None
    size: float | None
    low: float | None
    high: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None
    verdict: Literal["better", "worse", "same", "unknown"]
    tolerance: float
    p: float
    method: str | None
    confidence: float
    needed: int | None
    needed_low: int | None
    needed_high: int | None
    reason: str


class StageOut(TypedDict):
    """A stage of the mean latency on both sides, in seconds."""

    stage: str
    baseline: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    named: bool


class ComparisonOut(TypedDict):
    """Two conditions."""

    baseline: IdentityOut
    candidate: IdentityOut
    varied: list[str]
    trials: list[int]
    paired: bool
    doubts: list[WarningOut]
    changes: list[ChangeOut]
    stages: list[StageOut] | None


class UnmatchedOut(IdentityOut):
    """A condition of one side only."""

    side: str


class MissingOut(TypedDict):
    """A cell without a trial."""

    what: str
    reason: str


class CompareOut(TypedDict):
    """The output of `bench compare --json`."""

    schema: Literal[1]
    confidence: float
    comparisons: list[ComparisonOut]
    unmatched: list[UnmatchedOut]
    missing: list[MissingOut]


class FindingOut(TypedDict):
    """The outcome of one limit in one condition."""

    limit: str
    metric: str
    relative: bool
    cell: IdentityOut | None
    asked_for: str
    outcome: Literal["pass", "FAIL", "inconclusive"]
    measured: float | None
    low: float | None
    high: float | None
    allowed: Any
    how: str
    confidence: float | None
    needed: int | None
    needed_low: int | None
    needed_high: int | None


class FailuresOut(TypedDict):
    """Failed trials of a condition."""

    cell: IdentityOut
    failed: int
    trials: int
    allowed: float
    too_many: bool
    broken: bool
    reasons: list[str]
    paths: list[str]


class CardRowOut(TypedDict):
    """A line of the card of a verdict that is no pass."""

    title: str
    text: str


class CauseOut(TypedDict):
    """A reason for a FAIL."""

    kind: Literal[
        "failed trials",
        "errors",
        "wrong answers",
        "load generator",
        "event",
        "slow seconds",
        "load process",
        "payload",
        "stage",
    ]
    what: str
    text: str
    sure: bool
    cell: IdentityOut | None


class BreakdownOut(TypedDict):
    """The stages of a cell."""

    cell: IdentityOut | None
    stages: list[StageOut]


class CardOut(TypedDict):
    """A failed limit: the failure, its cause, since when it fails, and what to do next."""

    rows: list[CardRowOut]
    causes: list[CauseOut]
    breakdowns: list[BreakdownOut]


class GateOut(TypedDict):
    """The output of `bench gate --json FILE`."""

    schema: Literal[1]
    code: Literal[0, 1, 3]
    verdict: str
    confidence: float
    trials: int
    findings: list[FindingOut]
    failed_trials: list[FailuresOut]
    left_out: list[str]
    doubts: list[WarningOut]
    accepted_doubts: list[WarningOut]
    card: CardOut | None


class ClaimOut(ChangeOut):
    """A change, and whether the sentences state a difference."""

    claimed: bool


class AbOut(TypedDict):
    """The output of `bench ab --json FILE`."""

    schema: Literal[1]
    folder: str
    sentences: list[str]
    changes: list[ClaimOut]
    stages: list[StageOut] | None
    answers: Answers | None
    gate: GateOut | None


class CapacityOut(TypedDict):
    """The output of `bench capacity --json FILE`."""

    schema: Literal[1]
    folder: str
    sentences: list[str]
    capacity: Capacity


class TuneOut(TypedDict):
    """The output of `bench tune --json FILE`."""

    schema: Literal[1]
    folder: str
    sentences: list[str]
    files: list[str]
    tuning: Tuning


OUTPUTS: Final = {
    "report": ReportOut,
    "compare": CompareOut,
    "gate": GateOut,
    "ab": AbOut,
    "capacity": CapacityOut,
    "tune": TuneOut,
}
"""Verb -> the type of what its `--json` gives."""
