"""How fast is Locust on the native transport, beside stock Locust on grpcio? Run: python -m tests.benchmarks.locust_transport

Whole Locust processes against the C++ null server, one processor each, in turn. `native` is scenarios/mnist.py:
answers are parsed and checked, samples and histograms recorded. `grpcio` is the same scenario with --transport grpcio.
`stock` is Locust on grpcio as its documentation shows it, the message reused, nothing recorded but Locust's statistics.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.clients import ROOT, Outcome
from tests.benchmarks.transport import server
from tests.wire.certificates import issue

HEADINGS = (
    "users",
    "client",
    "requests/s",
    "CPU us/request",
    "mean us",
    "times stock",
    "times less CPU",
    "errors",
)


def locust(kind: str, address: str, users: int, seconds: float, cpu: int, tls: Path | None) -> Outcome:
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
        command += ["-u", str(users), "-r", str(users), "-t", f"{seconds:g}s", "--host", address]
        environment = {**os.environ, "METER": str(meter), "PYTHONPATH": str(ROOT)}
        if kind != "stock":
            command += ["--transport", kind, "--results", folder]
            command += ["--grpc-tls-ca", str(tls / "ca.pem")] if tls else []
        elif tls:
            environment["METER_CA"] = str(tls / "ca.pem")
        done = subprocess.run(
            ["taskset", "-c", str(cpu), *command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if not meter.exists():
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
        return Outcome(**json.loads(meter.read_text()))


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
    parser.add_argument("--clients", nargs="+", default=["native", "stock", "grpcio"])
    parser.add_argument("--users", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tls", action="store_true")
    asked = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise SystemExit("two processors are needed: one for the server, one for Locust")
    table: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        tls = Path(folder) if asked.tls else None
        issue(Path(folder))
        with server(Path(folder), processors[0], tls=asked.tls) as address:
            for users in asked.users:
                outcomes: dict[str, list[Outcome]] = {kind: [] for kind in asked.clients}
                for _ in range(asked.rounds):
                    for kind, many in outcomes.items():
                        many.append(locust(kind, address, users, asked.seconds, processors[1], tls))
                table += rows(users, outcomes)
    show(table)


if __name__ == "__main__":
    main()
