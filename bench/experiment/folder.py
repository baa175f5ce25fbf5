"""The folder of an experiment, and its missing trials.

    experiment.json    the experiment, its servers and its plan, as they were when it began; its `state`
    trials.jsonl       how each trial ended: a line a trial, appended; a later line goes before an earlier one
    experiment.sha256  checksums of these and the other files beside the runs, once it has ended
    <run folders>      one for each trial that was measured
    servers/           configuration files and log of each start of a server
    failed/            run folders of trials that failed
    interrupted/       run folders of trials that were broken off
    .fetched/          a run folder on its way from another machine
    lock               held by the process that works on it, and by all that it has started

A trial counts as measured when a finished run folder says that it is this trial: a kill between the end of a run and
the line about it changes nothing.
"""

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.experiment.plan import PlannedTrial
from bench.runs import sealing
from bench.runs.finding import FETCHED
from bench.runs.journal import COMPLETE, DESCRIPTION, INTERRUPTED, JOURNAL, RUNNING, Ended, Journal
from bench.runs.jsonl import json_line, read_json
from bench.runs.manifest import Manifest

SCHEMA: Final = 1
MADE_BY: Final = (Path("bench ab"), Path("bench capacity"))
"""One of these stands where other experiments name their file."""
LOCK: Final = "lock"
_RUN_NAME: Final = re.compile(r".+-b\d+t\d+(-\d+)?")
"""Of a trial's run folder, which ends with the trial's id."""
_LOCK_SECONDS: Final = 30.0
"""What a killed `bench run` had started is gone within seconds."""


