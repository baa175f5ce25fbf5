"""Trials: which were found, and which belong to one condition.

The unit that is repeated is the trial, a whole run: requests of one run share its luck. A cell of a run is one trial
of what its identity says.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from bench import BenchError
from bench.analysis.grouping.metrics import reasons_of, values_of
from bench.analysis.grouping.within_run import WithinRun
from bench.analysis.reading.cells import Cell, cells, described
from bench.analysis.reading.checks import doubts
from bench.analysis.reading.doubt import Doubt
from bench.analysis.reading.population import NO_REQUESTS, Population, Reason
from bench.runs.journal import FAILED, JOURNAL, Journal, experiment_of
from bench.runs.manifest import Manifest, Payload
from bench.runs.run import Experiment, Found, Run, Unreadable, broken
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT


class Identity(NamedTuple):
    """What was measured, under which load."""

    scenario: str
    request: str
    server: str
    build: str
    model: str
    version: int | None
    batch: int
    load: str

    def without(self, *names: str) -> "Identity":
        """With some parts blanked out, so that what differs in them alone is equal."""
        blanks: dict[str, Any] = {
            name: (None if name == "version" else 0 if name == "batch" else "") for name in names
        }
        return self._replace(**blanks)

    @property
    def telling(self) -> tuple[str, ...]:
        """Its parts, without a build that is only the server's name again."""
        return tuple(part for part in self._fields if part != "build" or self.build != self.server)

    def words(self, names: Iterable[str]) -> str:
        """Some parts in words, such as `version 2, batch 8`."""
        told = []
        for name in names:
            value = getattr(self, name)
            if name == "build" and "build" not in self.telling:
                continue
            if value not in (None, "", 0) or name == "version":
                shown = "?" if value is None else value
                told.append(
                    f"{name} {shown}" if name in ("version", "batch", "model", "request") else str(shown)
                )
        return ", ".join(told)


PARTS: Final = Identity._fields


class OneRun(Protocol):
    """What a run shows of itself: `WithinRun`."""

    @property
    def seconds(self) -> int:
        """Whole seconds of its steady part."""

    def interval(
        self, metric: str, confidence: float, answered_within: float | None = None
    ) -> tuple[float, float] | None:
        """Ends around the value of a metric (rate of goodput: within so many seconds); None: nothing is known."""

    def independent(self, metric: str, confidence: float, answered_within: float | None = None) -> float:
        """As how many independent requests its requests count; goodput: answered within so many seconds."""


@dataclass(frozen=True)
class Trial:
    """What one run measured of one thing."""

    identity: Identity
    values: dict[str, float]
    """Every metric by name; nan: not measured, or not supported by the number of samples."""
    block: tuple[str, int] | None
    """The folder of the experiment and the block in it: trials of one block followed each other closely, in a balanced order."""
    path: Path
    started: str
    doubts: list[Doubt]
    manifest: Manifest
    answered: int
    requests: int
    cancelled: int = 0
    """Requests that the load generator cancelled: in no error share."""
    within: OneRun | None = None
    """What it shows of itself, where it is the only one."""
    examples: int = 0
    """Different examples that were checked; 0: not known."""
    due: Population = field(default=Population(NO_REQUESTS), repr=False)
    """All requests that were due in the steady part."""
    duration: float = math.nan
    """Seconds of the steady part."""
    reasons: dict[str, Reason] = field(default_factory=dict)
    """Why metrics are no numbers, where that is known."""
    session: str = ""
    """Names the start of server and load that it is of; empty: one of its own."""

    run_id: str = ""
    """The same in every copy of the run; empty: not known."""


@dataclass(frozen=True)
class FailedTrial:
    """A trial that gave nothing to measure: evidence against what it was a trial of."""

    identity: Identity
    """As it was planned; the request's name is not known of a trial that never sent one."""
    block: tuple[str, int] | None
    reason: str
    path: Path
    """The experiment, or the run in which every request failed."""

    def __str__(self) -> str:
        parts = (part for part in PARTS if part not in ("scenario", "build"))
        return f"{self.identity.words(parts)}: {self.reason} ({self.path})"


