"""Processor time of a request by the Open Inference Protocol as a ratio to Predict's. Run: python -m tests.benchmarks.protocol_cost

One embedded server on one processor, MNIST by TensorFlow, one image a request, every answer checked; by Predict (tfs),
by ModelInfer with raw contents (oip) and with typed ones (oip-typed), in turn, at 64, 16 and 1 in flight.
Prints a row for each measurement and the ratio of the server's time with its interval; exit code 1 where an answer
was wrong or a call failed.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.analysis.statistics.intervals import mean_of
from tests.benchmarks import server as embedded

PROTOCOLS = ("tfs", "oip", "oip-typed")


def compared(folder: Path, in_flight: int, seconds: float, rounds: int) -> None:
    with embedded.served(folder, all_versions=True) as server:
        right = embedded.references(folder, server, 1)
        print(embedded.HEAD)
        used: dict[str, list[float]] = {name: [] for name in PROTOCOLS}
        for turn in range(rounds):
            for name in PROTOCOLS if turn % 2 else PROTOCOLS[::-1]:
                before = embedded.cpu_seconds(server.pid)
                asked: dict[str, Any] = {"protocol": name, "in_flight": in_flight, "references": right}
                found = embedded.measured(f"{name}, {in_flight} in flight", server, seconds=seconds, **asked)
                used[name].append((embedded.cpu_seconds(server.pid) - before) / found["requests"])
    for name in PROTOCOLS[1:]:
        logs = [math.log(one / other) for one, other in zip(used[name], used["tfs"], strict=True)]
        estimate = mean_of(logs)
        low, high = (math.exp(end) for end in estimate.interval(0.95))
        print(
            f"{name} / tfs, {in_flight} in flight: {math.exp(estimate.mean):.3f} "
            f"(95 %: {low:.3f} to {high:.3f}, {rounds} pairs)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=10, help="measurements of each protocol")
    parser.add_argument(
        "--processors", type=int, nargs=2, default=(0, 1), help="the server's and the client's"
    )
    arguments = parser.parse_args()
    embedded.SERVER, embedded.CLIENT = arguments.processors
    with tempfile.TemporaryDirectory() as made:
        folder = embedded.models(Path(made))
        for in_flight in (64, 16, 1):
            compared(folder, in_flight, arguments.seconds, arguments.rounds)
    for failure in embedded.failures:
        print(f"FAILED {failure}")
    sys.exit(bool(embedded.failures))


if __name__ == "__main__":
    main()
