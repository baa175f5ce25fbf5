"""The question of each scenario and the module that answers it.

The manifest names the question; each module here knows the answer to one, from the run folder alone.
"""

from collections.abc import Callable
from typing import Final

from bench.analysis.answers import (
    apis,
    batches,
    bound,
    caches,
    drift,
    mlperf,
    neighbours,
    overhead,
    overload,
    rollout,
    spike,
    versions,
)
from bench.analysis.answers.answer import Answer
from bench.runs.run import Run

ANSWERS: Final[dict[str, Callable[[Run], list[Answer]]]] = {
    "apis": apis.answer,
    "batches": batches.answer,
    "bound": bound.answer,
    "caches": caches.answer,
    "drift": drift.answer,
    "mlperf": mlperf.answer,
    "neighbours": neighbours.answer,
    "overhead": overhead.answer,
    "overload": overload.answer,
    "rollout": rollout.answer,
    "spike": spike.answer,
    "versions": versions.answer,
}


def answers(run: Run) -> list[Answer]:
    """What the run's scenario wanted to know, after where its requests come from if that is not the scenario itself.

    Raises BenchError.
    """
    if not run.tallies:
        return []
    origins = dict.fromkeys(each.origin for each in run.manifest.payload.values() if each.origin)
    listed = [Answer(f"requests: {origin}", {}) for origin in origins]
    answer_of = ANSWERS.get(run.manifest.question or "")
    return listed + (answer_of(run) if answer_of is not None else [])
