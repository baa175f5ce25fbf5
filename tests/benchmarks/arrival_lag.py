"""Measure how late requests leave. Run: python -m tests.benchmarks.arrival_lag [SECONDS] [RATES...]

An open loop of Poisson arrivals on one core, the null backend on the other. For each rate: the lag, the rate that was
achieved, whether the due instants are the schedule's to the half microsecond that run folders keep,
and Kolmogorov-Smirnov tests of the instants at which requests left: these against the plan's expected count, which is
uniform, and the gaps between them against the exponential distribution. Then the lag of a process that only sleeps.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import kstest

from bench.launch import server_process
from bench.runs.run import Run
from bench.schedule import Poisson, times
from bench.schedule.rates import Floats
from tests.benchmarks.arguments import parser
from tests.load.locust_runs import locust

SCENARIO = "scenarios/mnist_open.py"
WARM_SECONDS = 1.0
"""Left out of lags: code, caches and connections are cold."""


def measure(address: str, rate: float, seconds: int, folder: Path) -> Run:
    schedule = ["--schedule", f"poisson:{rate:g}", "-t", f"{seconds + 1}s"]
    done = locust(folder, "--host", address, *schedule, scenario=SCENARIO)
    assert done.code == 0, done.output
    return done.run()


def planned(rate: float, until: float) -> Floats:
    return np.concatenate([*times(Poisson(rate), 0, 1, until, seed=1, salt="MnistOpen")])


def row(rate: float, run: Run) -> tuple[str, ...]:
    samples = run.samples.sort_values("due")
    begin = run.manifest.raw["arrivals"]["MnistOpen"]["begin"]
    due, sent = (samples[name].to_numpy() - begin for name in ("due", "sent"))
    plan = planned(rate, due[-1] + 1.0)[: len(due)]
    lag = (sent - due)[due > WARM_SECONDS] * 1e3
    p50, p99, p999 = np.percentile(lag, [50, 99, 99.9])
    # achieved: what left, over what the schedule expects in the same time
    left = np.sort(sent)
    achieved = (len(left) - 1) / (left[-1] - left[0]) / ((len(plan) - 1) / (plan[-1] - plan[0]))
    uniform = kstest(left, "uniform", args=(0.0, due[-1]))
    gaps = kstest(np.diff(left) * rate, "expon")
    cpu = [r["cpu_seconds"] for r in run.telemetry if r["source"] == "worker 0"]
    at = [r["time"] for r in run.telemetry if r["source"] == "worker 0"]
    return (
        f"{rate:,.0f}",
        f"{len(due):,}",
        "yes" if np.abs(due - plan).max() < 0.51e-6 else "NO",
        f"{p50:.3f}",
        f"{p99:.3f}",
        f"{p999:.3f}",
        f"{achieved - 1:+.3%}",
        f"{uniform.statistic:.4f} ({uniform.pvalue:.2f})",
        f"{gaps.statistic:.4f} ({gaps.pvalue:.2f})",
        f"{(cpu[-1] - cpu[0]) / (at[-1] - at[0]):.0%}",
    )


def bare(rate: float, seconds: int) -> tuple[str, ...]:
    """The least that is possible here: this process sleeps until each instant and does nothing else."""
    due = planned(rate, seconds) + time.perf_counter() + 0.01
    lag = np.empty(len(due))
    for number, at in enumerate(due.tolist()):
        left = at - time.perf_counter()
        if left > 0:
            time.sleep(left)
        lag[number] = time.perf_counter() - at
    p50, p99, p999 = np.percentile(lag[due - due[0] > WARM_SECONDS] * 1e3, [50, 99, 99.9])
    shown = (f"{rate:,.0f}, bare sleep", f"{len(due):,}", "", f"{p50:.3f}", f"{p99:.3f}", f"{p999:.3f}")
    return (*shown, "", "", "", "")


HEADINGS = (
    "rate/s", "sent", "as planned", "lag p50 ms", "p99 ms", "p99.9 ms", "achieved",
    "KS instants D (p)", "KS gaps D (p)", "core used",
)  # fmt: skip


def main(seconds: int, rates: list[float]) -> None:
    processors = sorted(os.sched_getaffinity(0))
    table = [HEADINGS, tuple("---:" for _ in HEADINGS)]
    with server_process.embedded(["--backend", "null"]) as server, tempfile.TemporaryDirectory() as folder:
        os.sched_setaffinity(server.pid, processors[:1])
        os.sched_setaffinity(0, processors[1:])  # what is started from here on inherits it
        for number, rate in enumerate(rates):
            table.append(row(rate, measure(server.address, rate, seconds, Path(folder) / str(number))))
        table += [bare(rate, seconds) for rate in dict.fromkeys(rates)]
    for line in table:
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("seconds", type=int, nargs="?", default=20)
    command.add_argument(
        "rates", type=float, nargs="*", help="requests per second (default: 1000 and 10000, twice)"
    )
    given = command.parse_args()
    main(given.seconds, given.rates or [1_000.0, 1_000.0, 10_000.0, 10_000.0])
