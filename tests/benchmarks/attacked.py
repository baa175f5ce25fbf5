"""Measure how long an honest client waits while another one sends what is expensive to read.

    python -m tests.benchmarks.attacked [--seconds 3]

One connection sends one Predict after the other to `bench serve --backend synthetic`; beside it one client sends the
same attack again and again (`tests/server/attacks.py`). Prints the median, the 99th percentile and the longest wait,
and how many rounds of the attack were answered.
"""

import argparse
import threading
import time

import grpc
import numpy as np

from bench.launch import server_process
from tests.server.attacks import ATTACKS, HONEST, Attack
from tests.server.clients import LONG, predict

FLAGS = ["--backend=synthetic", "--service-time=constant(0ms)", "--model_name=mnist", "--rest_api_port=0"]


def measured(server: server_process.Server, attack: Attack | None, seconds: float) -> tuple[np.ndarray, int]:
    """Seconds that each honest request took, and the rounds of the attack."""
    ended, rounds = threading.Event(), [0]

    def send() -> None:
        while attack is not None and not ended.is_set():
            attack.send(server.address, server.rest or "")
            rounds[0] += 1

    thread = threading.Thread(target=send)
    taken = []
    with grpc.insecure_channel(server.address) as channel:
        predict(channel, HONEST)
        thread.start()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            predict(channel, HONEST, timeout=4 * LONG)
            taken.append(time.perf_counter() - began)
        ended.set()
        thread.join()
    return np.array(taken), rounds[0]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    print("| attack | requests | p50 ms | p99 ms | longest ms | rounds |\n|---|---:|---:|---:|---:|---:|")
    for name, make in {"none": None, **ATTACKS}.items():
        attack = None if make is None else make()
        with server_process.embedded(FLAGS) as server:
            taken, rounds = measured(server, attack, asked.seconds)
        p50, p99, longest = np.percentile(taken, [50, 99, 100]) * 1e3
        print(f"| {name} | {len(taken):,} | {p50:.2f} | {p99:.1f} | {longest:.0f} | {rounds} |", flush=True)


if __name__ == "__main__":
    main()
