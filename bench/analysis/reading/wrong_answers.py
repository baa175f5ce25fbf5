"""Warnings about answers: wrong ones, and ones by another version than asked for."""

from typing import Final

from bench.analysis.reading.run_warning import RunWarning
from bench.runs.run import Run
from bench.wording import counted

ROLLOUT: Final = "rollout"
"""The question of a run that changes the server's versions itself."""


_MOST_LISTED: Final = 10


def check(run: Run) -> list[RunWarning]:
    """Answers of the whole run that were not what was asked for, or came from another version."""
    whole = run.within(*run.seconds)
    warnings = []
    mismatched = sum(tally.mismatched for tally in whole.tallies.values())
    if mismatched:
        warnings += _by_cause(run, mismatched)
    warnings += _not_numbers(run)
    requested = run.manifest.target.version_asked
    by_name: dict[str, set[int]] = {}
    for key, _ in whole.tallies:
        if key.version is not None:
            by_name.setdefault(key.name, set()).add(key.version)
    versions = sorted(set().union(*by_name.values()))
    others = [version for version in versions if requested is not None and version != requested]
    if others and not mismatched:
        warnings.append(
            RunWarning(
                "other version",
                f"version {requested} was requested and {_listed(others)} answered",
                "compare the server's configuration with what the run requests",
            )
        )
    changed = any(len(numbers) > 1 for numbers in by_name.values())
    before, after = run.manifest.target.version, run.manifest.target.version_after
    unnamed = not versions and None not in (before, after) and before != after
    if requested is None and (changed or unnamed) and not version_may_change(run):
        text = (
            f"the server changed the version it answers with: {_listed(versions)}"
            if changed
            else f"the server had version {before} before the load and has version {after} after it; its answers name none"
        )
        warnings.append(
            RunWarning(
                "version change",
                text,
                "name one version (--model-version), or keep the model folder still",
            )
        )
    return warnings


def _not_numbers(run: Run) -> list[RunWarning]:
    """Answers of a model that computes nothing any more are as quick as others."""
    lacking = [causes["nan"] for causes in run.manifest.wrong_answers.values() if "nan" in causes]
    count = sum(each.count for each in lacking)
    if not count:
        return []
    remedy = "compare them with the model's answers elsewhere (bench predict); accept this where nan is meant"
    text = f"{counted(count, 'answer')} hold nan: {' '.join(lacking[0].example.split())}"
    return [RunWarning("not a number", text, remedy)]


def version_may_change(run: Run) -> bool:
    """Whether it is planned that other versions answer."""
    return run.manifest.load.plan.kind == "trace" or run.manifest.question == ROLLOUT


def _listed(versions: list[int]) -> str:
    """The first of them in words."""
    more = [f"{len(versions) - _MOST_LISTED} more"] if len(versions) > _MOST_LISTED else []
    return ", ".join([*map(str, versions[:_MOST_LISTED]), *more])


_CAUSES: Final = {
    "unreadable": ("could not be read", "check which server answers at this address"),
    "model": (
        "came from another model than requested",
        "compare the server's configuration with the payload",
    ),
    "version": (
        "came from another version than requested",
        "compare the server's configuration with what the run requests",
    ),
    "versions": (
        "named more versions than are counted apart, and are counted without their version",
        "check which server answers at this address",
    ),
    "missing output": (
        "lacked the output",
        "name one of the outputs that `bench metadata` shows in the payload",
    ),
    "dtype": ("had a different dtype than expected", "compare the output with what `bench metadata` shows"),
    "shape": ("had a different shape than expected", "compare the output with what `bench metadata` shows"),
    "values": (
        "differed from what the same request got before",
        "compare them with an idle server's; for a model with random answers set repeatable = False",
    ),
}
"""Cause in the manifest's `wrong_answers` -> what is said of such answers, and the remedy."""


def _by_cause(run: Run, mismatched: int) -> list[RunWarning]:
    """A warning for each cause of wrong answers."""
    counts: dict[str, int] = {}
    examples: dict[str, str] = {}
    for causes in run.manifest.wrong_answers.values():
        for cause, wrong in causes.items():
            counts[cause] = counts.get(cause, 0) + wrong.count
            examples.setdefault(cause, " ".join(wrong.example.split()))
    warnings = [
        RunWarning(
            "wrong answers",
            f"{counted(count, 'answer')} {_CAUSES[cause][0]}: {examples[cause]}",
            _CAUSES[cause][1],
        )
        for cause, count in sorted(counts.items(), key=lambda item: -item[1])
        if cause in _CAUSES
    ]
    unnamed = mismatched - sum(count for cause, count in counts.items() if cause in _CAUSES)
    if unnamed > 0:
        text = f"{counted(unnamed, 'wrong answer')}; the run does not record by which check"
        remedy = "run it again, and see its `wrong_answers` in manifest.json"
        warnings.append(RunWarning("wrong answers", text, remedy))
    return warnings
