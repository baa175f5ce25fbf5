"""How often the interval of a searched capacity holds the true one, on queues whose capacity is known; and of pairs.

    python -m tests.benchmarks.capacity --searches 200 --load 90 300 [--first 1000]
    python -m tests.benchmarks.capacity --pairs 1000 --slower 1 1.05 [--file pairs.jsonl] [--first 1000]
    python -m tests.benchmarks.capacity --bounds
    python -m tests.benchmarks.capacity --truth [--slower 1.05]
    python -m tests.benchmarks.capacity --live 10 --time 3m [--throttled]
    python -m tests.benchmarks.capacity --live 20 --time 3m --pairs 1 --slower 1.05 [--file live.jsonl] [--first 7]

Each search meets a simulated server with a mean service time of 2 ms (two servers: 4 ms each) and wants p99 <= 25 ms. `load`
is seconds of load beside the ramp. Prints a line for each queue and load: how often an interval was given, how often it held the true capacity,
its half width (median and 90th percentile), and the error of the estimate.
--pairs compares two conditions, as `bench capacity --time 3m` measures them, the second of which takes so many times as long
(--slower); also a second one of the same capacity with another law of service times (`gamma`), which is no slower.
Prints how often they were called different, how often the interval of 99 % held the true ratio, and its half width. With --file each pair is appended to
a file, and those that are in it are not simulated again; so is each live search, whose line is that of all in the file.
--first is the first seed: seeds by which a method was chosen say nothing of it.
--bounds prints the standard error of the capacity from 90 s at its very rate, counting misses and by other estimators.
--live searches the capacity of an embedded server with exponential service times (mean 2 ms, one worker) with `bench
capacity`, so often, and prints a line for each search and one for all; --time is of each. With --pairs two such servers are compared.
With --throttled the load processes get a fifth of a core: they are stopped 80 of each 100 ms. Such a search has no answer.
--truth prints the capacities of the queues without a formula, by simulation.
"""

import argparse
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.analysis.capacity.estimate import slope_of
from bench.launch import server_process
from bench.runs.capacity import Ratio
from tests.analysis.queues import ALLOWED, CAPACITY, MEAN, SETTLING, WITHIN, due_of, latencies, pair, search
from tests.benchmarks.ab_campaign import share

SLOWER = {("M/D/1", 1.05): 0.9411, ("M/G/2", 1.05): 0.9340}
"""True ratios: python -m tests.benchmarks.capacity --truth --slower 1.05."""


def truth(kind: str, requests: int, mean: float = MEAN) -> float:
    """The rate at which the allowed share is late, by bisection with the same random numbers."""
    low, high = 250.0, 495.0
    for _ in range(12):
        rate = (low + high) / 2
        rng = np.random.default_rng(3)
        if kind == "M/G/2":
            late = of_two_servers(rate, requests, mean, rng)
        else:
            due = np.cumsum(rng.exponential(1 / rate, requests))
            late = float((latencies(kind, due, rng, mean) > WITHIN).mean())
        low, high = (low, rate) if late > ALLOWED else (rate, high)
    return (low + high) / 2


