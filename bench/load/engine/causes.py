"""Wrong answers by request name and cause, as the manifest keeps them and load processes send them."""

from collections.abc import Iterable, Mapping
from typing import Any

from bench.load.engine.recorder import Recorder

Causes = dict[str, dict[str, dict[str, Any]]]
"""Request name -> cause -> count, and the text of one example."""


def causes_of(recorders: Iterable[Recorder]) -> Causes:
    """What the checkers of one process have found; recorders may share a name."""
    return merged(
        {
            each.name: {
                cause: {"count": count, "example": each.checker.examples[cause]}
                for cause, count in each.checker.causes.items()
            }
        }
        for each in recorders
        if each.checker.causes
    )


def merged(parts: Iterable[Mapping[str, Any]]) -> Causes:
    """The sum of what several processes have found."""
    whole: Causes = {}
    for part in parts:
        for name, causes in part.items():
            for cause, tally in causes.items():
                known = whole.setdefault(name, {}).setdefault(
                    cause, {"count": 0, "example": tally["example"]}
                )
                known["count"] += tally["count"]
    return whole
