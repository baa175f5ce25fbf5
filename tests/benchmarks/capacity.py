"""How often the interval of a searched capacity holds the true one, on queues whose capacity is known.

    python -m tests.benchmarks.capacity --searches 200 --load 90 300
    python -m tests.benchmarks.capacity --truth

Each search meets a simulated server with a mean service time of 2 ms (two servers: 4 ms each) and wants p99 <= 25 ms. `load`
is seconds of load beside the ramp. Prints a line for each queue and load: how often an interval was given, how often it held the true capacity,
its half width (median and 90th percentile), and the error of the estimate.
--truth prints the capacities of the queues without a formula, by simulation.
"""

import argparse

import numpy as np

from tests.analysis.queues import ALLOWED, CAPACITY, WITHIN, latencies, search


def truth(kind: str, requests: int) -> float:
    """The rate at which the allowed share is late, by bisection with the same random numbers."""
    low, high = 250.0, 495.0
    for _ in range(12):
        rate = (low + high) / 2
        rng = np.random.default_rng(3)
        due = np.cumsum(rng.exponential(1 / rate, requests))
        late = latencies(kind, due, rng) > WITHIN
        low, high = (low, rate) if late.mean() > ALLOWED else (rate, high)
    return (low + high) / 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--load", type=float, nargs="+", default=[90.0, 300.0])
    parser.add_argument("--kinds", nargs="+", choices=list(CAPACITY), default=list(CAPACITY))
    parser.add_argument("--truth", action="store_true")
    options = parser.parse_args()
    for kind in options.kinds:
        if options.truth:
            print(
                f"{kind}: {truth(kind, 2_000_000 if kind == 'M/G/2' else 20_000_000):.1f} req/s", flush=True
            )
            continue
        for load in options.load:
            line(kind, load, options.searches)


def line(kind: str, load: float, searches: int) -> None:
    """Searches of one queue with one load."""
    true, given, held, halves, errors = CAPACITY[kind], 0, 0, [], []
    for seed in range(searches):
        done = search(kind, seed, load=load)
        found = done.found
        if found is None or not done.two_sided or not np.isfinite(found.high):
            continue
        given += 1
        held += found.low <= true <= found.high
        halves.append(found.half_width)
        errors.append(found.rate / true - 1)
    print(
        f"{kind}, {load:g} s: {given} of {searches} with an interval, {held} hold {true:.1f} req/s ({held / max(1, given):.1%}); "
        f"half width {np.median(halves):.1%}, 90 % of them below {np.quantile(halves, 0.9):.1%}; "
        f"error {np.std(errors):.1%}, bias {np.mean(errors):+.1%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
