"""Measure how often the warm-up rule hides a stall, cuts a steady run, or leaves a transient in.

    python -m tests.benchmarks.warm_up [RUNS] [SEED]

Simulated runs of 12 to 120 s, request by request: an open loop at a constant rate, or users in a closed loop, with
log-normal service times; steady ones also with a level that wanders from second to second, and with long tails. A stall of
0.3 to 2 s at a random instant holds all replies until it is over. It is hidden where most of it lies in what is cut and no
warning is given. A transient (an exponential decay, a slow first second, users that arrive one after the other) is cut where
no second is left whose median is over 1.5 times the steady one, or whose load is under two thirds of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.statistics.intervals import proportion
from bench.runs.warmup import Part, Seconds, excess, most_seconds, transient
from tests.benchmarks.arguments import parser

Floats = NDArray[np.float64]
SERVICE = 0.005


@dataclass
class Simulated:
    """A run: when its requests were due and what they took, and the truth about it."""

    due: Floats
    latency: Floats
    length: int
    closed: bool
    stall: tuple[float, float] | None = None
    """When it began and ended."""
    slow: tuple[int, ...] = ()
    """Seconds that are part of a transient."""


def length_of(rng: np.random.Generator) -> int:
    return int(rng.integers(12, 121))


def open_loop(
    rng: np.random.Generator,
    length: int,
    factor: Callable[[Floats], Floats] = np.ones_like,
    spread: float = 0.3,
) -> tuple[Floats, Floats]:
    due = np.arange(0, length, 1 / rng.uniform(100, 400))
    return due, SERVICE * factor(due) * np.exp(rng.normal(0, spread, len(due)))


def held(due: Floats, latency: Floats, stall: tuple[float, float]) -> Floats:
    done = due + latency
    inside = (done >= stall[0]) & (done < stall[1])
    return np.where(inside, stall[1] - due, latency)


def closed_loop(
    rng: np.random.Generator,
    length: int,
    stall: tuple[float, float] | None = None,
    begin: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Users that ask again as soon as they are answered."""
    users = int(rng.integers(2, 9))
    begin = np.zeros(users) if begin is None else begin
    due, latency = [], []
    for start in begin:
        now = float(start)
        for service in 0.02 * np.exp(rng.normal(0, 0.3, 60 * length)):
            done = now + service
            if stall is not None and stall[0] <= done < stall[1]:
                done = stall[1]
            due.append(now)
            latency.append(done - now)
            now = done
            if now > length:
                break
    order = np.argsort(due)
    return np.array(due)[order], np.array(latency)[order]


def steady(rng: np.random.Generator) -> Simulated:
    length = length_of(rng)
    kind = rng.integers(4)
    if kind == 0:
        return Simulated(*closed_loop(rng, length), length, closed=True)
    level = np.zeros(length + 1)
    if kind == 1:  # a level that wanders: autocorrelation 0.7, standard deviation 10 %
        for second in range(1, length + 1):
            level[second] = 0.7 * level[second - 1] + 0.1 * np.sqrt(1 - 0.49) * rng.standard_normal()
        level -= level.mean()
    spread = 1.0 if kind == 2 else 0.3
    due, latency = open_loop(rng, length, lambda at: np.exp(level[at.astype(int)]), spread)
    return Simulated(due, latency, length, closed=False)


def stalled(rng: np.random.Generator) -> Simulated:
    length = length_of(rng)
    begin = rng.uniform(0, length - 2)
    stall = (begin, begin + rng.uniform(0.3, 2.0))
    if rng.integers(2):
        return Simulated(*closed_loop(rng, length, stall), length, closed=True, stall=stall)
    due, latency = open_loop(rng, length)
    return Simulated(due, held(due, latency, stall), length, closed=False, stall=stall)


def decaying(rng: np.random.Generator) -> Simulated:
    length = int(rng.integers(30, 121))
    height, tau = rng.uniform(2, 8), rng.uniform(0.5, 2.0)
    due, latency = open_loop(rng, length, lambda at: 1 + (height - 1) * np.exp(-at / tau))
    slow = tuple(s for s in range(length) if 1 + (height - 1) * np.exp(-(s + 0.5) / tau) > 1.5)
    return Simulated(due, latency, length, closed=False, slow=slow)


