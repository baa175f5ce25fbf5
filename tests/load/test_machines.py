"""One run from several machines: hosts with addresses, links and clocks of their own, made of Linux's namespaces.

Master, three workers and the server are a network namespace each, joined by a router; each worker's clock is hours apart from the
others' (time namespaces). The link of the last worker is 5 ms long in each direction: by tc netem, with 1 % of loss, where the kernel
has it, else by a relay on that host, without loss. A test needs root for it.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.reading.checks import warnings_of
from bench.analysis.reading.reconciliation import split
from bench.runs.run import Run
from tests.load.locust_runs import ROOT, SECONDS, interrupt_when_recorded

MASTER, FIRST, SECOND, FAR, SERVER = range(1, 6)
"""Numbers of the hosts."""
WORKERS = (FIRST, SECOND, FAR)
DELAY = 0.005
RELAY = """
import asyncio, sys
host, port, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]

async def pump(reader, writer):
    loop = asyncio.get_running_loop()
    while data := await reader.read(65536):
        loop.call_later({delay}, writer.write, data)
    loop.call_later({delay}, writer.close)

async def serve(reader, writer):
    there, onwards = await asyncio.open_connection(target, port)
    await asyncio.gather(pump(reader, onwards), pump(there, writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(serve, host, port)
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
""".replace("{delay}", str(DELAY))


def tool(*words: str, check: bool = True) -> bool:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return done.returncode == 0


class Hosts:
    """Network namespaces around a router; host N has the address 10.213.N.2."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._router = self._made("r")
        tool("ip", "netns", "exec", self._router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.processes: list[subprocess.Popen[str]] = []
        for number in (MASTER, *WORKERS, SERVER):
            self._join(number)

    def _made(self, short: str) -> str:
        name = f"bench-{os.getpid()}-{short}"
        tool("ip", "netns", "add", name)
        self._names.append(name)
        tool("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def _join(self, number: int) -> None:
        name, ours, theirs = self._made(str(number)), f"h{number}", "eth"
        tool(
            "ip",
            "-n",
            self._router,
            "link",
            "add",
            ours,
            "type",
            "veth",
            "peer",
            "name",
            theirs,
            "netns",
            name,
        )
        for where, link, last in ((self._router, ours, 1), (name, theirs, 2)):
            tool("ip", "-n", where, "addr", "add", f"10.213.{number}.{last}/24", "dev", link)
            tool("ip", "-n", where, "link", "set", link, "up")
        tool("ip", "-n", name, "route", "add", "default", "via", f"10.213.{number}.1")

    def name(self, number: int) -> str:
        return f"bench-{os.getpid()}-{number}"

    def start(
        self, number: int, *command: str, before: Sequence[str] = (), **environment: str
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name(number), *before, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        self.processes.append(process)
        return process

    def lengthen(self, number: int) -> str:
        """Make the way between a host and the server longer; gives how."""
        rule = ["root", "netem", "delay", f"{DELAY * 1000:g}ms", "loss", "1%"]
        name = self.name(number)
        if tool("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "eth", *rule, check=False):
            tool("ip", "netns", "exec", self._router, "tc", "qdisc", "add", "dev", f"h{number}", *rule)
            return "netem"
        # the host takes the server's address for its own, where the relay listens, and the server has a second one
        tool("ip", "-n", self.name(SERVER), "addr", "add", "10.213.5.3/24", "dev", "eth")
        tool("ip", "-n", name, "addr", "add", "10.213.5.2/32", "dev", "lo")
        relay = self.start(number, sys.executable, "-c", RELAY, "10.213.5.2", "8500", "10.213.5.3")
        awaited(relay, "ready")
        return "relay"

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        for name in self._names:
            tool("ip", "netns", "del", name, check=False)


def awaited(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    until = time.monotonic() + SECONDS
    for line in process.stdout:
        if word in line:
            return
        assert time.monotonic() < until
    raise AssertionError(f"ended with {process.wait()} before {word!r}")


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if os.geteuid():
        pytest.skip("hosts are made of network namespaces, which only root may make")
    if not tool("unshare", "--time", "--monotonic", "3600", "true", check=False):
        pytest.skip("this kernel lets nobody make time namespaces (unshare --time)")
    with contextlib.ExitStack() as stack:
        try:
            made = Hosts()
        except (OSError, RuntimeError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        stack.callback(made.close)
        yield made


def test_machines_send_one_run_and_the_long_link_is_the_networks(hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / "monitoring").write_text('prometheus_config { enable: true path: "/metrics" }')
    flags = [
        "--port=8500",
        "--rest_api_port=8501",
        "--bind=0.0.0.0",
        f"--monitoring_config_file={tmp_path}/monitoring",
    ]
    serve = [
        sys.executable,
        "-m",
        "bench",
        "serve",
        "--backend",
        "synthetic",
        "--model_name",
        "mnist",
        *flags,
    ]
    awaited(hosts.start(SERVER, *serve), '"ready"')
    way = hosts.lengthen(FAR)
    token = {"BENCH_WORKER_TOKEN": "a secret of these five machines"}
    locust = [sys.executable, "-m", "locust", "-f", "scenarios/mnist.py", "--headless", "--only-summary"]
    target = ["--host", "10.213.5.2:8500", "--server-metrics", "http://10.213.5.2:8501/metrics"]
    load = ["-u", "6", "-r", "6", "--schedule", "closed:10ms", "--results", str(tmp_path / "results")]
    master = ["--master", "--master-bind-host", "10.213.1.2", "--expect-workers", "3", *target, *load]
    lead = hosts.start(MASTER, *locust, *master, **token)
    workers = []
    for number in WORKERS:
        apart = ["unshare", "--time", "--monotonic", str(number * 3600)]
        join = ["--worker", "--master-host", "10.213.1.2"]
        workers.append(hosts.start(number, *locust, *join, before=apart, **token))
    interrupt_when_recorded(lead, tmp_path / "results", 200, workers=len(WORKERS))
    output = lead.communicate(timeout=SECONDS)[0]
    assert [worker.wait(timeout=SECONDS) for worker in workers] == [0, 0, 0], output
    assert lead.returncode == 0, output
    (folder,) = (tmp_path / "results").iterdir()
    run = Run.open(folder)
    parts, samples = split(run), run.samples
    assert parts is not None
    assert parts.requests == parts.server_requests == run.manifest.counts.sent == len(samples), way
    assert run.histogram("latency").count == len(samples)
    bounds = [worker.clock_bound for worker in run.manifest.workers]
    assert len(bounds) == 3
    assert all(bound is not None and 0 <= bound < 0.1 for bound in bounds)
    # clocks are hours apart, and the instants of all of them are those of a run of two seconds
    due = samples.groupby("worker")["due"]
    assert due.min().max() < due.max().min(), "series of workers do not overlap"
    assert samples["due"].max() < (run.manifest.stopped or 0) + 0.2
    least = samples.groupby("worker").apply(
        lambda rows: float((rows["done"] - rows["sent"]).min()), include_groups=False
    )
    assert np.sort(least.to_numpy())[-1] >= 2 * DELAY, way
    assert np.sort(least.to_numpy())[1] < 2 * DELAY, way
    found = {warning.check for warning in warnings_of(run)}
    assert not found & {
        "incomplete",
        "not reconciled",
        "lost worker",
        "load processes",
        "foreign report",
        "damaged",
    }