class Folder:
    """An experiment's folder."""

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path = path
        self.description = description
        self.trials = [PlannedTrial.of(plain) for plain in description["plan"]]

    @classmethod
    def create(cls, root: Path, name: str, description: dict[str, Any]) -> "Folder":
        """Make the folder of an experiment that begins now. Raises BenchError."""
        started = datetime.now(UTC)
        stem, attempt = f"{started:%Y%m%dT%H%M%SZ}-{name}", 1
        while True:
            path = root / (stem if attempt == 1 else f"{stem}-{attempt}")
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                attempt += 1
            except OSError as error:
                raise BenchError(f"{path}: {error.strerror}; name another folder with --results") from None
        begun = {"schema": SCHEMA, "name": name, "started": started.isoformat(), "state": RUNNING}
        folder = cls(path, begun | description)
        folder._describe()
        return folder

    @classmethod
    def open(cls, path: Path) -> "Folder":
        """Raises BenchError where the folder holds no experiment that this version can read."""
        try:
            description = read_json(path / DESCRIPTION)
        except FileNotFoundError:
            raise BenchError(f"{path}: no {DESCRIPTION} in it; is it the folder of an experiment?") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise BenchError(
                f"{path / DESCRIPTION}: cannot be read ({reason}); start the experiment again"
            ) from None
        schema = description.get("schema") if isinstance(description, dict) else None
        if schema != SCHEMA:
            raise BenchError(
                f"{path / DESCRIPTION}: schema {schema!r:.40}, {SCHEMA} is known; use the serving-bench that began it"
            )
        try:
            return cls(path, description)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BenchError(
                f"{path / DESCRIPTION}: its plan is damaged ({type(error).__name__}: {error}); start the experiment again"
            ) from None

    def plan_further(self, *trials: PlannedTrial) -> None:
        """Further trials, all or none of them: what the ones before showed says which."""
        self.trials.extend(trials)
        self.description["plan"].extend(trial.plain() for trial in trials)
        self._describe()

    def add(self, **facts: Any) -> None:
        """Note what was learned of the experiment since it began."""
        self.description.update(facts)
        self._describe()

    def mark(self, state: str) -> None:
        """Note that it runs, or how it ended: what judges it later knows whether trials are missing by intent."""
        self.description["state"] = state
        self._describe()
        self.seal()

    def seal(self) -> None:
        """Write the checksums of what lies beside the runs; while it runs there are none."""
        if self.description["state"] == RUNNING:
            (self.path / sealing.SEAL).unlink(missing_ok=True)
        else:
            sealing.seal(self.path)

    def _describe(self) -> None:
        temporary = self.path / f".{DESCRIPTION}"
        temporary.write_text(json.dumps(self.description, indent=1, default=str) + "\n")
        temporary.rename(self.path / DESCRIPTION)

    @contextmanager
    def at_work(self) -> Iterator[int]:
        """As `locked`; whatever ends the block before all trials have ended, or before `mark` tells why, is an interruption."""
        with self.locked() as descriptor:
            self.mark(RUNNING)
            try:
                yield descriptor
            except BaseException:
                self.mark(INTERRUPTED)
                raise
            if self.description["state"] == RUNNING:
                self.mark(COMPLETE if len(self.ended()) == len(self.trials) else INTERRUPTED)
            self.seal()

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Nobody else works on the experiment in the block; gives the descriptor that holds the lock.

        Waits for what a killed predecessor had started. Raises BenchError where another one is at work.
        """
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            give_up = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up:
                        raise BenchError(
                            f"{self.path}: another `bench run` is using it; wait until it has ended"
                        ) from None
                    time.sleep(0.05)
            yield descriptor
        finally:
            os.close(descriptor)

    def note(self, ended: Ended) -> None:
        """Append how a trial ended."""
        with (self.path / JOURNAL).open("ab") as file:
            file.write(json_line(vars(ended)))

    def ended(self) -> dict[int, Ended]:
        """How trials ended, by number; what the journal does not know yet is taken from the run folders."""
        known: dict[int, Ended] = {}
        for row in Journal.rows(self.path):
            known[row.number] = row
        measured = self._finished_runs()
        for number in list(known):
            if known[number].outcome == "measured" and number not in measured:
                del known[number]  # its run was taken away: it is missing again
        for number, path in measured.items():
            known[number] = Ended(number, "measured", None, path.name)
        return known

    def tidy(self) -> None:
        """Put the run folders of broken-off trials aside, and second runs of a trial, if there were any."""
        journal = self.path / JOURNAL
        if journal.is_file():
            raw = journal.read_bytes()
            if not raw.endswith(b"\n"):  # the machine went down in the middle of a line
                os.truncate(journal, raw.rfind(b"\n") + 1)
        for left in self.path.glob(".b*t*.*"):
            left.unlink()
        shutil.rmtree(self.path / FETCHED, ignore_errors=True)
        finished, written = self._finished_runs(), {row.number for row in Journal.rows(self.path)}
        for number in sorted(finished.keys() - written):  # killed before it could write the line
            self.note(Ended(number, "measured", None, finished[number].name))
        measured = set(finished.values())
        # one that was killed before it had written its manifest is known by its name alone
        named = {p for p in self.path.iterdir() if p.is_dir() and _RUN_NAME.fullmatch(p.name)}
        for path in sorted({*self._runs(), *named} - measured):
            self.set_aside(path, "interrupted")

    def set_aside(self, run: Path, where: str) -> Path:
        """Move a run folder to where reports do not look."""
        (self.path / where).mkdir(exist_ok=True)
        target = self.path / where / run.name
        run.rename(target)
        return target

    def run_of(self, trial: PlannedTrial) -> Path | None:
        """The newest run folder of a trial, finished or not; None where it has none yet."""
        wanted = re.compile(rf".*-{trial.id}(-\d+)?")  # a second one of the same instant is numbered
        paths = [path for path in self.path.iterdir() if wanted.fullmatch(path.name) and path.is_dir()]
        return max(paths, default=None)

    def _runs(self) -> list[Path]:
        return sorted(p for p in self.path.iterdir() if p.is_dir() and _manifest_of(p) is not None)

    def _finished_runs(self) -> dict[int, Path]:
        finished: dict[int, Path] = {}
        for path in self._runs():
            manifest = _manifest_of(path)
            number = manifest.experiment.trial if manifest and manifest.experiment else None
            if manifest and manifest.finished and number is not None:
                finished.setdefault(number, path)
        return finished


def _manifest_of(run: Path) -> Manifest | None:
    """The manifest of a run folder; None where it is none."""
    try:
        return Manifest.read(run)
    except BenchError:
        return None
