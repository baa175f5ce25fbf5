"""Calibration: what this machine can send, and its share in measured latencies.

Real Locust runs against a server that answers at once with canned bytes: one user alone gives the floor of every
latency, many users the ceiling of requests/s, an open loop the lag at several rates. A calibration is kept with the
machine's fingerprint; later runs of a similar payload compare themselves with it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil

from bench import BenchError
from bench.launch import server_process
from bench.load.ceiling import Calibration, Lag, software
from bench.load.observing import machine
from bench.runs.run import Run
from bench.runs.sample import UNSENT
from bench.wording import counted, plain

USERS: Final = (16, 64, 256)
"""Closed-loop users that look for the ceiling."""
RATES: Final = (1_000.0, 10_000.0)
"""Requests/s at which the lag is measured, where they are below the ceiling, besides a quarter of the ceiling of waiting users."""
SETTLE_SECONDS: Final = 1
"""Left out of each run's beginning: connections, caches and code are cold."""


@dataclass(frozen=True)
class Subject:
    """The subject of a calibration."""

    transport: str = "native"
    connections: int = 1
    batch: int = 1
    scenario: Path | None = None
    """Whose payload is sent; None: MNIST digits."""


def calibrate(subject: Subject, say: Callable[[str], None], *, seconds: int = 4) -> Calibration:
    """Measure this machine; about seven runs of `seconds`, a second and a half between them.

    Raises BenchError where the scenario cannot be run.
    """
    server_flags = ["--backend", "null", "--reply_examples", str(subject.batch)]
    with server_process.embedded(server_flags) as server, tempfile.TemporaryDirectory() as folder:
        bench = _Bench(subject, server, Path(folder), seconds)
        say("one user alone")
        floor_p50, floor_p99 = bench.closed(1).run.histogram("service").percentiles([50, 99]).tolist()
        tries = []
        for users in USERS:
            say(counted(users, "user"))
            tries.append(bench.closed(users))
        best = max(tries, key=lambda each: each.rate)
        lags = []
        possible = [rate for rate in RATES if rate < best.rate]
        for rate in sorted({*possible, round(best.rate / 4, -2)}):
            say(f"open loop, {rate:,.0f}/s")
            lags.append(bench.open(rate))
    return Calibration(
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        fingerprint=machine.facts()["fingerprint"],
        software=software(),
        transport=subject.transport,
        connections=subject.connections,
        batch=subject.batch,
        request_bytes=max(payload.bytes or 0 for payload in best.run.manifest.payload.values()),
        floor_p50=floor_p50,
        floor_p99=floor_p99,
        requests_per_second=best.rate,
        users=best.users,
        cpu_per_request=best.cpu / best.rate,
        load_cpu=best.cpu,
        server_cpu=best.server_cpu,
        lags=tuple(lags),
    )


@dataclass(frozen=True)
class _Measured:
    """One run."""

    run: Run
    """Without its beginning."""
    users: int
    rate: float
    cpu: float
    server_cpu: float


@dataclass(frozen=True)
class _Bench:
    """Runs Locust against the null server."""

    subject: Subject
    server: server_process.Server
    folder: Path
    seconds: int

    def closed(self, users: int) -> _Measured:
        """So many users that ask as fast as they are answered."""
        return self._run(f"closed-{users}", "Closed", ["-u", str(users), "-r", str(users)], users)

    def open(self, rate: float) -> Lag:
        """Requests at a rate."""
        done = self._run(f"open-{rate:.0f}", "Open", ["--schedule", f"poisson:{plain(rate)}"], 1)
        lag = done.run.histogram("lag", lambda key: True)
        due = sum(tally.requests for tally in done.run.tallies.values())
        unsent = sum(t.requests for (key, _), t in done.run.tallies.items() if key.outcome == UNSENT)
        achieved = (due - unsent) / due if due else 0.0
        return Lag(rate, achieved, lag.percentile(50), lag.percentile(99), done.cpu)

    def _run(self, name: str, user_class: str, arguments: Sequence[str], users: int) -> _Measured:
        process = psutil.Process(self.server.pid)
        before = process.cpu_times()
        run = Run.open(self._locust(self.folder / name, user_class, arguments))
        after = process.cpu_times()
        first, end = run.seconds
        steady = run.within(first + SETTLE_SECONDS, max(end - 1, first + SETTLE_SECONDS + 1))
        answered = sum(tally.requests for tally in steady.tallies.values())
        spent = after.user + after.system - before.user - before.system
        cpu = _cpu(
            steady
        )  # refuses a run that was too short, as on a busy machine, before its length divides anything
        rate = answered / steady.duration if steady.duration else 0.0
        return _Measured(steady, users, rate, cpu, spent / max(run.duration, 1.0))

    def _locust(self, results: Path, user_class: str, arguments: Sequence[str]) -> Path:
        """The folder of a finished run. Raises BenchError with Locust's last words."""
        users_file = Path(__file__).with_name("users.py")
        subject = self.subject
        command = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            str(users_file),
            user_class,
            "--headless",
            "--only-summary",
        ]
        command += ["--host", self.server.address, "-t", f"{self.seconds + SETTLE_SECONDS}s"]
        command += ["--batch-size", str(subject.batch), "--transport", subject.transport]
        command += ["--connections", str(subject.connections), "--no-samples", "--results", str(results)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
        if subject.scenario is not None:
            environment["BENCH_CALIBRATE"] = str(subject.scenario.resolve())
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, env=environment
        )
        folders = sorted(results.iterdir()) if results.is_dir() else []
        if done.returncode not in (0, 1) or len(folders) != 1:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise BenchError(f"calibration with {subject.scenario or 'MNIST digits'} failed: {last}")
        return folders[0]


def _cpu(run: Run) -> float:
    """Share of a core that the only load process used in the window. Raises BenchError where it is not known."""
    first, end = run.window or run.seconds
    rows = [r for r in run.telemetry if r["source"] == "worker 0" and first <= r["time"] <= end + 0.5]
    if len(rows) < 2:
        raise BenchError(
            f"calibration: the CPU use of the load process was seen {len(rows)} times in {end - first} s, which gives no "
            "ceiling; measure for longer, such as --seconds 10, on a machine that does nothing else"
        )
    spent = rows[-1]["cpu_seconds"] - rows[0]["cpu_seconds"]
    return float(spent / (rows[-1]["time"] - rows[0]["time"]))
