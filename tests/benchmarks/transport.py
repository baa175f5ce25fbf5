"""Measure the transports: requests/s, and the cost of a request. Run: python -m tests.benchmarks.transport

The server has one processor and the client another; the clients take turns (A B C A B C ...), and the median of their
rounds is shown. Absolute figures differ from machine to machine and from hour to hour: trust the ratios.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import mnist
from bench.payload import Pool
from tests.benchmarks.clients import Client, Load, Outcome, cpp, h2load, k6, python, write_request
from tests.benchmarks.null_servers import SERVERS, Target, default
from tests.wire.certificates import issue
from tests.wire.native import build, missing

HEADINGS = (
    "in flight",
    "batch",
    "client",
    "requests/s",
    "CPU us/request",
    "mean us",
    "times grpcio",
    "times less CPU",
    "server busy",
    "errors",
)


def clients(names: list[str], tls: bool) -> dict[str, Client]:
    """Those that are required and there; says which are missing."""
    available: dict[str, Client] = {"native": python("native"), "grpcio": python("grpcio")}
    if shutil.which("h2load"):
        available["h2load"] = h2load
    if not tls:
        available["grpcio-aio"] = python("grpcio-aio")
        if shutil.which("k6"):
            available["k6"] = k6
        if missing("grpc++") is None:
            available["c++"] = cpp(build(Path(__file__).with_name("cpp_client.cc")))
    for name in names:
        if name not in available:
            print(f"{name}: not installed, or without TLS here; left out", file=sys.stderr)
    return {name: available[name] for name in names if name in available}


def mnist_request(batch: int) -> bytes:
    digits = mnist.load("test", None)
    return Pool.mnist(digits.images, digits.labels, batch=batch, size=1, seed=1).messages[0]


def compare(chosen: dict[str, Client], load: Load, rounds: int, server: Target) -> dict[str, list[Outcome]]:
    outcomes: dict[str, list[Outcome]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, client in chosen.items():
            before = server.cpu()
            outcome = client(load)
            outcomes[name].append(outcome._replace(server_cpu=server.cpu() - before))
    return outcomes


def busy(outcomes: list[Outcome]) -> str:
    """The server's share of its processor: near 100 % it is the server that limits, whatever the client could do."""
    shares = [o.server_cpu / o.seconds for o in outcomes if o.server_cpu is not None]
    return f"{statistics.median(shares):.0%}" if shares else "-"


def rows(in_flight: int, batch: int, outcomes: dict[str, list[Outcome]]) -> Iterator[tuple[str, ...]]:
    rates = {name: statistics.median(o.requests / o.seconds for o in many) for name, many in outcomes.items()}
    costs = {name: statistics.median(o.cpu / o.requests for o in many) for name, many in outcomes.items()}
    for name, many in outcomes.items():
        mean = statistics.median(o.mean for o in many) * 1e6
        ratio = f"{rates[name] / rates['grpcio']:.1f}" if "grpcio" in rates else "-"
        less = f"{costs['grpcio'] / costs[name]:.1f}" if "grpcio" in rates else "-"
        errors = sum(o.errors for o in many)
        yield (
            str(in_flight),
            str(batch),
            name,
            f"{rates[name]:,.0f}",
            f"{costs[name] * 1e6:.1f}",
            f"{mean:,.0f}",
            ratio,
            less,
            busy(many),
            str(errors),
        )


def show(table: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in [HEADINGS, *table]) for column in range(len(HEADINGS))]
    for row in [HEADINGS, tuple("-" * width for width in widths), *table]:
        print(
            "| " + " | ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) + " |",
            flush=True,
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clients", nargs="+", default=["native", "grpcio", "h2load", "c++", "grpcio-aio", "k6"]
    )
    parser.add_argument("--in-flight", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tls", action="store_true", help="over TLS, for the clients that can")
    parser.add_argument(
        "--server", choices=SERVERS, default=default(), help="null: bench serve --backend null"
    )
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise SystemExit("two processors are needed: one for the server, one for the client")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        issue(folder)
        chosen = clients(asked.clients, asked.tls)
        target = stack.enter_context(SERVERS[asked.server](folder, processors[0], asked.tls))
        table: list[tuple[str, ...]] = []
        for batch in asked.batch:
            request = write_request(folder, mnist_request(batch))
            for in_flight in asked.in_flight:
                load = Load(
                    target.address,
                    request,
                    in_flight,
                    asked.seconds,
                    processors[1],
                    folder if asked.tls else None,
                )
                table += rows(in_flight, batch, compare(chosen, load, asked.rounds, target))
        show(table)


if __name__ == "__main__":
    main()