@dataclass(frozen=True)
class Trials:
    """Trials of some runs, and what could not be read."""

    trials: list[Trial]
    unreadable: list[Unreadable]
    empty: list[Path]
    """Runs without a request."""
    failed: list[FailedTrial] = field(default_factory=list)
    not_run: list[Identity] = field(default_factory=list)
    """What an experiment planned and no trial of which has ended."""
    left_out: list[str] = field(default_factory=list)
    """What was found and is not judged, in words."""

    @property
    def missing(self) -> list[tuple[str, str]]:
        """What was found and gave no trial: a word for it, and which it is with the reason."""
        return [
            *(("failed", str(each)) for each in self.failed),
            *(("not run", each.words(each._fields)) for each in self.not_run),
            *(("left out", each.reason) for each in self.unreadable),
            *(("left out", f"{path}: no request was recorded in its steady part") for path in self.empty),
            *(("left out", text) for text in self.left_out),
        ]

    def by_identity(self) -> dict[Identity, list[Trial]]:
        """The trials of each thing, in the order in which they began."""
        found: dict[Identity, list[Trial]] = {}
        for trial in self.trials:
            found.setdefault(trial.identity, []).append(trial)
        return found


def read_trials(runs: Iterable[Found], answered_within: float | None = None) -> Trials:
    """Read runs one after the other, in the order in which they began; files of one are let go of before the next.

    answered_within: seconds within which goodput wants an answer.
    """
    found = Trials([], [], [])
    experiments: list[Experiment] = []
    named: list[tuple[Path, Manifest]] = []
    for run in runs:
        if isinstance(run, Unreadable):
            found.unreadable.append(run)
            continue
        if isinstance(run, Experiment):
            experiments.append(run)
            continue
        if run.path.absolute().parent.name == FAILED and experiment_of(run.path) is not None:
            named.append(
                (run.path, run.manifest)
            )  # what it measured until it failed is no trial: see the journal
            continue
        try:
            trials, failed = _trials(Run.open(run.path), answered_within)
        except BenchError as error:
            found.unreadable.append(Unreadable(run.path, str(error)))
            continue
        except Exception as error:  # noqa: BLE001 - one run must not keep the others from being judged
            found.unreadable.append(Unreadable(run.path, broken(run.path, error)))
            continue
        found.trials.extend(trials)
        found.failed.extend(failed)
        if not trials and not failed:
            found.empty.append(run.path)
    measured = [(trial.path, trial.manifest) for trial in found.trials]
    journals = read_journals(experiments, measured, named)
    found.unreadable.extend(journals.unreadable)
    found.failed.extend(journals.failed)
    found.not_run.extend(journals.not_run)
    found.trials.sort(key=lambda trial: (trial.started, str(trial.path)))
    return found


class Journals(NamedTuple):
    """What experiments tell beside their runs."""

    failed: list[FailedTrial]
    not_run: list[Identity]
    unreadable: list[Unreadable]


def read_journals(
    experiments: Iterable[Experiment],
    measured: Iterable[tuple[Path, Manifest]],
    others: Iterable[tuple[Path, Manifest]] = (),
) -> Journals:
    """The failed trials of experiments, and what they have not run.

    measured, others: paths and manifests of runs that were measured, and of failed ones. Of an experiment of which
    only some runs were named, the trials of their cells count.
    """
    found = Journals([], [], [])
    ran = [(experiment_of(path), _cell_key(manifest.cell.facts())) for path, manifest in measured]
    ran_or_failed = ran + [
        (experiment_of(path), _cell_key(manifest.cell.facts())) for path, manifest in others
    ]
    for experiment in experiments:
        try:
            journal = Journal.read(experiment.path)
        except BenchError as error:
            found.unreadable.append(Unreadable(experiment.path, str(error)))
            continue
        found.unreadable.extend(
            Unreadable(journal.path, f"{journal.path / JOURNAL}: trial {end.number} failed and is in no plan")
            for end in journal.unplanned
        )
        home = experiment.path.resolve()
        named = {cell for folder, cell in ran_or_failed if folder is not None and folder.resolve() == home}
        for planned, end in journal.failed:
            if experiment.whole or _cell_key(planned.cell) in named:
                block = (str(home), planned.block)
                where = experiment.path / end.folder if end.folder else experiment.path
                found.failed.append(
                    FailedTrial(_planned(planned.cell, journal), block, end.reason or "", where)
                )
        if experiment.whole:
            here = [
                manifest
                for path, manifest in (*measured, *others)
                if (folder := experiment_of(path)) is not None and folder.resolve() == home
            ]
            found.unreadable.extend(_gone(journal, here))
            done = {cell for folder, cell in ran if folder is not None and folder.resolve() == home}
            done |= {_cell_key(planned.cell) for planned, _ in journal.failed}
            every = {_cell_key(planned.cell): planned.cell for planned in journal.planned}
            found.not_run.extend(_planned(cell, journal) for key, cell in every.items() if key not in done)
    return found


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


