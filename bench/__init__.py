"""Load testing, true latencies and release gates for TensorFlow Serving."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import bench.analysis.showing.figures as plot
    from bench.analysis.public import compare, load_runs
    from bench.runs.run import Run

__version__ = "0.1.0"
__all__ = ["BenchError", "Run", "compare", "load_runs", "plot"]

_LAZY = {"Run": "bench.runs.run", "compare": "bench.analysis.public", "load_runs": "bench.analysis.public"}
"""Where public names come from: imported when they are first used, since pandas and scipy take half a second."""


class BenchError(Exception):
    """Something that the user can fix; the text is one line with path, value and remedy.

    Only `bench.cli` and the Locust start-up in `bench.load` catch it: they print the text and exit with code 2.
    """


def __getattr__(name: str) -> Any:
    if name == "plot":
        import_module("bench.extras").need("matplotlib", "bench.plot")
        return import_module("bench.analysis.showing.figures")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
