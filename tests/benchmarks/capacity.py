"""How often the interval of a searched capacity holds the true one, on queues whose capacity is known.

    python -m tests.benchmarks.capacity --searches 200 --load 90 300
    python -m tests.benchmarks.capacity --truth
    python -m tests.benchmarks.capacity --live 10 --time 3m [--throttled]

Each search meets a simulated server with a mean service time of 2 ms (two servers: 4 ms each) and wants p99 <= 25 ms. `load`
is seconds of load beside the ramp. Prints a line for each queue and load: how often an interval was given, how often it held the true capacity,
its half width (median and 90th percentile), and the error of the estimate.
--live searches the capacity of an embedded server with exponential service times (mean 2 ms, one worker) with `bench
capacity`, so often, and prints a line for each search and one for all; --time is of each.
With --throttled the load processes get a fifth of a core: they are stopped 80 of each 100 ms. Such a search has no answer.
--truth prints the capacities of the queues without a formula, by simulation.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from bench.launch import server_process
from tests.analysis.queues import ALLOWED, CAPACITY, MEAN, WITHIN, latencies, search


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
    parser.add_argument("--live", type=int, default=0)
    parser.add_argument("--time", default="3m")
    parser.add_argument("--throttled", action="store_true")
    options = parser.parse_args()
    if options.live:
        live(options.live, options.time, throttled=options.throttled)
        return
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


def live(searches: int, seconds: str, *, throttled: bool) -> None:
    """Searches of a real server, one after the other."""
    true, given, held = CAPACITY["M/M/1"], 0, 0
    flags = ["--backend", "synthetic", "--model_name", "mnist", "--workers", "1"]
    flags += ["--service_time", f"exponential({1e3 * MEAN:g}ms)"]
    with tempfile.TemporaryDirectory() as folder, server_process.embedded(flags) as server:
        told = Path(folder) / "told.json"
        for number in range(searches):
            command = [sys.executable, "-m", "bench", "capacity", server.address, "--model", "mnist"]
            command += ["--p99-ms", f"{1e3 * WITHIN:g}", "--time", seconds, "--seed", str(1000 * number + 1)]
            with subprocess.Popen(
                [*command, "--results", folder, "--json", str(told)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as done:
                while done.poll() is None:
                    throttle(done.pid) if throttled else done.wait()
            found = json.loads(told.read_text())
            (condition,) = found["capacity"]["conditions"]
            interval = condition["capacity"]
            holds = interval is not None and interval["low"] <= true <= interval["high"]
            given, held = given + (interval is not None), held + holds
            print(
                f"{number + 1}: exit code {done.returncode}; {found['sentences'][0]}; {'holds' if holds else 'misses'} {true:.1f}",
                flush=True,
            )
            for text in condition["discarded"]:
                print(f"    left out: {text}", flush=True)
    print(f"live: {given} of {searches} with an interval, {held} hold {true:.1f} req/s", flush=True)


def throttle(pid: int) -> None:
    """Stop the load processes below a process for 80 ms, and let them run for 20."""
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(pid).children(recursive=True)
        load = [each for each in below if "locust" in each.cmdline()]
        for each in load:
            each.suspend()
        time.sleep(0.08)
        for each in load:
            each.resume()
    time.sleep(0.02)


if __name__ == "__main__":
    main()