def of_two_servers(rate: float, requests: int, mean: float, rng: np.random.Generator) -> float:
    """Share of late requests, from many queues side by side (Kiefer and Wolfowitz 1955), each without its first 500."""
    side_by_side, skipped = 40_000, 500
    work, late, steps = np.zeros((2, side_by_side)), 0, requests // side_by_side
    for step in range(skipped + steps):
        work = np.sort(np.maximum(work - rng.exponential(1 / rate, side_by_side), 0.0), axis=0)
        work[0] += 2 * mean * rng.lognormal(-0.125, 0.5, side_by_side)
        late += int((work[0] > WITHIN).sum()) if step >= skipped else 0
    return late / steps / side_by_side


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
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--slower", type=float, nargs="+", default=[1.0])
    parser.add_argument("--file", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--bounds", action="store_true")
    options = parser.parse_args()
    if options.live and options.pairs:
        for slower in options.slower:
            live_pairs(options.live, options.time, slower, options.first, options.file)
        return
    if options.live:
        live(options.live, options.time, options.first, options.file, throttled=options.throttled)
        return
    for kind in options.kinds:
        if options.truth:
            requests = 40_000_000 if kind == "M/G/2" else 20_000_000
            for slower in options.slower:
                print(
                    f"{kind}: {truth(kind, requests, slower * MEAN):.1f} req/s with {slower:g} times {1e3 * MEAN:g} ms",
                    flush=True,
                )
        elif options.bounds:
            bounds(kind)
        elif options.pairs:
            for slower in options.slower:
                pairs(kind, "", slower, true_ratio(kind, slower), options.first, options.pairs, options.file)
        else:
            for load in options.load:
                line(kind, load, options.first, options.searches)
    if options.pairs and "M/M/1" in options.kinds:
        for other, mean in OF_EQUAL_CAPACITY.items():
            pairs("M/M/1", other, mean / MEAN, 1.0, options.first, options.pairs, options.file)


OF_EQUAL_CAPACITY = {"gamma 0.8": 2.0887e-3, "gamma 0.5": 2.209e-3}
"""Mean service times of other queues with the capacity of M/M/1."""


def true_ratio(kind: str, slower: float) -> float:
    """Of the capacities with so many times the service time and with it."""
    if slower == 1:
        return 1.0
    if kind == "M/M/1":
        return (1 / MEAN / slower - math.log(1 / ALLOWED) / WITHIN) / CAPACITY[kind]
    return SLOWER.get((kind, slower), math.nan)


def pairs(
    kind: str, other: str, slower: float, true: float, first: int, count: int, file: Path | None
) -> None:
    """Comparisons of two queues."""
    known = {}
    if file is not None and file.exists():
        rows = map(json.loads, file.read_text().splitlines())
        known = {
            row["seed"]: row
            for row in rows
            if (row["kind"], row["other"], row["slower"]) == (kind, other, slower)
            and first <= row["seed"] < first + count
        }
    for seed in range(first, first + count):
        if seed in known:
            continue
        found = pair(kind, seed, slower, other)
        known[seed] = {
            "kind": kind,
            "other": other,
            "slower": slower,
            "seed": seed,
            "found": found and found.model_dump(),
        }
        if file is not None:
            with file.open("a") as lines:
                lines.write(json.dumps(known[seed]) + "\n")
    ratios = [Ratio(**row["found"]) for row in known.values() if row["found"]]
    ends = [(each.low, math.inf if each.high is None else each.high) for each in ratios]
    different = sum(not low <= 1 <= high for low, high in ends)
    held = sum(low <= true <= high for low, high in ends)
    halves = [(high - low) / 2 / each.value for each, (low, high) in zip(ratios, ends, strict=True)]
    misses = [math.log(each.misses) for each in ratios if each.misses]
    print(
        f"{kind}, then {other or kind} with {slower:g} times the service time: {share(different, len(known))} called different; "
        f"{share(held, len(ratios))} intervals hold {true:.4f}; ratio {np.median([each.value for each in ratios]):.4f}, half width "
        f"{np.median(halves):.1%}; {sum(each.basis == 'speed' for each in ratios)} by all latencies; by misses alone "
        f"{np.std(misses):.1%} standard deviation",
        flush=True,
    )


def bounds(kind: str, seconds: float = 90.0, times: int = 300) -> None:
    """What any estimator has from a level at the very capacity: the standard error of the capacity, as a share of it."""
    rate, found = CAPACITY[kind], []
    slope = slope_of(ALLOWED, rate * MEAN)
    for seed in range(times):
        rng = np.random.default_rng(seed)
        due = due_of(rng, [rate], seconds)
        took = latencies(kind, due, rng)[due > SETTLING]
        low = float(np.quantile(took, 1 - ALLOWED**0.25))
        beyond = took[took > low] - low
        tail = math.log(len(beyond) / len(took)) - (WITHIN - low) / beyond.mean()
        mean = math.log(took.mean()) * math.log(1 / ALLOWED)  # d ln P(W > x) = ln(1 / P) d ln of its mean
        found.append((math.log(max(0.5, (took > WITHIN).sum()) / len(took)), tail, mean))
    misses, tail, mean = (float(np.std(column)) / slope for column in zip(*found, strict=True))
    known = 1 / math.sqrt(rate * seconds) / MEAN / rate
    print(
        f"{kind}, {seconds:g} s at {rate:.1f} req/s: misses {misses:.1%}, an exponential tail beyond the slowest "
        f"{ALLOWED**0.25:.0%} {tail:.1%}, the mean of an exponential law {mean:.1%}; service times of an exponential law, "
        f"each known: {known:.1%}; half widths of 95 % are 1.96 times as much",
        flush=True,
    )


def line(kind: str, load: float, first: int, searches: int) -> None:
    """Searches of one queue with one load."""
    true, given, held, halves, errors = CAPACITY[kind], 0, 0, [], []
    for seed in range(first, first + searches):
        done = search(kind, seed, load=load)
        found = done.estimate
        if found is None or not done.two_sided or not np.isfinite(found.high):
            continue
        given += 1
        held += found.low <= true <= found.high
        halves.append(found.half_width)
        errors.append(found.rate / true - 1)
    print(
        f"{kind}, {load:g} s: {given} of {searches} with an interval, {share(held, given)} hold {true:.1f} req/s; "
        f"half width {np.median(halves):.1%}, 90 % of them below {np.quantile(halves, 0.9):.1%}; "
        f"error {np.std(errors):.1%}, bias {np.mean(errors):+.1%}",
        flush=True,
    )


def live(searches: int, seconds: str, first: int, file: Path | None, *, throttled: bool) -> None:
    """Searches of a real server, one after the other."""
    true, kind = CAPACITY["M/M/1"], "throttled" if throttled else "search"
    flags = ["--backend", "synthetic", "--model_name", "mnist", "--workers", "1"]
    flags += ["--service_time", f"exponential({1e3 * MEAN:g}ms)"]
    with tempfile.TemporaryDirectory() as folder, server_process.embedded(flags) as server:
        told = Path(folder) / "told.json"
        for number in range(first, first + searches):
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
            row = {"outcome": condition["outcome"], "given": interval is not None, "holds": holds}
            row["half"] = interval and (interval["high"] - interval["low"]) / 2 / interval["value"]
            done_so_far = recorded(file, {"kind": kind, "time": seconds, "seed": number, **row})
            verdict = "holds" if holds else "has no interval for" if interval is None else "misses"
            print(
                f"{number + 1}: exit code {done.returncode}; {found['sentences'][0]}; {verdict} {true:.1f}",
                flush=True,
            )
            for text in condition["discarded"]:
                print(f"    left out: {text}", flush=True)
    halves = [row["half"] for row in done_so_far if row["given"]]
    print(
        f"live, {kind} of {seconds}: {len(halves)} of {len(done_so_far)} with an interval, "
        f"{share(sum(row['holds'] for row in done_so_far), len(halves))} hold {true:.1f} req/s; half width "
        f"{np.median(halves or math.nan):.1%}; load generator named in "
        f"{share(sum(row['outcome'] == 'load generator' for row in done_so_far), len(done_so_far))}",
        flush=True,
    )


def recorded(file: Path | None, row: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows so far that are of the same question, the new one with them."""
    path = Path("live.jsonl") if file is None else file
    with path.open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    same = ("kind", "time", "slower")
    return [each for each in rows if all(each.get(key) == row.get(key) for key in same)]


def live_pairs(count: int, seconds: str, slower: float, first: int, file: Path | None) -> None:
    """Comparisons of two real servers, of which one at a time is loaded."""
    true = true_ratio("M/M/1", slower)
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        declared = ""
        for name, mean in (("first", MEAN), ("second", slower * MEAN)):
            flags = ["--backend", "synthetic", "--model_name", "mnist", "--workers", "1"]
            flags += ["--service_time", f"exponential({1e3 * mean:g}ms)"]
            server = stack.enter_context(server_process.embedded(flags))
            declared += f'[servers.{name}]\nkind = "remote"\naddress = "{server.address}"\n'
        (place / "servers.toml").write_text(declared)
        told = place / "told.json"
        for number in range(first, first + count):
            (place / "pair.toml").write_text(
                f'scenario = "mnist_open"\nservers = ["first", "second"]\nseed = {1000 * number + 1}\nloads = [{{ users = 4 }}]\n'
            )
            command = [
                sys.executable,
                "-m",
                "bench",
                "capacity",
                "pair.toml",
                "--by",
                "server",
                "--time",
                seconds,
            ]
            command += ["--p99-ms", f"{1e3 * WITHIN:g}", "--json", str(told)]
            done = subprocess.run(
                command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
            )
            found = json.loads(told.read_text())
            compared = found["capacity"]["ratios"]
            low, high = (compared[0]["low"], compared[0]["high"] or math.inf) if compared else (0.0, math.inf)
            row = {"given": bool(compared), "holds": low <= true <= high, "different": not low <= 1 <= high}
            row |= {"outcome": found["sentences"][-1], "half": (high - low) / 2}
            rows = recorded(file, {"kind": "pair", "time": seconds, "slower": slower, "seed": number, **row})
            print(f"{number + 1}: exit code {done.returncode}; {found['sentences'][-1]}", flush=True)
    given = [row for row in rows if row["given"]]
    print(
        f"live, {slower:g} times the service time: {share(sum(row['different'] for row in rows), len(rows))} called different; "
        f"{share(sum(row['holds'] for row in given), len(given))} intervals hold {true:.4f}; half width "
        f"{np.median([row['half'] for row in given] or math.nan):.1%}",
        flush=True,
    )


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