def _trials(run: Run, answered_within: float | None) -> tuple[list[Trial], list[FailedTrial]]:
    """What a run measured, and of what every request failed."""
    found = cells(run)
    answering = {(cell.name, cell.batch) for cell in found if cell.answered.requests}
    failed = {id(cell) for cell in found if (cell.name, cell.batch) not in answering and _errors(cell)}
    answered = [(place, cell) for place, cell in enumerate(found) if id(cell) not in failed]
    return _measured(answered, run, answered_within), [
        FailedTrial(identity_of(cell, run), block_of(run), f"every request failed: {_errors(cell)}", run.path)
        for cell in found
        if id(cell) in failed
    ]


def _errors(cell: Cell) -> str:
    """The outcomes that speak against the server, such as `812 x UNAVAILABLE`; empty: there are none."""
    own = ("OK", UNSENT, CANCELLED_BY_CLIENT)
    return ", ".join(f"{count:,} x {name}" for name, count in cell.outcomes.items() if name not in own)


def _measured(found: list[tuple[int, Cell]], run: Run, answered_within: float | None) -> list[Trial]:
    of_run = doubts(run)
    return [
        Trial(
            identity=identity_of(cell, run),
            values=values,
            block=block_of(run),
            path=run.path,
            started=run.manifest.started,
            doubts=of_run,
            manifest=run.manifest,
            answered=cell.answered.requests,
            requests=cell.requests,
            run_id=run.id,
            cancelled=cell.cancelled,
            within=WithinRun(run.path, place),
            examples=_examples(cell),
            due=cell.due,
            duration=cell.duration,
            reasons=reasons_of(cell, values),
            session=session_of(run),
        )
        for place, cell, values in ((place, cell, values_of(cell, answered_within)) for place, cell in found)
    ]


def _examples(cell: Cell) -> int:
    """Different examples among those that were checked: the pool's, where so many were sent."""
    payload = cell.run.manifest.payload
    pool = payload.get(cell.name) or (next(iter(payload.values())) if len(payload) == 1 else Payload())
    known = pool.examples or (pool.messages or 0) * (pool.batch or 0)
    return min(cell.answered.checked, known) if known else cell.answered.checked


def session_of(run: Run) -> str:
    """The start of server and load that a run is of: of an experiment a block of a server, else a server's process.

    Where the server's process is not known, it is the hour before which or after which no other run may have been.
    """
    experiment, target = run.manifest.experiment, run.manifest.target
    if experiment is not None and experiment.block is not None:
        folder = run.path.resolve().parent.name
        return f"{experiment.name} {folder} {experiment.block} {experiment.cell.server or ''}"
    host = run.manifest.machine.hostname or ""
    started = run.manifest.started
    if target.pid is not None:
        return f"{host} {target.address} {target.pid} {started[:10]}"
    return f"{host} {target.address} {started[:13]}"


def block_of(run: Run) -> tuple[str, int] | None:
    """The experiment that a run is a trial of, by its folder, and the block in it; None: of none."""
    block = run.manifest.experiment.block if run.manifest.experiment else None
    return None if block is None else (str(run.path.resolve().parent), block)


def identity_of(cell: Cell, run: Run) -> Identity:
    """What a cell of a run measured."""
    words = described(run)
    target, trial = run.manifest.target, run.manifest.cell
    return Identity(
        scenario=words["scenario"],
        request=cell.name,
        server=words["server"],
        build=trial.build or target.build or "",
        model=trial.model or target.model or "",
        version=cell.version,
        batch=cell.batch,
        load=words["load"],
    )


def known(trials: Iterable[Trial], metric: str) -> list[float]:
    """The values of a metric in those trials that have one."""
    return [trial.values[metric] for trial in trials if math.isfinite(trial.values[metric])]
