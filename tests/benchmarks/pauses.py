"""Measure how long the machine itself keeps a program from running. Run: python -m tests.benchmarks.pauses [SECONDS]

A program on each processor does nothing but look at the clock: where two looks are more than 0.15 ms apart, something
else had the processor, a thread of the kernel or what is outside of a virtual machine. No server there answers meanwhile.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tests.benchmarks.arguments import parser

SHORTEST = 1.5e-4
"""Seconds between two looks from which it was a pause; undisturbed they are less than 0.001 ms apart."""


class Pauses(NamedTuple):
    """What one processor's program has seen."""

    processor: int
    seconds: float
    pauses: list[float]
    """Seconds of each."""


def watch(processor: int, seconds: float) -> Pauses:
    """Look at the clock for so long, on this processor alone."""
    os.sched_setaffinity(0, {processor})
    clock, pauses = time.perf_counter, []
    last = clock()
    until = last + seconds
    while last < until:
        now = clock()
        if now - last > SHORTEST:
            pauses.append(now - last)
        last = now
    return Pauses(processor, seconds, pauses)


def main() -> None:
    command = parser(__doc__)
    command.add_argument("seconds", type=float, nargs="?", default=10.0)
    seconds = command.parse_args().seconds
    processors = sorted(os.sched_getaffinity(0))
    with ProcessPoolExecutor(len(processors)) as pool:
        for seen in pool.map(watch, processors, [seconds] * len(processors)):
            print(
                f"processor {seen.processor}: {len(seen.pauses) / seen.seconds:.1f} pauses a second, "
                f"{sum(seen.pauses) / seen.seconds:.2%} of the time, "
                f"the longest {max(seen.pauses, default=0.0) * 1e3:.1f} ms"
            )


if __name__ == "__main__":
    main()
