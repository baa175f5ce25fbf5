"""Checks of the load generator: whether it measured the server or itself."""

import math
from collections.abc import Callable
from statistics import mean, median
from typing import Final

from bench.analysis.reading.cells import BURST, cpu_cores, observations, offered_rate, values
from bench.analysis.reading.planned import CHANCE, planned
from bench.analysis.reading.run_warning import RunWarning
from bench.runs.run import Run
from bench.runs.sample import UNSENT
from bench.runs.thresholds import CPU_SHARE, LAG_P99, LOOP_PAUSE, RUN_DELAY, STEAL
from bench.wording import counted

LOOP_DELAY: Final = 0.010
"""Seconds by which the event loop of a load process may be late usually (median of the seconds' 99th percentiles)."""
CEILING_SHARE: Final = 0.70
"""Above this share of the machine's own measured ceiling the generator is part of what is measured."""
LAG_TO_SERVICE: Final = 0.10
"""Lag (p99) may be this share of the median service time..."""
LAG_RESOLUTION: Final = 0.0003
"""...unless it is below what sending on time can achieve at all (p99, in an unloaded process)."""
BURST_SPREAD: Final = 0.10
"""Of the time in which a burst is answered (p99 of latency) its requests may take this share to leave (p99 of lag): a
server that answers at a steady rate then meets 90 % of a burst at once."""
ACHIEVED_SHARE: Final = 0.99
CLOCK_BOUND: Final = 0.001
"""Seconds by which the clock of a load process may be off the master's before series do not line up."""
WAITED_SHARE: Final = 0.01
"""Of the requests: from so many on, the server's limits make the p99 of lag, or the cap, and not the load process."""
_CAUSES: Final = {
    "stream": (
        "waited for a stream: the server allows {limit} at once on a connection",
        "use more connections (--connections), or lower the rate",
    ),
    "window": (
        "waited for the server's flow-control windows, which are smaller than the requests",
        "raise the server's HTTP/2 windows, use more connections (--connections), or lower the rate",
    ),
    "kernel": (
        "waited in a full send buffer: server or network take less than is sent",
        "lower the rate",
    ),
    "connection": (
        "waited for a connection",
        "find out why the server's connections ended, or lower the rate",
    ),
}
"""Of requests that cannot leave at once: in words, and what can be done."""
MORE_PROCESSES: Final = "use more load processes (--processes) or another machine for the load"


def _clocks(run: Run) -> list[RunWarning]:
    bounds = [worker.clock_bound for worker in run.manifest.workers]
    worst = max((bound for bound in bounds if bound is not None), default=0.0)
    if worst <= CLOCK_BOUND:
        return []
    return [
        RunWarning(
            "clocks",
            f"the clock of a load process is known to {worst * 1e3:.1f} ms only",
            "use load machines in one network; latencies are right, series of several workers are shifted",
        )
    ]


def _saturated(run: Run) -> list[RunWarning]:
    """A warning where a load process had no time to be punctual."""
    steady = run.steady
    warnings = []
    for worker, rows in observations(steady, "worker").items():
        cpu, held, late = cpu_cores(rows), values(rows, "run_delay"), values(rows, "loop_delay")
        if cpu is not None and cpu > CPU_SHARE:
            text = f"load process {_number(worker)} used {cpu:.0%} of a core"
            warnings.append(RunWarning("client saturated", text, MORE_PROCESSES))
        if held and mean(held) > RUN_DELAY:
            text = f"load process {_number(worker)} was CPU-starved {mean(held):.0%} of the time"
            remedy = "leave a core to each load process, or raise its CPU limit"
            warnings.append(RunWarning("client held up", text, remedy))
        if late and (median(late) > LOOP_DELAY or max(late) > LOOP_PAUSE):
            text = (
                f"the event loop of load process {_number(worker)} was up to {max(late) * 1e3:,.0f} ms late"
            )
            remedy = "leave a core to each load process, with nothing else on it"
            warnings.append(RunWarning("client paused", text, remedy))
    stolen = [share for rows in observations(steady, "machine").values() for share in values(rows, "steal")]
    if stolen and mean(stolen) > STEAL:
        text = f"the host took {mean(stolen):.0%} of this virtual machine's time away"
        warnings.append(RunWarning("stolen time", text, "measure on a dedicated machine"))
    return warnings


def _number(source: str) -> str:
    return source.removeprefix("worker ")


def _near_the_ceiling(run: Run) -> list[RunWarning]:
    """`ceiling` in the manifest is what calibration measured on this machine, for this payload and transport."""
    ceiling = run.manifest.ceiling.requests_per_second
    if not ceiling:
        return []
    rate = _rate(run.steady)
    share = rate / ceiling
    if share <= CEILING_SHARE:
        return []
    if share > 1:
        text = (
            f"{rate:,.0f} requests/s are more than the {ceiling:,.0f} that calibration measured as the limit"
        )
        return [
            RunWarning("near the ceiling", text, "calibrate again with nothing else running: bench calibrate")
        ]
    text = f"{rate:,.0f} requests/s are {share:.0%} of what this machine was measured to send at all"
    return [RunWarning("near the ceiling", text, MORE_PROCESSES)]


