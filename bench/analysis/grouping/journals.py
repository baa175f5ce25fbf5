"""Records of experiments beside their runs: failed trials, trials that were not run, and how the experiment ended."""

import json
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import BenchError
from bench.analysis.grouping.identity import FailedTrial, Identity
from bench.runs.journal import (
    COMPLETE,
    DECIDED,
    INTERRUPTED,
    JOURNAL,
    OUT_OF_TIME,
    RUNNING,
    Journal,
    experiment_of,
)
from bench.runs.manifest import Manifest
from bench.runs.run import Experiment, Unreadable
from bench.wording import counted


class Journals(NamedTuple):
    """Records of experiments beside their runs."""

    failed: list[FailedTrial]
    not_run: list[Identity]
    unreadable: list[Unreadable]
    left_out: list[str]
    """Measured trials of the cells that were named, which were not named."""
    cut_short: list[str]
    """Experiments that ended before their plan did, and not because enough was known."""


def read_journals(
    experiments: Iterable[Experiment],
    measured: Iterable[tuple[Path, Manifest]],
    others: Iterable[tuple[Path, Manifest]] = (),
) -> Journals:
    """The failed trials of experiments, and what they have not run.

    measured, others: paths and manifests of runs that were measured, and of failed ones. Of an experiment of which
    only some runs were named, the trials of their cells count.
    """
    contents = Journals([], [], [], [], [])
    ran = [(experiment_of(path), _cell_key(manifest.cell.facts())) for path, manifest in measured]
    ran_or_failed = ran + [
        (experiment_of(path), _cell_key(manifest.cell.facts())) for path, manifest in others
    ]
    for experiment in experiments:
        try:
            journal = Journal.read(experiment.path)
        except BenchError as error:
            contents.unreadable.append(Unreadable(experiment.path, str(error)))
            continue
        contents.unreadable.extend(
            Unreadable(
                journal.path, f"{journal.path / JOURNAL}: trial {end.number} failed and is not in the plan"
            )
            for end in journal.unplanned
        )
        home = experiment.path.resolve()
        named = {cell for folder, cell in ran_or_failed if folder is not None and folder.resolve() == home}
        for planned, end in journal.failed:
            if experiment.whole or _cell_key(planned.cell) in named:
                block = (str(home), planned.block)
                where = experiment.path / end.folder if end.folder else experiment.path
                contents.failed.append(
                    FailedTrial(_planned(planned.cell, journal), block, end.reason or "", where)
                )
        manifests = {
            path: manifest
            for path, manifest in (*measured, *others)
            if (folder := experiment_of(path)) is not None and folder.resolve() == home
        }
        numbers = {manifest.experiment.trial for manifest in manifests.values() if manifest.experiment}
        contents.cut_short.extend(_cut_short(journal, numbers, None if experiment.whole else named))
        if not experiment.whole:
            contents.left_out.extend(_not_named(journal, numbers, named))
        else:
            contents.unreadable.extend(_gone(journal, manifests.values()))
            failed = {path for path, _ in others}
            runs = {path: manifest for path, manifest in manifests.items() if path not in failed}
            contents.unreadable.extend(_disagreements(journal, runs))
            done = {cell for folder, cell in ran if folder is not None and folder.resolve() == home}
            done |= {_cell_key(planned.cell) for planned, _ in journal.failed}
            every = {_cell_key(planned.cell): planned.cell for planned in journal.planned}
            contents.not_run.extend(_planned(cell, journal) for key, cell in every.items() if key not in done)
    return contents


def _not_named(journal: Journal, present: Set[int | None], cells: Set[str]) -> list[str]:
    """Measured trials of these cells that are there, and were not named with the others."""
    cell_of = {planned.number: _cell_key(planned.cell) for planned in journal.planned}
    left = {
        end.number
        for end in journal.ended
        if end.outcome == "measured"
        and end.number not in present
        and cell_of.get(end.number) in cells
        and end.folder
        and (journal.path / end.folder).is_dir()
    }
    return [f"{counted(len(left), 'measured trial')} of {journal.path} that were not named"] if left else []


