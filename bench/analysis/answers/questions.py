"""The question of each scenario and the module that answers it.

The manifest names the question; each module here knows the answer to one, from the run folder alone.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Final

from bench.analysis.answers.answer import Answer
from bench.runs.run import Run

ANSWERS: Final = (
    "apis",
    "batches",
    "bound",
    "caches",
    "drift",
    "mlperf",
    "neighbours",
    "overhead",
    "overload",
    "rollout",
    "spike",
    "versions",
)
"""Questions, and the names of the modules beside this one, of which a run needs one at most."""


def answers(run: Run) -> list[Answer]:
    """What the run's scenario wanted to know, after where its requests come from if that is not the scenario itself.

    Raises BenchError.
    """
    if not run.tallies:
        return []
    origins = dict.fromkeys(each.origin for each in run.manifest.payload.values() if each.origin)
    listed = [Answer(f"requests: {origin}", {}, "requests") for origin in origins]
    question = run.manifest.question
    if question not in ANSWERS:
        return listed
    answer: Callable[[Run], list[Answer]] = import_module(f"bench.analysis.answers.{question}").answer
    return listed + answer(run)
