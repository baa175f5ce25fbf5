"""Trials: which were found, and which belong to one condition.

The unit that is repeated is the trial, a whole run: requests of one run share its luck. A cell of a run is one trial
of what its identity says.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, Protocol

from bench import BenchError
from bench.analysis.grouping.identity import FailedTrial, Identity
from bench.analysis.grouping.journals import read_journals
from bench.analysis.grouping.metrics import reasons_of, values_of
from bench.analysis.grouping.within_run import WithinRun
from bench.analysis.reading.cells import Cell, cells, described, pool_of
from bench.analysis.reading.checks import warnings_of
from bench.analysis.reading.population import Population, Reason
from bench.analysis.reading.run_warning import RunWarning
from bench.analysis.statistics.clustered import Seconds
from bench.runs.histogram import EMPTY
from bench.runs.journal import FAILED, experiment_of
from bench.runs.manifest import Manifest
from bench.runs.run import Experiment, Found, Run, Unreadable, broken
from bench.runs.sample import CANCELLED_BY_CLIENT, UNSENT


class OneRun(Protocol):
    """A run's view of itself: `WithinRun`."""

    @property
    def seconds(self) -> int:
        """Whole seconds of its steady part."""

    def interval(
        self, metric: str, confidence: float, answered_within: float | None = None
    ) -> tuple[float, float] | None:
        """Ends around the value of a metric (rate of goodput: within so many seconds); None: nothing is known."""

    def requests_of(self, share: str, answered_within: float | None = None) -> Seconds:
        """By second, the requests of a share and those that it is of; goodput: answered within so many seconds."""