def slow_first(rng: np.random.Generator) -> Simulated:
    length, height = length_of(rng), rng.uniform(2, 8)
    due, latency = open_loop(rng, length, lambda at: np.where(at < 1, height, 1.0))
    return Simulated(due, latency, length, closed=False, slow=(0,))


def arriving(rng: np.random.Generator) -> Simulated:
    length = int(rng.integers(30, 121))
    begin = np.arange(8) * rng.uniform(0.2, 0.6)
    due, latency = closed_loop(rng, length, begin=begin)
    slow = tuple(s for s in range(length) if (begin <= s + 0.5).sum() < 0.66 * len(begin))
    return Simulated(due, latency, length, closed=True, slow=slow)


def seconds_of(run: Simulated) -> Seconds:
    second = np.minimum(run.due.astype(int), run.length - 1)
    groups = [run.latency[second == at] for at in range(run.length)]
    load = [each.sum() if run.closed else float(len(each)) for each in groups]
    quick, median = (
        [float(np.percentile(each, q)) if len(each) else np.nan for each in groups] for q in (10, 50)
    )
    return Seconds(np.array(load), np.array(quick), np.array(median))


def part(latency: Floats) -> Part:
    return Part(float(np.median(latency)), float(np.percentile(latency, 99)), float(latency.max()), 0.0)


def judged(run: Simulated) -> tuple[int, bool]:
    """Seconds that are cut, and whether there is a warning."""
    settling = transient(seconds_of(run))
    cut = run.due < settling.at
    warned = not settling.settled
    if cut.any():
        warned = warned or excess(part(run.latency[cut]), part(run.latency[~cut])) is not None
    return settling.at, warned


def hidden(run: Simulated) -> bool:
    """Whether the requests that a stall held are mostly cut, without a warning."""
    cut, warned = judged(run)
    if run.stall is None or warned:
        return False
    waited = run.due[run.latency > 0.5 * (run.stall[1] - run.stall[0])]
    return bool(len(waited)) and float((waited < cut).mean()) > 0.5


def campaign(runs: int, seed: int) -> dict[str, float]:
    """Of so many simulated runs of each kind."""
    rng = np.random.default_rng(seed)
    quiet = [(run.length, *judged(run)) for run in (steady(rng) for _ in range(runs))]
    found = {
        "stalls hidden": sum(hidden(stalled(rng)) for _ in range(runs)) / runs,
        "steady: cut on average": float(np.mean([cut / length for length, cut, _ in quiet])),
        "steady: warned about": float(np.mean([warned for _, _, warned in quiet])),
    }
    for name, make in (
        ("decaying", decaying),
        ("slow first second", slow_first),
        ("users arriving", arriving),
    ):
        cuts = [(run, *judged(run)) for run in (make(rng) for _ in range(runs))]
        short = [(run, cut) for run, cut, _ in cuts if len(run.slow) <= most_seconds(run.length)]
        found[f"{name}: cut"] = float(np.mean([not [s for s in run.slow if s >= cut] for run, cut in short]))
        found[f"{name}: cut or warned about"] = float(
            np.mean([warned or not [s for s in run.slow if s >= cut] for run, cut, warned in cuts])
        )
    return found


def main() -> None:
    command = parser(__doc__)
    command.add_argument("runs", type=int, nargs="?", default=1000)
    command.add_argument("seed", type=int, nargs="?", default=1)
    given = command.parse_args()
    runs, seed = given.runs, given.seed
    print(f"{runs} runs of each kind, seed {seed}; 95 % intervals (Clopper and Pearson)")
    for name, share in campaign(runs, seed).items():
        low, high = proportion(round(share * runs), runs, 0.95)
        span = "" if "average" in name else f"   ({100 * low:.1f} to {100 * high:.1f} %)"
        print(f"{name:34} {100 * share:6.2f} %{span}")


if __name__ == "__main__":
    main()
