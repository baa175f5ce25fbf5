"""One trial: a Locust test in a fresh process, watched until its end."""

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from bench import BenchError
from bench.config.cpus import cpu_numbers
from bench.experiment.folder import Folder
from bench.experiment.live import Live
from bench.experiment.order import Option, Order
from bench.experiment.plan import PlannedTrial
from bench.runs.manifest import Manifest
from bench.runs.recording import COUNTS
from bench.runs.rows import Counted, rows
from bench.supervision import supervised

_LOOK_SECONDS: Final = 0.5
_SPARE_SECONDS: Final = 60.0
"""Beyond load and deadline, for Locust's own start and end on a busy machine."""
_GRACE_SECONDS: Final = 0.0
"""A trial that is broken off must not end in order: its run would be finished, and count as measured."""


_OURS: Final = re.compile(r"^(?:bench: |\[[^\]]*\] \S+/(?:ERROR|CRITICAL)/bench: )(.+)", re.MULTILINE)
_LOGGED: Final = re.compile(r"^\[[^\]]*\] \S+/(?:ERROR|CRITICAL)/[\w.]+: (.*\S)", re.MULTILINE)
_USAGE: Final = re.compile(r"^\S*locust\S*: error: (.+)", re.MULTILINE)
_RAISED: Final = re.compile(r"^(?:[\w.]+(?:Error|Exception|Exit)\b.*)", re.MULTILINE)


@dataclass(frozen=True)
class Glance:
    """The state of a trial while it runs."""

    trial: PlannedTrial
    seconds: float
    """Since its start."""
    rate: float | None = None
    """Requests answered per second, in the last seconds known."""
    p99: float | None = None
    """99th percentile of the latency in seconds."""


class Failed(Exception):  # noqa: N818 - what it is called wherever it is shown
    """A trial that gave no run to believe; the text says why, in one line."""


class Generator(Protocol):
    """The load generator of trials."""

    def run(self, order: Order, folder: Folder, lock: int, show: Callable[[Glance], None]) -> Path:
        """Run a trial to its end; gives its run folder, which lies in the experiment's.

        lock: the descriptor of the folder's lock, for processes that work on it. Raises Failed.
        """


@dataclass(frozen=True)
class Local:
    """Load processes on this machine, started for each trial."""

    workers: int = 1

    def run(
        self,
        order: Order,
        folder: Folder,
        lock: int,
        show: Callable[[Glance], None],
        *,
        partner: Order | None = None,
        slice: float | None = None,
    ) -> Path:
        """As `Generator.run`. partner: the trial that the same load process makes in turn with it, in a duet.

        slice: seconds for which each has all users; None: they take turns request by request.
        """
        trial, experiment = order.trial, order.study.experiment
        description = folder.path / f".{trial.id}.json"
        description.write_text(json.dumps(order.described(folder.path), default=str))
        files = [description]
        log = folder.path / f".{trial.id}.log"
        log.unlink(missing_ok=True)
        command = [*_command(order), "--experiment", str(description), "--results", str(folder.path)]
        if partner is not None:
            other, duet = (folder.path / f".{partner.trial.id}{suffix}" for suffix in (".json", ".duet.json"))
            other.write_text(json.dumps(partner.described(folder.path), default=str))
            duet.write_text(json.dumps(_differing(partner, other)))
            command += ["--duet", str(duet), *([] if slice is None else ["--duet-slice", str(slice)])]
            files += [other, duet]
        if self.workers > 1:
            command += ["--processes", str(self.workers)]
        limit = order.seconds + experiment.deadline + _SPARE_SECONDS
        try:
            cpus = () if experiment.cpus is None else cpu_numbers(experiment.cpus)
            with supervised(command, log=log, grace=_GRACE_SECONDS, keep_open=[lock], cpus=cpus) as process:
                started = time.monotonic()
                live: Live | None = None
                while process.wait(_LOOK_SECONDS) is None:
                    elapsed = time.monotonic() - started
                    if elapsed > limit:
                        raise Failed(f"Locust did not end within {limit:g} s: {process.log_tail(3)}")
                    live = live or _live(folder, trial)
                    rate, p99 = live.look() if live else (None, None)
                    show(Glance(trial, elapsed, rate, p99))
                why = reason(process.log_text()) or process.log_tail(4)
            if partner is not None:
                _finished(folder, partner, process.code, why)
            return _finished(folder, order, process.code, why)
        finally:
            for file in (*files, log):
                file.unlink()


def _finished(folder: Folder, order: Order, code: int | None, tail: str) -> Path:
    """The trial's run folder. Raises Failed where it is of no use."""
    run = folder.run_of(order.trial)
    check_server(order)
    if run is None or folder.ended().get(order.trial.number) is None:
        raise Failed(f"Locust ended with exit code {code}: {tail}")
    check_recorded(run, order, tail)
    return run


def reason(log: str) -> str | None:
    """What a Locust process says of the end of its test, in one line; None where it names no cause.

    Its last lines are tables. The cause stands above them: our own line, else the first error that was logged, else the
    last exception.
    """
    for pattern in (_OURS, _LOGGED, _USAGE):
        if matches := pattern.findall(log):
            return str(matches[0]).strip()
    raised: list[str] = _RAISED.findall(log)
    return raised[-1].strip() if raised else None


def check_server(order: Order) -> None:
    """Raises Failed where the server has ended meanwhile."""
    ending = order.server.ended()
    if ending is not None:
        raise Failed(f"the server {ending}")


def check_recorded(run: Path, order: Order, tail: str) -> None:
    """Raises Failed where a run holds no request, or others than planned; `tail` tells what else is known of it."""
    try:
        manifest = Manifest.read(run)
        counted = list(rows(run / COUNTS, Counted))
    except BenchError as error:
        raise Failed(str(error)) from None
    if not manifest.counts.recorded:
        raise Failed(f"no request was recorded: {tail}")
    cell = order.trial.cell
    requests = {name: each for name, each in manifest.target.asked.items() if each.model == cell.model}
    if not requests:
        raise Failed(f"model {cell.model} was planned, and {manifest.target.model} was requested")
    if cell.version is None:
        return
    versions = {each.version for each in requests.values()}
    versions |= {row.version for row in counted if row.name in requests and row.outcome == "OK"} - {None}
    if others := sorted(map(str, versions - {cell.version})):
        raise Failed(f"version {cell.version} was planned, and {', '.join(others)} was requested or answered")


def _live(folder: Folder, trial: PlannedTrial) -> Live | None:
    run = folder.run_of(trial)
    return None if run is None else Live(run)


def _command(order: Order) -> list[str]:
    options: dict[str, Option] = {
        "host": order.server.address,
        "users": order.users,
        "spawn-rate": order.users,
        "run-time": f"{order.seconds}s",
        "exit-code-on-error": 0,
        **order.options(),
    }
    return [
        *(sys.executable, "-m", "locust", "-f", str(order.study.scenario), "--headless", "--only-summary"),
        *(argument for name, value in options.items() for argument in arguments_of(name, value)),
    ]


def _differing(order: Order, described: Path) -> dict[str, Any]:
    """Locust's options for the second trial of a duet, by their names in Python."""
    options = {"host": order.server.address, "experiment": str(described), **order.options()}
    return {name.replace("-", "_"): "" if value is None else value for name, value in options.items()}


def arguments_of(name: str, value: Option) -> Sequence[str]:
    """An option as it stands on a command line."""
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}", str(value)]