@dataclass(frozen=True)
class Trial:
    """The measurements of one run of one thing."""

    identity: Identity
    values: dict[str, float]
    """Every metric by name; nan: not measured, or not supported by the number of samples."""
    block: tuple[str, int] | None
    """The folder of the experiment and the block in it: trials of one block followed each other closely, in a balanced order."""
    path: Path
    started: str
    warnings: list[RunWarning]
    manifest: Manifest
    answered: int
    requests: int
    cancelled: int = 0
    """Requests that the load generator cancelled: in no error share."""
    within: OneRun | None = None
    """What it shows of itself, where it is the only one."""
    examples: int = 0
    """Different examples that were checked; 0: not known."""
    due: Population = field(default=Population(EMPTY), repr=False)
    """All requests that were due in the steady part."""
    duration: float = math.nan
    """Seconds of the steady part."""
    reasons: dict[str, Reason] = field(default_factory=dict)
    """Why metrics are no numbers, where that is known."""
    session: str = ""
    """Names the start of server and load that it is of; empty: one of its own."""

    run_id: str = ""
    """The same in every copy of the run; empty: not known."""
    content: str = ""
    """Checksum of its single requests; empty: not known."""


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
    cut_short: list[str] = field(default_factory=list)
    """Experiments that ended before their plan did, and not because enough was known."""

    @property
    def missing(self) -> list[tuple[str, str]]:
        """What was found and gave no trial: a word for it, and which it is with the reason."""
        return [
            *(("failed", str(each)) for each in self.failed),
            *(("not run", each.words(each._fields)) for each in self.not_run),
            *(("left out", each.reason) for each in self.unreadable),
            *(("left out", f"{path}: no request was recorded in its steady part") for path in self.empty),
            *(("left out", text) for text in self.left_out),
            *(("cut short", text) for text in self.cut_short),
        ]

    @classmethod
    def together(cls, parts: "Sequence[Trials]") -> "Trials":
        """All that was found in several places."""
        return cls(*([each for part in parts for each in getattr(part, name.name)] for name in fields(cls)))

    def by_identity(self) -> dict[Identity, list[Trial]]:
        """The trials of each thing, in the order in which they began."""
        groups: dict[Identity, list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(trial.identity, []).append(trial)
        return groups


def read_trials(runs: Iterable[Found], answered_within: float | None = None) -> Trials:
    """Read runs one after the other, in the order in which they began; files of one are let go of before the next.

    answered_within: seconds within which goodput wants an answer.
    """
    contents = Trials([], [], [])
    experiments: list[Experiment] = []
    named: list[tuple[Path, Manifest]] = []
    for run in runs:
        if isinstance(run, Unreadable):
            contents.unreadable.append(run)
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
            contents.unreadable.append(Unreadable(run.path, str(error)))
            continue
        except Exception as error:  # noqa: BLE001 - one run must not keep the others from being judged
            contents.unreadable.append(Unreadable(run.path, broken(run.path, error)))
            continue
        contents.trials.extend(trials)
        contents.failed.extend(failed)
        if not trials and not failed:
            contents.empty.append(run.path)
    measured = [(trial.path, trial.manifest) for trial in contents.trials]
    journals = read_journals(experiments, measured, named)
    contents.unreadable.extend(journals.unreadable)
    contents.failed.extend(journals.failed)
    contents.not_run.extend(journals.not_run)
    contents.left_out.extend(journals.left_out)
    contents.cut_short.extend(journals.cut_short)
    contents.trials.sort(key=lambda trial: (trial.started, str(trial.path)))
    return contents


def _trials(run: Run, answered_within: float | None) -> tuple[list[Trial], list[FailedTrial]]:
    """What a run measured, and of what every request failed."""
    measured_cells = cells(run)
    answering = {(cell.name, cell.batch) for cell in measured_cells if cell.answered.requests}
    failed = {
        id(cell) for cell in measured_cells if (cell.name, cell.batch) not in answering and _errors(cell)
    }
    answered = [(place, cell) for place, cell in enumerate(measured_cells) if id(cell) not in failed]
    return _measured(answered, run, answered_within), [
        FailedTrial(identity_of(cell, run), block_of(run), f"every request failed: {_errors(cell)}", run.path)
        for cell in measured_cells
        if id(cell) in failed
    ]


def _errors(cell: Cell) -> str:
    """The outcomes that speak against the server, such as `812 x UNAVAILABLE`; empty: there are none."""
    own = ("OK", UNSENT, CANCELLED_BY_CLIENT)
    return ", ".join(f"{count:,} x {name}" for name, count in cell.outcomes.items() if name not in own)


def _measured(placed: list[tuple[int, Cell]], run: Run, answered_within: float | None) -> list[Trial]:
    of_run = warnings_of(run)
    return [
        Trial(
            identity=identity_of(cell, run),
            values=values,
            block=block_of(run),
            path=run.path,
            started=run.manifest.started,
            warnings=of_run,
            manifest=run.manifest,
            answered=cell.answered.requests,
            requests=cell.requests,
            run_id=run.id,
            content=run.content,
            cancelled=cell.cancelled,
            within=WithinRun(run.path, place),
            examples=_examples(cell),
            due=cell.due,
            duration=cell.duration,
            reasons=reasons_of(cell, values),
            session=session_of(run),
        )
        for place, cell, values in ((place, cell, values_of(cell, answered_within)) for place, cell in placed)
    ]


def _examples(cell: Cell) -> int:
    """Different examples among those that were checked: the pool's, where so many were sent."""
    pool = pool_of(cell)
    known = pool.examples or (pool.messages or 0) * (pool.batch or 0)
    return min(cell.answered.checked, known) if known else cell.answered.checked


def session_of(run: Run) -> str:
    """The start of the server that a run is of, in whichever folder a copy of it lies.

    It is known by the process, and of a server that its experiment started by the block. Runs of a server of which
    neither is known are all of one session: that they were not is not known.
    """
    experiment, target = run.manifest.experiment, run.manifest.target
    host = run.manifest.machine.hostname or ""
    if target.pid is not None and target.started is not None:
        minute = round(target.started / 60)  # the clock by which processes begin may be set by a second
        return f"{host} {target.address} {target.pid} {minute}"
    counters = run.manifest.server_counters
    if counters is not None and counters.before is not None and counters.before.started is not None:
        return f"{target.address} {counters.before.started}"
    if experiment is not None and experiment.block is not None and experiment.server.kind not in REMOTE:
        folder = experiment.folder or run.path.resolve().parent.name
        return f"{experiment.name} {folder} {experiment.block} {experiment.cell.server or ''}"
    return f"{host} {target.address} {target.pid}" if target.pid is not None else f"{target.address}"


REMOTE: Final = ("remote", "kubernetes")
"""Kinds of servers that no experiment starts."""


def block_of(run: Run) -> tuple[str, int] | None:
    """The experiment that a run is a trial of, by its folder, and the block in it; None: of none.

    Of a copy that lies elsewhere, as in a baseline, the folder is one of the experiment's name there.
    """
    experiment = run.manifest.experiment
    if experiment is None or experiment.block is None:
        return None
    parent = run.path.resolve().parent
    copied = experiment.folder is not None and experiment_of(run.path.resolve()) is None
    return (f"{parent}/{experiment.folder}" if copied else str(parent), experiment.block)


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
