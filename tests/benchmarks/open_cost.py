"""What does a request of an open loop cost the client? Run: python -m tests.benchmarks.open_cost [OTHER] [--rates ...]

Poisson arrivals of MNIST requests, checked and recorded, without Locust, on one processor; the null backend on another.
Prints microseconds of CPU time per request (median of tenths of a second) and how late requests left, in microseconds.
Tenths in which a request took longer than QUIET_SECONDS are left out: something else ran then. OTHER is another checkout
of the project, measured in turn with this one against the same server; ratios are this / other.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import numpy as np

from bench import mnist
from bench.load.checking.checker import Checker
from bench.load.checking.references import References
from bench.load.engine.arrivals import Arrivals, Division, Lane
from bench.load.engine.recorder import Recorder
from bench.payload import Pool
from bench.schedule import Poisson
from bench.wire.client import Channel

ROOT = Path(__file__).parents[2]
DEADLINE = 10.0
SLICE_SECONDS = 0.1
QUIET_SECONDS = 0.003
WARM_SECONDS = 0.5


def load(address: str, rate: float, seconds: float) -> dict[str, Any]:
    """CPU and lag of one load."""
    digits = mnist.load("test", None)
    pool = Pool.mnist(digits.images, digits.labels, batch=1, size=1000, seed=1)
    recorder = Recorder("Predict", pool, Checker(pool, pool.output, None, references=References(len(pool))))
    channel = Channel(address)
    channel.connect(10)
    lane = Lane(recorder.messages, recorder.add, recorder.add_unsent, recorder.add_answers)
    arrivals = Arrivals(
        channel, recorder.method, [lane], Poisson(rate), seed=1, deadline=DEADLINE, cap=10_000
    )
    arrivals.divide(Division(0.0, 1, 0, 1))
    arrivals.begin(time.perf_counter() + 0.05)
    gevent.sleep(WARM_SECONDS)
    marks: list[tuple[float, float, int]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        marks.append((time.perf_counter(), time.process_time(), arrivals.started))
        gevent.sleep(SLICE_SECONDS)
        marks.append((time.perf_counter(), time.process_time(), arrivals.started))
        recorder.settle()
    arrivals.stop()
    with gevent.Timeout(DEADLINE):
        while arrivals.in_flight:
            gevent.sleep(0.01)
    rows = recorder.take()
    due, sent, done = (
        np.concatenate([getattr(part, name) for part in rows]) for name in ("due", "sent", "done")
    )
    costs, lags = [], []
    for (begin, spent, count), (until, spent_then, count_then) in list(pairwise(marks))[::2]:
        part = (due >= begin) & (due < until)
        if (
            part.any() and (done - due)[part].max() < QUIET_SECONDS
        ):  # a request without an answer: nan, not quiet
            costs.append((spent_then - spent) / (count_then - count) * 1e6)
            lags.append((sent - due)[part] * 1e6)
    if not costs:
        return {"quiet": 0}
    p50, p99, p999 = np.percentile(np.concatenate(lags), [50, 99, 99.9]).tolist()
    return {"quiet": len(costs), "cpu": statistics.median(costs), "p50": p50, "p99": p99, "p999": p999}


def measured(root: Path, address: str, rate: float, seconds: float, cpu: int) -> dict[str, Any]:
    """The same by a checkout's code, in a process of its own on one core."""
    command = ["taskset", "-c", str(cpu), sys.executable, "-P", __file__]
    command += ["--address", address, "--rates", str(rate), "--seconds", str(seconds)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", nargs="?", type=Path, metavar="OTHER", help="the root of another checkout")
    parser.add_argument("--rates", nargs="+", type=float, default=[1_000, 10_000, 50_000, 100_000])
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.address:
        gevent.spawn(lambda: print(json.dumps(load(given.address, given.rates[0], given.seconds)))).join()
        sys.stdout.flush()
        os._exit(0)
    from bench.launch import server_process

    server_cpu, client_cpu = sorted(os.sched_getaffinity(0))[:2]
    roots = [ROOT, *([given.other.resolve()] if given.other else [])]
    print(
        "| rate/s | checkout | quiet tenths | CPU us/request | late p50 us | p99 | p99.9 |\n|---:|---|"
        + "---:|" * 5
    )
    with server_process.embedded(["--backend", "null"], cpus=[server_cpu]) as server:
        for rate in given.rates:
            found: dict[Path, list[dict[str, Any]]] = {root: [] for root in roots}
            for number in range(given.pairs):
                for root in roots[:: 1 if number % 2 else -1]:
                    one = measured(root, server.address, rate, given.seconds, client_cpu)
                    found[root].append(one)
            for root, many in found.items():
                quiet = [each for each in many if each["quiet"]]
                middle = [
                    statistics.median([each[key] for each in quiet] or [float("nan")])
                    for key in ("cpu", "p50", "p99", "p999")
                ]
                cells = [
                    f"{sum(each['quiet'] for each in many)}",
                    f"{middle[0]:.1f}",
                    *(f"{each:.0f}" for each in middle[1:]),
                ]
                print(f"| {rate:,.0f} | {root.name} | " + " | ".join(cells) + " |", flush=True)
            if given.other:
                pairs = [
                    (one, two)
                    for one, two in zip(*found.values(), strict=True)
                    if one["quiet"] and two["quiet"]
                ]
                for key in ("cpu", "p50", "p99"):
                    ratios = sorted(one[key] / two[key] for one, two in pairs) or [float("nan")]
                    print(
                        f"{key}: ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
                    )


if __name__ == "__main__":
    main()
