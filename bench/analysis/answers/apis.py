"""Cost of one API compared with another."""

from bench.analysis import formatting
from bench.analysis.answers.answer import Answer, medians, ratio, times, untold
from bench.analysis.reading.cells import cells
from bench.analysis.reading.metric import CELL_METRICS
from bench.runs.run import Run


def answer(run: Run) -> list[Answer]:
    """Each kind of requests of the scenario against its first: latency second by second, bytes of a request."""
    payload, requests = run.manifest.payload, list(run.manifest.target.asked)
    known = {cell.name: cell for cell in cells(run) if cell.answered.requests}
    names = [name for name in requests if name in known]
    if len(names) < 2:
        silent = ", ".join(name for name in requests if name not in known) or "there are no others"
        return [
            untold(
                "what one API costs more than another",
                f"only {', '.join(names) or 'none'} answered ({silent} not)",
            )
        ]
    # the payload's keys are `User, name`, or `User` alone where it has one kind of requests
    sizes = {
        name: each.bytes
        for name in requests
        for key, each in payload.items()
        if key.endswith(f", {name}") and each.bytes is not None
    }
    first, *others = names
    answers = []
    for other in others:
        change = ratio(medians(run.steady, first), medians(run.steady, other))
        tails = [CELL_METRICS["p99"].of(known[name]) for name in (first, other)]
        text = (
            f"{other} against {first}, request by request in turn: median latency {times(change)}, "
            f"p99 {formatting.duration(tails[1])} instead of {formatting.duration(tails[0])} (of this run alone, without an interval)"
        )
        if first in sizes and other in sizes:
            text += f", {sizes[other]:,} bytes in a request instead of {sizes[first]:,}"
        values = {
            "p50_ratio": change.value if change else None,
            "p50_ratio_low": change.low if change else None,
            "p50_ratio_high": change.high if change else None,
        }
        answers.append(Answer(text, values))
    return answers
