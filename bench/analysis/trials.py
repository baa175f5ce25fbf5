"""Which trials are there, and which of them measured the same thing?

The unit that is repeated is the trial, a whole run: requests of one run share its luck. A cell of a run is one trial
of what its identity says.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from bench import BenchError
from bench.analysis.cells import Cell, cells, described
from bench.analysis.checks import doubts
from bench.analysis.doubt import Doubt
from bench.analysis.metrics import reasons_of, values_of
from bench.analysis.population import NO_REQUESTS, Population, Reason
from bench.analysis.within_run import WithinRun
from bench.run import Run, Unreadable, broken


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

    def interval(self, metric: str, confidence: float) -> tuple[float, float] | None:
        """Ends around the value of a metric; None: nothing is known."""

    def independent(self, metric: str, confidence: float, answered_within: float | None = None) -> float:
        """As how many independent requests its requests count; goodput: answered within so many seconds."""


@dataclass(frozen=True)
class Trial:
    """What one run measured of one thing."""

    identity: Identity
    values: dict[str, float]
    """Every metric by name; nan: not measured, or not supported by the number of samples."""
    block: tuple[str, int] | None
    """The folder of the experiment and the block in it: trials of one block followed each other closely, in random order."""
    path: Path
    started: str
    doubts: list[Doubt]
    manifest: dict[str, Any]
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


@dataclass(frozen=True)
class Trials:
    """Trials of some runs, and what could not be read."""

    trials: list[Trial]
    unreadable: list[Unreadable]
    empty: list[Path]
    """Runs without a request."""

    def by_identity(self) -> dict[Identity, list[Trial]]:
        """The trials of each thing, in the order in which they began."""
        found: dict[Identity, list[Trial]] = {}
        for trial in self.trials:
            found.setdefault(trial.identity, []).append(trial)
        return found


def read_trials(runs: Iterable[Run | Unreadable], answered_within: float | None = None) -> Trials:
    """Read runs one after the other, in the order in which they began; files of one are let go of before the next.

    answered_within: seconds within which goodput wants an answer.
    """
    found = Trials([], [], [])
    for run in runs:
        if isinstance(run, Unreadable):
            found.unreadable.append(run)
            continue
        try:
            trials = _trials(Run.open(run.path), answered_within)
        except BenchError as error:
            found.unreadable.append(Unreadable(run.path, str(error)))
            continue
        except Exception as error:  # noqa: BLE001 - one run must not keep the others from being judged
            found.unreadable.append(Unreadable(run.path, broken(run.path, error)))
            continue
        found.trials.extend(trials)
        if not trials:
            found.empty.append(run.path)
    found.trials.sort(key=lambda trial: (trial.started, str(trial.path)))
    return found


def _trials(run: Run, answered_within: float | None) -> list[Trial]:
    of_run = doubts(run)
    return [
        Trial(
            identity=identity_of(cell, run),
            values=values,
            block=block_of(run),
            path=run.path,
            started=str(run.manifest.get("started") or ""),
            doubts=of_run,
            manifest=run.manifest,
            answered=cell.answered.requests,
            requests=cell.requests,
            cancelled=cell.cancelled,
            within=WithinRun(run.path, place),
            examples=_examples(cell),
            due=cell.due,
            duration=cell.duration,
            reasons=reasons_of(cell, values),
            session=session_of(run),
        )
        for place, (cell, values) in enumerate(
            (cell, values_of(cell, answered_within)) for cell in cells(run)
        )
    ]


def _examples(cell: Cell) -> int:
    """Different examples among those that were checked: the pool's, where so many were sent."""
    payload = cell.run.manifest.get("payload") or {}
    pool = payload.get(cell.name) or (next(iter(payload.values())) if len(payload) == 1 else {})
    known = pool.get("examples") or pool.get("messages", 0) * pool.get("batch", 0)
    return min(cell.answered.checked, known) if known else cell.answered.checked


def session_of(run: Run) -> str:
    """The start of server and load that a run is of: of an experiment a block of a server, else a server's process.

    Where the server's process is not known, it is the hour before which or after which no other run may have been.
    """
    experiment = run.manifest.get("experiment") or {}
    if experiment.get("block") is not None:
        server = (experiment.get("cell") or {}).get("server", "")
        return f"{experiment.get('name')} {run.path.resolve().parent.name} {experiment['block']} {server}"
    target = run.manifest.get("target") or {}
    host = (run.manifest.get("machine") or {}).get("hostname", "")
    started = str(run.manifest.get("started") or "")
    if target.get("pid") is not None:
        return f"{host} {target.get('address')} {target['pid']} {started[:10]}"
    return f"{host} {target.get('address')} {started[:13]}"


def block_of(run: Run) -> tuple[str, int] | None:
    """The experiment that a run is a trial of, by its folder, and the block in it; None: of none."""
    block = (run.manifest.get("experiment") or {}).get("block")
    return None if block is None else (str(run.path.resolve().parent), int(block))


def identity_of(cell: Cell, run: Run) -> Identity:
    """What a cell of a run measured."""
    words = described(run)
    target = run.manifest.get("target") or {}
    trial = (run.manifest.get("experiment") or {}).get("cell") or {}
    return Identity(
        scenario=words["scenario"],
        request=cell.name,
        server=words["server"],
        build=str(trial.get("build") or target.get("build") or ""),
        model=str(trial.get("model") or target.get("model") or ""),
        version=cell.version,
        batch=cell.batch,
        load=words["load"],
    )


def known(trials: Iterable[Trial], metric: str) -> list[float]:
    """The values of a metric in those trials that have one."""
    return [trial.values[metric] for trial in trials if math.isfinite(trial.values[metric])]
