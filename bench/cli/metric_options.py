"""Options that say which metrics are looked at: the same for all verbs that read runs."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from bench import BenchError
from bench.analysis.answers.numbers import OLD_NAMES
from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading.metric import GOODPUT, GOODPUT_RATE
from bench.cli.numbers import Number
from bench.config.reading import nearest

OF_GOODPUT: Final = (GOODPUT, GOODPUT_RATE)


def goodput_option(text: str) -> Callable[[Any], Any]:
    """`--goodput-ms X`, as `answered_within` in seconds."""
    return click.option(
        "--goodput-ms",
        "answered_within",
        type=Number(0, min_open=True),
        callback=lambda _context, _parameter, value: None if value is None else value / 1e3,
        metavar="X",
        help=f"{text}: share and rate of the requests answered correctly within X milliseconds.",
    )


def metrics_to_judge(
    names: Sequence[str], usual: Sequence[str], answered_within: float | None
) -> tuple[str, ...]:
    """The metrics named, or the usual ones and goodput where it is asked for. Raises BenchError."""
    names = [OLD_NAMES.get(name, name) for name in names]
    for name in names:
        if name not in METRICS:
            raise BenchError(
                f"--metric {name}: unknown{nearest(name, METRICS)}; valid names: {', '.join(METRICS)}"
            )
        if name in OF_GOODPUT and answered_within is None:
            raise BenchError(
                f"--metric {name}: add the time limit of goodput, such as --goodput-ms 20 (milliseconds)"
            )
    if names:
        return tuple(names)
    return (*usual, *OF_GOODPUT) if answered_within is not None else tuple(usual)