def _rate(run: Run) -> float:
    answered = sum(tally.requests for (key, _), tally in run.tallies.items() if key.outcome != UNSENT)
    return answered / run.duration if run.duration > 0 else 0.0


def _behind(run: Run) -> list[RunWarning]:
    """A warning where an open loop did not send what was due when it was due."""
    if run.manifest.load.closed:
        return []
    steady = run.steady
    warnings = []
    lag, service = (steady.histogram(kind, lambda key: True) for kind in ("lag", "service"))
    if lag.count:
        late, usual = lag.percentile(99), service.percentile(50)
        if run.manifest.load.plan.kind == BURST:
            warnings += _spread(late, steady.histogram("latency", lambda key: True).percentile(99), run)
        elif late > LAG_P99 or late > max(LAG_TO_SERVICE * usual, LAG_RESOLUTION):
            text = f"requests sent late: p99 send delay {late * 1e3:.2f} ms, median service time {usual * 1e3:.2f} ms"
            remedy = "lower the rate, or use more load processes (--processes)"
            warnings.append(_late("behind", text, remedy, run))
    due = sum(tally.requests for tally in steady.tallies.values())
    unsent = sum(tally.requests for (key, _), tally in steady.tallies.items() if key.outcome == UNSENT)
    wanted = max(float(due), _planned(steady))
    if wanted and (due - unsent) / wanted < ACHIEVED_SHARE:
        text = f"{(due - unsent) / wanted:.1%} of the planned requests were sent"
        remedy = (
            "lower the rate, raise the cap on requests in flight, or use more load processes (--processes)"
        )
        warnings.append(_late("not achieved", text, remedy, run))
    return warnings


def _spread(late: float, answered: float, run: Run) -> list[RunWarning]:
    """A warning where bursts were none any more when they had left: of requests that are due at once none can be on time."""
    share = late / answered if answered > 0 else 0.0
    if late <= LAG_P99 or share <= BURST_SPREAD:
        return []
    text = (
        f"bursts left over {late * 1e3:.2f} ms (p99 send delay), {share:.0%} of the {answered * 1e3:.2f} ms in which "
        f"they were answered (p99 latency)"
    )
    remedy = "make the bursts smaller, or use more load processes (--processes)"
    return [_late("behind", text, remedy, run)]


def _surplus(run: Run) -> list[RunWarning]:
    """More requests than an open loop's schedule made; each load process may report any number of them."""
    if run.manifest.load.closed:
        return []
    steady = run.steady
    due, known = sum(tally.requests for tally in steady.tallies.values()), planned(steady)
    wanted = (offered_rate(run.manifest.load) or 0.0) * steady.duration if known is None else known
    if not wanted or due <= wanted * (2 - ACHIEVED_SHARE) + CHANCE * math.sqrt(wanted):
        return []
    text = f"{due:,} requests are recorded as due and the schedule made {wanted:,.0f}"
    return [
        RunWarning(
            "more than planned", text, "check which other processes report to this master, and run it again"
        )
    ]


def _late(check: str, text: str, remedy: str, run: Run) -> RunWarning:
    """A warning with its cause, where the server's limits kept requests back and not the load process."""
    waits = waits_of(run)
    if not waits:
        return RunWarning(check, text, remedy)
    return RunWarning(check, f"{text}; {waits[0][0]}", waits[0][1])


def waits_of(run: Run) -> list[tuple[str, str]]:
    """What kept requests of a run from leaving at once, and what can be done; the most frequent first, none that is rare."""
    counts = run.manifest.counts
    limit = "no more" if counts.most_streams is None else counted(counts.most_streams, "call")
    waits = []
    for cause, count in sorted(counts.waited.items(), key=lambda each: -each[1]):
        if cause in _CAUSES and count > WAITED_SHARE * (counts.recorded or 0):
            text, remedy = _CAUSES[cause]
            waits.append((f"{counted(count, 'request')} {text.format(limit=limit)}", remedy))
    return waits


def _planned(run: Run) -> float:
    """Requests that the schedule wanted; where it cannot be drawn again, as few as chance allows of its mean."""
    known = planned(run)
    if known is not None:
        return known
    mean = (offered_rate(run.manifest.load) or 0.0) * run.duration
    poisson = run.manifest.load.plan.kind == "poisson"
    return mean - (CHANCE * math.sqrt(mean) if poisson else 0.0)


CHECKS: Final[tuple[Callable[[Run], list[RunWarning]], ...]] = (
    _clocks,
    _saturated,
    _near_the_ceiling,
    _behind,
    _surplus,
)
