"""Compare load clients: the cost of a request, and how punctual it is. Run: python -m tests.benchmarks.peers [--state FILE]

`native` is this project's Locust scenario as a whole (responses checked, everything recorded), `h2load` and `c++` (on
libgrpc++) are clients in C and C++ that do nothing but send, `stock` is Locust on grpcio as its documentation shows it.
`bare` is the least that a punctual open loop costs: timer, epoll, send and read in C++; like `native` it sends together
what is due within 50 us. The target is the null backend on one processor, the client has the other; the clients take
turns, and medians of the rounds are shown ("not built here": its library or program is not installed). The first table says
how much the target itself can do: no client's cell above it means anything.

Closed loops keep so many requests in flight. Open loops have a rate: Poisson for `native` and `bare`, even distances for
the others (h2load sends what is due every 10 ms). How late requests were is read from the target's log of arrivals: by how
much each came later, after it was due, than the most punctual one; the first second is left out. A rate of which less than
99 % was sent is "not reached". With --state what has been measured is kept in a file, and a second call goes on from there.
With --spend it stops after so many seconds: the whole table takes a quarter of an hour, which others may have to share.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.load.engine.arrivals import MERGE_SECONDS
from bench.runs.run import Run
from bench.wire.exchange import RequestHead
from bench.wire.request_heads import RequestHeads
from bench.wire.unary import PREFIX
from tests.benchmarks.arrivals_log import Floats, LoggedTarget, lags, logged
from tests.benchmarks.clients import METHOD, ROOT, Load, Outcome, cpp, h2load, run, write_request
from tests.benchmarks.transport import mnist_request
from tests.wire.native import build, missing

LEAVE_OUT = 1.0
REACHED = 0.99
STOCK_USERS = 100
MOST_WAITING = 10_000
"""Requests in flight of an open loop at the most."""


@dataclass(frozen=True)
class Cell:
    """A load that each client is asked for."""

    in_flight: int = 0
    rate: int = 0
    batch: int = 1

    @property
    def name(self) -> str:
        """As the table shows it."""
        load = f"open {self.rate:,}/s" if self.rate else f"closed {self.in_flight}"
        return load if self.batch == 1 else f"{load}, batch {self.batch}"


CELLS = [
    *(Cell(in_flight=number) for number in (1, 16, 64, 256)),
    *(Cell(rate=rate) for rate in (1_000, 10_000, 50_000, 100_000)),
    *(Cell(in_flight=number, batch=batch) for batch in (32, 256) for number in (1, 16)),
]


@dataclass(frozen=True)
class Sent:
    """What a client says of its run, and when its requests were due; None: not known, at even distances."""

    outcome: Outcome
    dues: Floats | None = None
    lag: tuple[float, float] | None = None
    """p50 and p99 by its own record, in seconds."""


def locust(kind: str, cell: Cell, load: Load) -> Sent:
    """One Locust process with one user class."""
    with tempfile.TemporaryDirectory() as folder:
        meter = Path(folder) / "meter.json"
        environment = {
            **os.environ,
            "METER": str(meter),
            "PYTHONPATH": str(ROOT),
            "METER_BATCH": str(cell.batch),
        }
        command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "--host", load.address]
        users = cell.in_flight or 1
        if kind == "stock":
            command += ["-f", "tests/benchmarks/locust_stock.py"]
            users = cell.in_flight or STOCK_USERS
            environment["METER_RATE"] = str(cell.rate / users)
        else:
            command += ["-f", "tests/benchmarks/locust_native.py", "MnistOpen" if cell.rate else "Mnist"]
            command += ["--batch-size", str(cell.batch), "--results", str(Path(folder) / "results")]
            command += ["--schedule", f"poisson:{cell.rate}"] if cell.rate else []
        command += ["-u", str(users), "-r", str(users), "-t", f"{load.seconds:g}s"]
        done = subprocess.run(
            ["taskset", "-c", str(load.cpu), *command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if not meter.exists():
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
        outcome = Outcome(**json.loads(meter.read_text()))
        if kind == "stock" or not cell.rate:
            return Sent(outcome)
        (results,) = (Path(folder) / "results").iterdir()
        samples = Run.open(results).samples.sort_values("due")
        due, sent = samples["due"].to_numpy(), samples["sent"].to_numpy()
        own = (sent - due)[due >= due[0] + LEAVE_OUT]
        p50, p99 = np.percentile(own, [50, 99])
        return Sent(outcome, due, (float(p50), float(p99)))


def native_cpp(program: Path, cell: Cell, load: Load) -> Sent:
    """The C++ client."""
    if not cell.rate:
        return Sent(cpp(program)(load))
    command = [
        str(program),
        load.address,
        str(load.request),
        str(MOST_WAITING),
        str(load.seconds),
        str(cell.rate),
    ]
    return Sent(Outcome(**json.loads(run(command, load.cpu)[0])))


def bare(program: Path, cell: Cell, load: Load) -> Sent:
    """The program of system calls alone; open loops of one connection only."""
    dues, front = load.request.with_suffix(".dues"), load.request.with_suffix(".front")
    heads, head, size = (
        RequestHeads(load.address, "http", "bare", ()),
        RequestHead(METHOD),
        load.request.stat().st_size,
    )
    heads.resize(0)  # which the first block says: it means the same however often it is sent
    pack, kind, block = heads.prepare(head)
    front.write_bytes(pack(kind, 4, 0, block, (size + PREFIX.size) << 8, 1, 0, 0, size))
    port = load.address.rpartition(":")[2]
    command = [program, port, front, load.request, load.seconds, cell.rate, MERGE_SECONDS * 1e6, dues]
    printed, _ = run([str(part) for part in command], load.cpu)
    return Sent(Outcome(**json.loads(printed)), np.fromfile(dues))


def native_h2load(cell: Cell, load: Load) -> Sent:
    """h2load."""
    return Sent(h2load(load, cell.rate))


Client = Callable[[Cell, Load], Sent]


def clients(names: list[str]) -> dict[str, Client]:
    """Those that are asked for and there."""
    found: dict[str, Client] = {"native": partial(locust, "native"), "stock": partial(locust, "stock")}
    if shutil.which("h2load"):
        found["h2load"] = native_h2load
    if missing("g++") is None:
        found["bare"] = partial(bare, build(Path(__file__).with_name("bare_client.cc"), ()))
    if missing("grpc++") is None:
        found["c++"] = partial(native_cpp, build(Path(__file__).with_name("cpp_client.cc")))
    return {name: found[name] for name in names if name in found}


def measure(client: Client, cell: Cell, load: Load, server: LoggedTarget) -> dict[str, Any]:
    """One run."""
    server.arrivals()
    before = server.target.cpu()
    sent = client(cell, load)
    busy = server.target.cpu() - before
    arrivals = server.arrivals()
    if sent.dues is not None:  # a preflight and idle references were asked for before the load
        arrivals = arrivals[-len(sent.dues) :]
    span = float(arrivals[-1] - arrivals[0]) if len(arrivals) > 1 else float("nan")
    outcome = sent.outcome
    found = asdict(cell) | {
        "rate_sent": (len(arrivals) - 1) / span if cell.rate else outcome.requests / outcome.seconds,
        "cpu_us": outcome.cpu / outcome.requests * 1e6,
        "server_busy": busy / (span if cell.rate else outcome.seconds),
        "errors": outcome.errors,
        "own_lag_ms": sent.lag and [1e3 * each for each in sent.lag],
    }
    if cell.rate:
        dues = np.arange(len(arrivals)) / cell.rate if sent.dues is None else sent.dues
        late = lags(arrivals, dues, LEAVE_OUT)
        found["lag_ms"] = [float(each) * 1e3 for each in np.percentile(late, [50, 99])] if len(late) else None
    return found


def plan(asked: argparse.Namespace) -> Iterator[tuple[str, Cell, int]]:
    """(client, cell, round) in the order of measuring: the clients of a cell in turn, forwards and backwards."""
    for cell in CELLS:
        if asked.cells and not any(part in cell.name for part in asked.cells):
            continue
        for number in range(asked.rounds):
            for name in asked.clients if number % 2 == 0 else asked.clients[::-1]:
                if cell.rate or name != "bare":
                    yield name, cell, number


def show(results: dict[str, list[dict[str, Any]]], asked: argparse.Namespace) -> None:
    """The tables."""
    everything = [each for many in results.values() for each in many]
    print("\n| target, batch | most requests/s of any client | busy then |\n|---:|---:|---:|")
    for batch in sorted({each["batch"] for each in everything}):
        best = max(
            (each for each in everything if each["batch"] == batch), key=lambda each: each["rate_sent"]
        )
        print(f"| {batch} | {best['rate_sent']:,.0f} | {best['server_busy']:.0%} |")
    print(
        "\n| load | client | requests/s | CPU us/request | late p50 ms | p99 ms | own record p50 | p99 | target busy | errors |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for key, many in results.items():
        print("| " + " | ".join([*key.split("|"), *row(many)]) + " |")
    print(f"\nmedians of {asked.rounds} rounds of {asked.seconds:g} s")


def row(many: list[dict[str, Any]]) -> list[str]:
    """The cells of one client's line."""
    if not many:
        return ["not built here", *["-"] * 7]

    def middle(pick: Callable[[dict[str, Any]], Any]) -> float:
        values = [pick(each) for each in many if pick(each) is not None]
        return statistics.median(values) if values else float("nan")

    rate, asked_for = middle(lambda each: each["rate_sent"]), many[0]["rate"]
    reached = not asked_for or rate >= REACHED * asked_for
    shown = f"{rate:,.0f}" if reached else f"not reached (max {rate:,.0f})"
    times = []
    for name in ("lag_ms", "own_lag_ms"):
        for place in (0, 1):
            value = middle(lambda each, name=name, place=place: (each.get(name) or [None, None])[place])  # type: ignore[misc]
            times.append("-" if value != value or not reached else f"{value:.3f}")  # noqa: PLR0124 - nan
    busy = f"{middle(lambda each: each['server_busy']):.0%}"
    return [
        shown,
        f"{middle(lambda each: each['cpu_us']):.1f}",
        *times,
        busy,
        str(sum(each["errors"] for each in many)),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", nargs="+", default=["native", "h2load", "c++", "stock", "bare"])
    parser.add_argument(
        "--cells", nargs="+", help="parts of the names of the loads to measure, such as 'open' or 'batch 32'"
    )
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spend", type=float, default=float("inf"), help="seconds to measure, with --state")
    parser.add_argument("--state", type=Path, help="a JSON file that keeps what has been measured")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise SystemExit("two processors are needed: one for the target, one for the client")
    found = clients(asked.clients)
    results: dict[str, list[dict[str, Any]]] = {}
    until, left = time.monotonic() + asked.spend, 0
    if asked.state and asked.state.exists():
        results = json.loads(asked.state.read_text())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers: dict[int, tuple[LoggedTarget, Path]] = {}
        for name, cell, number in plan(asked):
            many = results.setdefault(f"{cell.name}|{name}", [])
            if len(many) > number or name not in found:
                continue
            if time.monotonic() > until:
                left += 1
                continue
            if cell.batch not in servers:
                own = folder / str(cell.batch)
                own.mkdir()
                request = write_request(own, mnist_request(cell.batch))
                flags = ["--reply_examples", str(cell.batch)]
                servers[cell.batch] = stack.enter_context(logged(flags, own, processors[0])), request
            server, request = servers[cell.batch]
            load = Load(
                server.target.address, request, cell.in_flight or MOST_WAITING, asked.seconds, processors[1]
            )
            many.append(measure(found[name], cell, load, server))
            print(f"{cell.name}, {name}, round {number + 1}: {many[-1]}", file=sys.stderr, flush=True)
            if asked.state:
                asked.state.write_text(json.dumps(results, indent=1))
    show(results, asked)
    if left:
        print(f"{left} measurements are left: the same command goes on")


if __name__ == "__main__":
    main()
