"""Failed trials as evidence: how many of a condition's trials failed, and whether that is allowed."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.grouping.identity import FailedTrial, Identity
from bench.analysis.grouping.trials import Trial, Trials
from bench.wording import counted


@dataclass(frozen=True)
class Failures:
    """The failed trials of one planned cell."""

    identity: Identity
    failed: list[FailedTrial]
    trials: int
    """All of its trials, those to come included."""
    allowed: float
    """The share of them that may fail."""

    @property
    def too_many(self) -> bool:
        """Whether more failed than may."""
        return len(self.failed) > self.allowed * self.trials

    @property
    def text(self) -> str:
        """Such as `3 of 6 trials failed: <reason of the first>`."""
        parts = (part for part in Identity._fields if part not in ("scenario", "build"))
        count, cell = len(self.failed), self.identity.words(parts)
        first = self.failed[0]
        return f"{cell}: {count} of {counted(self.trials, 'trial')} failed: {first.reason} ({first.path})"


def failures(trials: Trials, allowed: float, planned: int = 0) -> list[Failures]:
    """The failed trials by cell; planned: trials of each cell in all, where some are still to come."""
    measured: dict[Identity, set[str]] = {}
    for trial in trials.trials:
        measured.setdefault(_cell(trial), set()).add(str(trial.path))
    groups: dict[Identity, list[FailedTrial]] = {}
    for each in trials.failed:
        groups.setdefault(_cell(each), []).append(each)
    return [
        Failures(cell, failed, max(len(failed) + _others(cell, measured), planned), allowed)
        for cell, failed in groups.items()
    ]


def _others(cell: Identity, measured: dict[Identity, set[str]]) -> int:
    """Runs of a planned cell; one that asked for the latest version knows which one answered."""
    return len(
        {
            path
            for known, paths in measured.items()
            for path in paths
            if known == cell or (cell.version is None and known._replace(version=None) == cell)
        }
    )


def _cell(trial: Trial | FailedTrial) -> Identity:
    """What was planned: all requests of a run belong to it."""
    return trial.identity._replace(request="")


def partners_failed(unpaired: Sequence[Trial], failed: Sequence[FailedTrial]) -> bool:
    """Whether each trial without a partner lacks it because that one failed."""
    blocks = {each.block for each in failed}
    return all(trial.block in blocks for trial in unpaired)
