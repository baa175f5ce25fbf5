"""Compare Locust on the native transport with stock Locust on grpcio. Run: python -m tests.benchmarks.locust_transport

Whole Locust processes against a server that does no work, one processor each, in turn. `native` is scenarios/mnist.py:
answers are parsed and checked, samples and histograms recorded. `grpcio` is the same scenario with --transport grpcio.
`stock` is Locust on grpcio as its documentation shows it, the message reused, nothing recorded but Locust's statistics.
`h2load`, a client in C, is no Locust: it shows how long the same server takes for the same number of requests in flight.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.benchmarks.clients import ROOT, Client, Load, Outcome, h2load, write_request
from tests.benchmarks.null_servers import SERVERS, default
from tests.benchmarks.transport import busy, compare, mnist_request
from tests.wire.certificates import issue

HEADINGS = (
    "users",
    "client",
    "requests/s",
    "CPU us/request",
    "mean us",
    "times stock",
    "times less CPU",
    "server busy",
    "errors",
)


def locust(kind: str, load: Load) -> Outcome:
    """One Locust process, from its first user to its last."""
    with tempfile.TemporaryDirectory() as folder:
        meter = Path(folder) / "meter.json"
        file = "locust_stock.py" if kind == "stock" else "locust_native.py"
        command = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            f"tests/benchmarks/{file}",
            "--headless",
            "--only-summary",
        ]
        command += [] if kind == "stock" else ["Mnist"]
        users = str(load.in_flight)
        command += ["-u", users, "-r", users, "-t", f"{load.seconds:g}s", "--host", load.address]
        environment = {**os.environ, "METER": str(meter), "PYTHONPATH": str(ROOT)}
        if kind != "stock":
            command += ["--transport", kind, "--results", folder]
            command += ["--grpc-tls-ca", str(load.tls / "ca.pem")] if load.tls else []
        elif load.tls:
            environment["METER_CA"] = str(load.tls / "ca.pem")
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
        return Outcome(**json.loads(meter.read_text()))


CLIENTS: dict[str, Client] = {
    **{kind: partial(locust, kind) for kind in ("native", "stock", "grpcio")},
    "h2load": h2load,
}


def rows(users: int, outcomes: dict[str, list[Outcome]]) -> Iterator[tuple[str, ...]]:
    rates = {kind: statistics.median(o.requests / o.seconds for o in many) for kind, many in outcomes.items()}
    costs = {kind: statistics.median(o.cpu / o.requests for o in many) for kind, many in outcomes.items()}
    for kind, many in outcomes.items():
        mean = statistics.median(o.mean for o in many) * 1e6
        ratio = f"{rates[kind] / rates['stock']:.1f}" if "stock" in rates else "-"
        less = f"{costs['stock'] / costs[kind]:.1f}" if "stock" in rates else "-"
        yield (
            str(users),
            kind,
            f"{rates[kind]:,.0f}",
            f"{costs[kind] * 1e6:.1f}",
            f"{mean:,.0f}",
            ratio,
            less,
            busy(many),
            str(sum(o.errors for o in many)),
        )


def show(table: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in [HEADINGS, *table]) for column in range(len(HEADINGS))]
    for row in [HEADINGS, tuple("-" * width for width in widths), *table]:
        print("| " + " | ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", nargs="+", default=["native", "stock", "grpcio"], choices=list(CLIENTS))
    parser.add_argument("--users", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument(
        "--server", choices=SERVERS, default=default(), help="null: bench serve --backend null"
    )
    asked = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise SystemExit("two processors are needed: one for the server, one for Locust")
    table: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tls = folder if asked.tls else None
        issue(folder)
        request = write_request(folder, mnist_request(1))
        chosen = {kind: CLIENTS[kind] for kind in asked.clients}
        with SERVERS[asked.server](folder, processors[0], asked.tls) as target:
            for users in asked.users:
                load = Load(target.address, request, users, asked.seconds, processors[1], tls)
                table += rows(users, compare(chosen, load, asked.rounds, target))
    show(table)


if __name__ == "__main__":
    main()