def _cut_short(journal: Journal, present: Set[int | None], cells: Set[str] | None) -> list[str]:
    """How an experiment ended where it did so before its plan, and not by its own decision.

    cells: those whose trials count; None: all.
    """
    ended = {end.number for end in journal.ended} | present
    planned = [trial for trial in journal.planned if cells is None or _cell_key(trial.cell) in cells]
    missing = [trial for trial in planned if trial.number not in ended]
    last = max((trial.block for trial in planned if trial.number in ended), default=None)
    if not missing or last is None:  # of what was begun nowhere each cell is told as not run
        return []
    if journal.state in (DECIDED, OUT_OF_TIME) and all(trial.block > last for trial in missing):
        return []
    blocks = {trial.block for trial in planned}
    whole = blocks - {trial.block for trial in missing}
    how = _ENDINGS.get(journal.state or "", "it is not known how it ended;")
    return [
        f"{journal.path}: {how} after {len(whole)} of {counted(len(blocks), 'block')}, {len(missing)} of "
        f"{counted(len(planned), 'trial')} not run; continue it with: bench run {journal.path} --resume"
    ]


_ENDINGS: Final = {
    INTERRUPTED: "interrupted",
    RUNNING: "killed, or still running,",
    COMPLETE: "its journal lacks trials;",
    DECIDED: "decided, with trials missing in between,",
    OUT_OF_TIME: "out of time, with trials missing in between,",
}
"""By the state of an experiment."""


def _disagreements(journal: Journal, runs: Mapping[Path, Manifest]) -> list[Unreadable]:
    """Measured runs that are not those of plan and journal: exchanged, put in, or of a journal that lost its lines."""
    planned = {trial.number: _cell_key(trial.cell) for trial in journal.planned}
    written = {end.number: end for end in journal.ended}
    trials = {path: manifest.experiment for path, manifest in runs.items() if manifest.experiment}
    numbers = [trial.trial for trial in trials.values()]
    unreadable = []
    for path, trial in trials.items():
        number = -1 if trial.trial is None else trial.trial
        end = written.get(number)
        if number not in planned:
            reason = f"trial {trial.trial} is not in its experiment's plan"
        elif numbers.count(number) > 1:
            reason = f"several runs are trial {number} of its experiment"
        elif _cell_key(trial.cell.facts()) != planned[number]:
            reason = f"trial {number} was planned for another cell"
        elif (
            end and end.outcome == "measured" and end.folder and Path(end.folder).name != path.resolve().name
        ):
            reason = f"trial {number} was measured in {end.folder}"
        else:
            continue
        unreadable.append(Unreadable(path, f"{path}: {reason}; restore the folder as it was measured"))
    unwritten = len(planned.keys() & set(numbers) - written.keys())
    if unwritten > MOST_UNWRITTEN and (journal.path / JOURNAL).exists():
        text = f"{journal.path / JOURNAL}: {counted(unwritten, 'measured trial')} not in it: whether others failed is unknown; restore it"
        unreadable.append(Unreadable(journal.path, text))
    return unreadable


MOST_UNWRITTEN: Final = 2
"""Trials, of a duet two at once, that were measured when the experiment was killed before it could write a line."""


def _gone(journal: Journal, manifests: Iterable[Manifest]) -> list[Unreadable]:
    """Runs that a journal names and that are not there, and a journal that is not there beside runs."""
    present = {manifest.experiment.trial if manifest.experiment else None for manifest in manifests}
    if present and not journal.ended and not (journal.path / JOURNAL).exists():
        text = f"{journal.path / JOURNAL}: not there: whether trials failed is not known; restore it"
        return [Unreadable(journal.path, text)]
    return [
        Unreadable(
            journal.path / (end.folder or ""),
            f"{journal.path / (end.folder or '')}: trial {number} was measured and its run is not there; restore it, or measure it again: bench run --resume",
        )
        for number, end in {end.number: end for end in journal.ended}.items()
        if end.outcome == "measured"
        and number not in present
        and not (end.folder and (journal.path / end.folder).is_dir())
    ]


def _cell_key(cell: Mapping[str, Any]) -> str:
    """Equal for trials of one planned cell: of a plan's entry, or of a run's manifest."""
    return json.dumps(cell, sort_keys=True, default=str)


def _planned(cell: Mapping[str, Any], journal: Journal) -> Identity:
    return Identity(
        scenario=journal.scenario,
        request="",
        server=str(cell.get("server") or ""),
        build=str(cell.get("build") or ""),
        model=str(cell.get("model") or ""),
        version=cell.get("version"),
        batch=int(cell.get("batch") or 0),
        load=str(cell.get("load") or ""),
    )
