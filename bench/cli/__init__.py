"""The command `bench`: its verbs and its exit codes.

Exit codes: 0 done or pass, 1 FAIL (a limit is broken), 2 bad usage or input, 3 inconclusive or measurement invalid,
70 a crash of this program (EX_SOFTWARE of sysexits.h), 130 after Ctrl-C. Code 1 is a verdict and nothing else.
"""

import contextlib
import io
import sys
import traceback
from typing import Final

from bench import BenchError
from bench.escape import one_line

CRASH: Final = 70

GROUPS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Measure": {
        "ab": ("bench.cli.ab", "Compare two versions, models or servers: speed and answers, in one command."),
        "capacity": (
            "bench.cli.capacity",
            "Find the highest load that a server sustains within a service level.",
        ),
        "tune": ("bench.cli.tune", "Find the best settings of a server: batching, threads, flags."),
        "run": ("bench.cli.run", "Run an experiment: servers x versions x batch sizes x loads."),
        "scenario": ("bench.cli.scenario", "Run a scenario of this package with Locust."),
        "calibrate": ("bench.cli.calibrate", "Measure how much load this machine can send."),
        "init": ("bench.cli.init", "Write example files: scenario, servers, experiment, limits, CI."),
        "kubernetes": ("bench.cli.kubernetes", "Write manifests for a load and its gate in a cluster."),
    },
    "Results and releases": {
        "report": ("bench.cli.report", "Show what runs measured: terminal table, HTML page, JSON."),
        "compare": ("bench.cli.compare", "Compare trials: ratios with intervals and verdicts."),
        "gate": ("bench.cli.gate", "Check runs against limits: pass, FAIL or inconclusive."),
        "baseline": ("bench.cli.baseline", "Set, extend or show the baseline that gates compare with."),
        "history": ("bench.cli.history", "Find the run at which a metric changed."),
        "plot": ("bench.cli.plot", "Write a report's charts as image files."),
    },
    "Servers and models": {
        "status": ("bench.cli.status", "Show which versions of a model a server has, and in which states."),
        "metadata": ("bench.cli.metadata", "Show a model's signatures: inputs, outputs, dtypes, shapes."),
        "predict": (
            "bench.cli.predict",
            "Send images or a file of requests to a server and print its answers.",
        ),
        "serve": ("bench.cli.serve", "Serve SavedModels with TensorFlow Serving's API."),
        "export": ("bench.cli.export", "Train and export MNIST models as SavedModels."),
    },
    "Shell": {
        "completion": ("bench.cli.completion", "Print a shell completion script."),
    },
}
"""Heading in `bench --help` -> verb -> module that holds a click command of the verb's name, and its line there."""
VERBS: Final = {verb: entry for group in GROUPS.values() for verb, entry in group.items()}
INTERNAL: Final = {"conclude": "bench.cli.conclude"}
"""Verb -> module of what only this package calls: no help or completion lists it."""


def main(arguments: list[str] | None = None) -> None:
    """Run `bench` and leave the process with its exit code; `BenchError` is one line on stderr and code 2."""
    code = CRASH
    try:
        # even what cannot be imported must not end with 1, which would mean that a limit is broken
        from bench.cli.output import lasting_streams

        with lasting_streams():
            code = _guarded(arguments)
    except BenchError as error:  # of the output itself
        code = 2
        _complain(one_line(f"bench: {error}"))
    except Exception:  # noqa: BLE001 - whatever it is has this code
        code = CRASH
        _complain(traceback.format_exc())
    sys.exit(code)


def _guarded(arguments: list[str] | None) -> int:
    try:
        from bench.cli.verbs import run

        return run(arguments)
    except BenchError as error:
        _complain(one_line(f"bench: {error}"))
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - as above
        _complain(traceback.format_exc())
        _complain(f"bench: internal error of serving-bench, not a verdict (exit code {CRASH})")
        return CRASH


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):  # where standard error cannot be written, the exit code still tells
        print(text.rstrip(), file=sys.stderr or io.StringIO())
