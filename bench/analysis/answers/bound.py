"""Test whether the server's cores limit its throughput."""

from typing import Final

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, untold
from bench.analysis.reading import gpus
from bench.analysis.reading.cells import SERVER_MACHINE, cells, cpu_cores, observations, server_cores, values
from bench.analysis.reading.metric import CELL_METRICS
from bench.runs.run import Run

BUSY: Final = 0.8
"""Share of the machine's cores from which on the server counts as bound by its computing."""


def answer(run: Run) -> list[Answer]:
    """Cores that the server used, and bytes that travelled to it, at the throughput that was reached."""
    steady = run.steady
    used = server_cores(steady)
    cores = _cores(run)
    sizes = [each.bytes for each in run.manifest.payload.values()]
    size = sizes[0] if len(sizes) == 1 else None
    rate = sum(CELL_METRICS["requests_per_second"].of(cell) for cell in cells(run))
    examples = sum(CELL_METRICS["inferences_per_second"].of(cell) for cell in cells(run))
    if not examples:
        return [untold("the bottleneck", "nothing was answered")]
    text = f"{formatting.rate(examples)} images per second, in {formatting.duration(steady.duration)}"
    if size:
        text += f", {formatting.significant(rate * size / 1e6)} MB/s in requests of {formatting.significant(size / 1e3)} kB"
    if used is not None:
        text += f"; the server used {used:.2f} cores"
        text += f" of {cores:g}" if cores else ""
        text += f", {formatting.duration(used / examples)} for an image"
    text += f": {_bound(run, used, cores)}"
    numbers = {
        "server_cores": used,
        "bytes_per_second": rate * size if size else None,
        "server_cpu_per_image": None if used is None else used / examples,
    }
    return [Answer(text, numbers)]


def _cores(run: Run) -> float | None:
    """Cores of the server's machine, this one unless exporters tell of another; None where they are not known."""
    if not _elsewhere(run):
        return run.manifest.machine.usable_cores
    known = [values(rows, "cores") for rows in observations(run.steady, SERVER_MACHINE).values()]
    return sum(map(max, known)) if known and all(known) else None


def _elsewhere(run: Run) -> bool:
    """Whether the server's machine is not the one that sends."""
    return bool(run.manifest.telemetry) and run.manifest.target.pid is None


def _bound(run: Run, used: float | None, cores: float | None) -> str:
    """What the server's cores allow to say."""
    if used is None or not cores:
        return "the bottleneck is unknown: the server's CPU time or the number of cores was not recorded"
    if not run.manifest.load.closed:
        return "the bottleneck is unknown: the load was at a given rate, below what the server can answer"
    on_gpus = max(gpus.busy(run.steady), default=0.0)
    if on_gpus > BUSY:
        return f"bound by a GPU, which computed in {on_gpus:.0%} of the time"
    if used > BUSY * cores:
        return "bound by computing"
    if _elsewhere(run):
        return "its cores were not all used; more users, or its settings, may make it answer more"
    beside = sum(cpu_cores(rows) or 0.0 for rows in observations(run.steady, "worker").values())
    if used + beside > BUSY * cores:
        return f"with {beside:.2f} cores of the load processes the machine is fully used, so the server's own limit is unknown"
    return "its cores were not all used; more users, or its settings, may make it answer more"
