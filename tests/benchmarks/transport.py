"""How fast are the transports, and what does a request cost each? Run: python -m tests.benchmarks.transport

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
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import mnist
from bench.payload import Pool
from bench.serve.null import canned_reply
from tests.benchmarks.clients import Client, Load, Outcome, cpp, h2load, k6, python, write_request
from tests.wire.certificates import issue
from tests.wire.native import build, missing, running

HEADINGS = (
    "in flight",
    "batch",
    "client",
    "requests/s",
    "CPU us/request",
    "mean us",
    "times grpcio",
    "times less CPU",
    "errors",
)


def clients(names: list[str], folder: Path, tls: bool) -> dict[str, Client]:
    """Those that are asked for and there; says which are missing."""
    available: dict[str, Client] = {"native": python("native"), "grpcio": python("grpcio")}
    if shutil.which("h2load"):
        available["h2load"] = h2load
    if not tls:
        available["grpcio-aio"] = python("grpcio-aio")
        if shutil.which("k6"):
            available["k6"] = k6
        if missing("grpc++") is None:
            available["c++"] = cpp(build(folder, Path(__file__).with_name("cpp_client.cc")))
    for name in names:
        if name not in available:
            print(f"{name}: not installed, or without TLS here; left out", file=sys.stderr)
    return {name: available[name] for name in names if name in available}


@contextmanager
def server(folder: Path, cpu: int, *, tls: bool) -> Iterator[str]:
    """The C++ server where it can be built, else our own; the address."""
    reply = folder / "reply"
    reply.write_bytes(canned_reply())
    if (reason := missing("grpc++")) is None:
        command = [str(build(folder)), "0", str(reply), *([str(folder / "server.pem")] if tls else [])]
    elif tls:
        raise SystemExit(f"{reason}: without it there is no server for TLS")
    else:
        print(f"{reason}: measuring against our own server", file=sys.stderr)
        command = [sys.executable, "-m", "tests.wire.peer", "own"]
    with running(["taskset", "-c", str(cpu), *command]) as port:
        yield f"127.0.0.1:{port}"


def mnist_request(batch: int) -> bytes:
    digits = mnist.load("test", None)
    return Pool.mnist(digits.images, digits.labels, batch=batch, size=1, seed=1).messages[0]


def compare(chosen: dict[str, Client], load: Load, rounds: int) -> dict[str, list[Outcome]]:
    outcomes: dict[str, list[Outcome]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, client in chosen.items():
            outcomes[name].append(client(load))
    return outcomes


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
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise SystemExit("two processors are needed: one for the server, one for the client")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        issue(folder)
        chosen = clients(asked.clients, folder, asked.tls)
        address = stack.enter_context(server(folder, processors[0], tls=asked.tls))
        table: list[tuple[str, ...]] = []
        for batch in asked.batch:
            request = write_request(folder, mnist_request(batch))
            for in_flight in asked.in_flight:
                load = Load(
                    address, request, in_flight, asked.seconds, processors[1], folder if asked.tls else None
                )
                table += rows(in_flight, batch, compare(chosen, load, asked.rounds))
        show(table)


if __name__ == "__main__":
    main()
