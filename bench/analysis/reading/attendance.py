"""Check that the planned users and load processes were there."""

import math
from collections.abc import Callable
from itertools import groupby
from typing import Final, NamedTuple

from bench.analysis.reading.run_warning import RunWarning
from bench.runs.run import Run

JOIN_SECONDS: Final = 1.0
"""Load processes join a test within so many seconds of each other, and leave it within as many."""
LOOK_SECONDS: Final = 2.5
"""Numbers of users are observed once a second, by each process at another moment, and change one after the other."""
LEAST_ROWS: Final = 3
"""A number of users that is to change by plan has been wanted for so many seconds before it is missed."""


def _lost_workers(run: Run) -> list[RunWarning]:
    workers = run.manifest.workers
    lost = [worker for worker in workers if worker.lost]
    if not lost:
        return []
    total, of_lost = (sum(worker.recorded or 0 for worker in some) for some in (workers, lost))
    share = f"{of_lost / total:.0%} of the samples come from it" if total else "it had recorded nothing"
    names = ", ".join(worker.title for worker in lost)
    return [
        RunWarning(
            "lost worker",
            f"load process {names} ended before the run did; {share}",
            "run it again, watching memory",
        )
    ]


def _partly_there(run: Run) -> list[RunWarning]:
    """Load processes that came after the others, left before them, or sent nothing, for the load that was planned."""
    workers, stopped = run.manifest.workers, run.manifest.stopped or 0.0
    texts = [
        f"load process {worker.title} left {worker.left:.1f} s after the start, {stopped - worker.left:.1f} s "
        "before the end"
        for worker in workers
        if worker.left is not None and stopped - worker.left > JOIN_SECONDS
    ]
    joined = [worker.joined or 0.0 for worker in workers]
    begun = max(min(joined, default=0.0) + JOIN_SECONDS, run.steady.seconds[0] if run.tallies else 0.0)
    texts += [
        f"load process {worker.title} joined {at:.1f} s after the start"
        for worker, at in zip(workers, joined, strict=True)
        if at > begun
    ]
    planned = run.manifest.load.planned_processes or 0
    if planned > len(workers):
        texts.append(f"{planned} load processes were planned and {len(workers)} took part")
    idle = run.manifest.load.idle_processes
    if idle:
        texts.append(f"{idle} load processes were connected and sent nothing")
    remedy = "start all load processes before the load and end them after it (--expect-workers); run it again, for longer"
    return [RunWarning("load processes", text, remedy) for text in texts]


class _Seen(NamedTuple):
    """The users of an instant."""

    at: float
    planned: int
    running: int


def _users(run: Run) -> list[RunWarning]:
    """Users that were planned and did not run, or ran and were not planned, while it was measured."""
    stopped = run.manifest.stopped
    end = math.inf if stopped is None else stopped  # afterwards users leave
    planned = [(at, users) for at, users, _ in _observed(run, "planned_users", end) if users]
    running = _observed(run, "users", end)
    first = run.steady.seconds[0] if run.tallies else run.seconds[0]
    joined = [worker.joined for worker in run.manifest.workers if worker.joined is not None]
    # no process is observed sooner than a second after it has joined
    begin = max([float(first), *(at + JOIN_SECONDS for at in sorted(joined)[:1])])
    looked = [(at, want) for at, want in planned if at >= begin]
    if (
        not run.constant_load
    ):  # users come as the plan has it: what counts is whether they are there in the end
        steps = [list(step) for _, step in groupby(looked, key=lambda row: row[1])]
        looked = [step[-1] for step in steps if len(step) >= LEAST_ROWS]
    wrong = []
    for at, want in looked:
        wants = [users for time, users in planned if at - LOOK_SECONDS < time <= at]
        by_process: dict[str, list[int]] = {}
        for time, users, process in running:
            if at - LOOK_SECONDS < time <= at + JOIN_SECONDS:
                by_process.setdefault(process, []).append(users)
        least, most = (sum(map(bound, by_process.values())) for bound in (min, max))
        if most < min(wants):
            wrong.append(_Seen(at, want, most))
        elif least > max(wants):
            wrong.append(_Seen(at, want, least))
    if not wrong:
        return []
    worst = max(wrong, key=lambda seen: abs(seen.planned - seen.running))
    return [
        RunWarning(
            "users",
            f"{worst.planned} users were planned and {worst.running} ran {worst.at:.0f} s after the start; "
            f"the number was wrong in {len(wrong)} of {len(looked)} s",
            "start users faster (--spawn-rate), or measure later (--warm-up SECONDS); see the log for users that ended",
        )
    ]


def _observed(run: Run, name: str, end: float) -> list[tuple[float, int, str]]:
    """Instant, number and source of what was observed under a name, up to an instant."""
    observed = []
    for row in run.telemetry:
        value = row.get(name)
        if value is not None and row["time"] <= end:
            observed.append((row["time"], int(value), str(row.get("source"))))
    return observed


CHECKS: Final[tuple[Callable[[Run], list[RunWarning]], ...]] = (_lost_workers, _partly_there, _users)
