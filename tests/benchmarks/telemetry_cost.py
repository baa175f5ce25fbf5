"""The cost of `--server-telemetry` for the load: `python -m tests.benchmarks.telemetry_cost --pairs 8`

An open loop of 2,000/s for four seconds to a server that computes nothing, with and without a page of node-exporter, in turn (A B B A).
Prints, for each run, CPU time per request and the median send delay, and the mean ratio of the pairs with its 95 % interval.
The load process has the second core at real-time priority, what reads the page has the priority of all others. Needs root, taskset and
prometheus-node-exporter.
"""

import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from scipy.stats import t

from bench.launch import server_process
from bench.runs.run import Run
from tests.benchmarks import arguments
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
RATE, SECONDS, PAIRS = 2000, 4, 8


def measured(address: str, *options: str) -> tuple[float, float]:
    """Seconds of CPU time per request, and the median send delay in seconds, of one run."""
    with tempfile.TemporaryDirectory() as folder:
        load = [
            "--host",
            address,
            "-u",
            "1",
            "-r",
            "1",
            "-t",
            f"{SECONDS}s",
            "--schedule",
            f"constant:{RATE}",
        ]
        locust = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            "scenarios/mnist_open.py",
            "--headless",
            "--only-summary",
        ]
        alone = ["chrt", "-f", "-R", "1", "taskset", "-c", "1"]  # its children have no such priority
        command = [*alone, *locust, *load, "--references", "0", "--results", folder, *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found = list(Path(folder).glob("*/manifest.json"))
        if not found:
            raise SystemExit(done.stdout + done.stderr)
        run = Run.open(found[0].parent)
        rows = [
            (row["time"], row["cpu_seconds"])
            for row in run.telemetry
            if row.get("source") == "worker 0" and row.get("cpu_seconds") is not None and row["time"] >= 1
        ]
        (first, before), (last, after) = rows[0], rows[-1]
        return (after - before) / (last - first) / RATE, run.histogram("lag").percentile(50)


def main() -> None:
    """Measure and print."""
    command = arguments.parser(__doc__)
    command.add_argument("--pairs", type=int, default=PAIRS, help=f"runs with and without (default: {PAIRS})")
    pairs = command.parse_args().pairs
    port = free_port()
    page = f"http://127.0.0.1:{port}/metrics"
    exporter = subprocess.Popen(
        ["taskset", "-c", "0", "prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    rows: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    try:
        with server_process.embedded(["--backend", "null", "--model_name", "mnist"]) as server:
            for number in range(pairs):
                for read in ((False, True), (True, False))[number % 2]:
                    row = measured(server.address, *(["--server-telemetry", page] if read else []))
                    rows[read].append(row)
                    text = "with   " if read else "without"
                    print(
                        f"{text}  {row[0] * 1e6:.1f} us of CPU per request, send delay p50 {row[1] * 1e6:.1f} us",
                        flush=True,
                    )
    finally:
        exporter.kill()
    for place, name in enumerate(("CPU per request", "send delay p50")):
        logs = [math.log(b[place] / a[place]) for a, b in zip(rows[False], rows[True], strict=True)]
        middle = statistics.mean(logs)
        half = float(t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
        low, ratio, high = (math.exp(each) for each in (middle - half, middle, middle + half))
        print(f"{name}: with / without {ratio:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
