"""Warnings about the trials of a side, and about what differs between two sides beside what is compared."""

from collections.abc import Mapping, Sequence

from bench.analysis.grouping import conditions
from bench.analysis.grouping.trials import Trial
from bench.analysis.reading import environment
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.statistics.intervals import LENDERS

Pair = tuple[Sequence[Trial], Sequence[Trial]]


def of_sides(sides: Mapping[str, Sequence[Trial]]) -> list[RunWarning]:
    """Warnings of the trials of each side themselves, and about what they do not have in common or do not all know."""
    warnings = _of_trials(sides)
    for side, trials in sides.items():
        warnings += environment.mixed([trial.manifest for trial in trials], side)
        text = f"it is known for some runs of the {side} only"
        warnings += [environment.different(key, text) for key in conditions.partly_known(trials)]
        unknown = sum(conditions.commit(trial) is None for trial in trials)
        if 0 < unknown < len(trials):
            warnings.append(
                _unknown_commit(f"{side}: the commit of {unknown} of {len(trials)} trials is not known")
            )
    return warnings


def _of_trials(sides: Mapping[str, Sequence[Trial]]) -> list[RunWarning]:
    """Each kind of warning once, with the number of trials of each side that share it."""
    by_check: dict[str, dict[str, list[RunWarning]]] = {}
    for side, trials in sides.items():
        for trial in trials:
            for warning in {each.check: each for each in trial.warnings}.values():
                by_check.setdefault(warning.check, {}).setdefault(side, []).append(warning)
    warnings: dict[tuple[str, str], dict[str, list[str]]] = {}
    for check, by_side in by_check.items():
        for side, same in by_side.items():
            texts = warnings.setdefault((check, same[0].remedy), {})
            share = f"{side}, {len(same)} of {len(sides[side])} trials"
            texts.setdefault(same[0].reason, []).append(share)
    return [
        RunWarning(
            check,
            "; ".join(f"{', and '.join(shares)}: {reason}" for reason, shares in texts.items()),
            remedy,
        )
        for (check, remedy), texts in warnings.items()
    ]


def between(
    before: Sequence[Trial], after: Sequence[Trial], by: Sequence[str], *, paired: bool
) -> list[RunWarning]:
    """A warning for each fact that matters, differs or is known of one side only, and is not what is compared.

    Interleaved trials are compared within their block: each block has its own seed and so its own payload. Others as
    two sets.
    """
    groups: list[Pair] = (
        [((a,), (b,)) for a, b in zip(before, after, strict=True)] if paired else [(before, after)]
    )
    warnings: dict[str, RunWarning] = {}
    for pair in groups:
        manifests = [[trial.manifest for trial in side] for side in pair]
        for key, warning in environment.differences(*manifests).items():
            if not conditions.brought(key, by) and not _checked(key, *pair):
                warnings.setdefault(key, warning)
    for key, sides in conditions.half_known(before, after).items():
        if key == "commit":  # also where it is what is compared: nobody knows whether it differs
            warnings[key] = _unknown_commit(f"baseline and candidate are of commits {sides}")
        elif key not in warnings and not conditions.brought(key, by):
            warnings[key] = environment.different(key, sides)
    return list(warnings.values())


def one_session(before: Sequence[Trial], after: Sequence[Trial]) -> list[RunWarning]:
    """A warning about a side of one start of server and load: nothing in it shows how starts differ.

    A candidate of one borrows that from a baseline of several; one trial alone is no verdict anyway.
    """
    old, new = (len({trial.session or str(trial.path) for trial in side}) for side in (before, after))
    alone = "baseline" if old == 1 else "candidate" if new == 1 < len(after) else None
    if alone is None or (alone == "candidate" and old >= LENDERS):
        return []
    take = " and add these with bench baseline add" if alone == "baseline" else ""
    return [
        RunWarning(
            "one session",
            f"the {alone} has one session (start of server and load): it is not known how sessions differ",
            f"measure it in two more sessions{take}, or run both sides interleaved with bench gate --run",
        )
    ]


def unpaired(count: int, pairs: int) -> list[RunWarning]:
    """A warning about trials that are in no pair, though others are."""
    if not count:
        return []
    return [
        RunWarning(
            "unpaired trials",
            f"{count} of {count + 2 * pairs} trials have no partner in their block and are left out of {pairs} pairs",
            "continue the experiment: bench run FOLDER --resume",
        )
    ]


def _unknown_commit(text: str) -> RunWarning:
    return RunWarning(
        "unknown commit",
        f"{text}: whether all are of the same is not known",
        "judge those of one commit (--commit REV), or measure in a git checkout",
    )


def _checked(key: str, *sides: Sequence[Trial]) -> bool:
    """Whether both sides know a condition: they are alike in it, or would have been refused."""
    return all(any(key in conditions.conditions(trial.manifest) for trial in side) for side in sides)
