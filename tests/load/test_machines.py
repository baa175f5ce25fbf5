"""One run from several machines: hosts with addresses, links and clocks of their own, made of Linux's namespaces.

Master, three workers and the server are a network namespace each, joined by a router; each worker's clock is hours apart from the
others' (time namespaces). The link of the last worker is 5 ms long in each direction and loses one packet in a hundred: by tc netem
where the kernel has it, else by a relay in user space between two TUN devices. `pytest -rP` prints which it was. Only root may make
all this.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.analysis.reading.checks import warnings_of
from bench.analysis.reading.reconciliation import Stage, split
from bench.runs.histogram import middle_ns
from bench.runs.run import Run
from tests.load.locust_runs import ROOT, SECONDS, interrupt_when, run_folder, wait_for
from tests.recorded import KEPT

Floats = NDArray[np.float64]

MASTER, FIRST, SECOND, FAR, SERVER = range(1, 6)
"""Numbers of the hosts."""
WORKERS = (FIRST, SECOND, FAR)
DELAY = 0.005
"""Seconds in each direction."""
LOSS = 0.01
RELAY = """
import ctypes, fcntl, heapq, os, random, select, struct, sys, time

def device(namespace):
    with open(f"/run/netns/{namespace}") as file:
        assert ctypes.CDLL(None).setns(file.fileno(), 0x40000000) == 0  # CLONE_NEWNET
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH", b"long", 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
    return tun

ends = [device(each) for each in sys.argv[1:3]]
delay, loss = map(float, sys.argv[3:5])
print("ready", flush=True)
packets, count, chance = [], 0, random.Random(1)
while True:
    now = time.monotonic()
    while packets and packets[0][0] <= now:
        _, _, end, packet = heapq.heappop(packets)
        try:
            os.write(end, packet)
        except OSError:  # the other end is not up
            pass
    for end in select.select(ends, [], [], max(0.0, packets[0][0] - now) if packets else None)[0]:
        packet, count = os.read(end, 65536), count + 1
        if chance.random() >= loss:
            heapq.heappush(packets, (time.monotonic() + delay, count, ends[end == ends[0]], packet))
"""


def hours(number: int) -> int:
    """Seconds by which the clock of a worker's host is ahead of the master's."""
    return 3600 * number


def tool(*words: str, check: bool = True) -> bool:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return done.returncode == 0


class Hosts:
    """Network namespaces around a router; host N has the address 10.213.N.2."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self.router = self._made("r")
        tool("ip", "netns", "exec", self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
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
            self.router,
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
        for where, link, last in ((self.router, ours, 1), (name, theirs, 2)):
            tool("ip", "-n", where, "addr", "add", f"10.213.{number}.{last}/24", "dev", link)
            tool("ip", "-n", where, "link", "set", link, "up")
        tool("ip", "-n", name, "route", "add", "default", "via", f"10.213.{number}.1")

    def name(self, number: int) -> str:
        return f"bench-{os.getpid()}-{number}"

    def start(self, number: int, *command: str, **environment: str) -> "subprocess.Popen[str]":
        return self._started("ip", "netns", "exec", self.name(number), *command, **environment)

    def _started(self, *command: str, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        self.processes.append(process)
        return process

    def locust(self, number: int, *arguments: str) -> "subprocess.Popen[str]":
        """A Locust process of a host; the clock of each worker's is that of no other."""
        apart = ["unshare", "--time", "--monotonic", str(hours(number))] if number in WORKERS else []
        command = [sys.executable, "-m", "locust", "-f", "scenarios/mnist.py", "--headless", "--only-summary"]
        token = {"BENCH_WORKER_TOKEN": "a secret of these five machines"}
        return self.start(number, *apart, *command, *arguments, **token)

    def lengthen(self, number: int) -> str:
        """Make the way between a host and all others longer and lossy; gives how. Raises RuntimeError."""
        rule = ["root", "netem", "delay", f"{DELAY * 1000:g}ms", "loss", f"{LOSS:.0%}"]
        name = self.name(number)
        if tool("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "eth", *rule, check=False):
            tool("ip", "netns", "exec", self.router, "tc", "qdisc", "add", "dev", f"h{number}", *rule)
            return "netem"
        if not Path("/dev/net/tun").exists():
            pytest.skip("no lossy link: neither tc netem nor /dev/net/tun is here")
        relay = self._started(sys.executable, "-c", RELAY, self.router, name, str(DELAY), str(LOSS))
        awaited(relay, "ready")
        near, far = f"10.214.{number}.1", f"10.214.{number}.2"
        for where, own, other in ((self.router, near, far), (name, far, near)):
            tool("ip", "-n", where, "addr", "add", own, "peer", other, "dev", "long")
            tool("ip", "-n", where, "link", "set", "long", "up")
        tool("ip", "-n", name, "route", "replace", "default", "via", near)
        return "relay"

    def cut(self, number: int) -> None:
        """Let a host be gone for all others, without a word."""
        tool("ip", "-n", self.router, "link", "set", f"h{number}", "down")

    def join(self, number: int) -> None:
        """Let a host that was cut be there again."""
        tool("ip", "-n", self.router, "link", "set", f"h{number}", "up")

    def sent_again(self, number: int) -> int:
        """TCP segments that a host has sent again, as what it has sent was lost."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name(number), "cat", "/proc/net/snmp"],
            capture_output=True,
            text=True,
            check=True,
        )
        names, values = (line.split() for line in done.stdout.splitlines() if line.startswith("Tcp:"))
        return int(values[names.index("RetransSegs")])

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


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Five hosts, on one of which a server runs."""
    if os.geteuid():
        pytest.skip("hosts are made of network namespaces, which only root may make")
    if not tool("unshare", "--time", "--monotonic", "3600", "true", check=False):
        pytest.skip("this kernel lets nobody make time namespaces (unshare --time)")
    monitoring = tmp_path_factory.mktemp("server") / "monitoring"
    monitoring.write_text('prometheus_config { enable: true path: "/metrics" }')
    with contextlib.ExitStack() as stack:
        try:
            made = Hosts()
        except (OSError, RuntimeError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        stack.callback(made.close)
        model = ["--backend", "synthetic", "--model_name", "mnist", f"--monitoring_config_file={monitoring}"]
        listen = ["--port=8500", "--rest_api_port=8501", "--bind=0.0.0.0"]
        awaited(made.start(SERVER, sys.executable, "-m", "bench", "serve", *model, *listen), '"ready"')
        yield made


def loaded(
    hosts: Hosts, results: Path, workers: Sequence[int], users: int
) -> "tuple[subprocess.Popen[str], list[subprocess.Popen[str]]]":
    """Master and workers that load the server."""
    target = ["--host", "10.213.5.2:8500", "--server-metrics", "http://10.213.5.2:8501/metrics"]
    load = ["-u", str(users), "-r", str(users), "--schedule", "closed:10ms", "--results", str(results)]
    bind = ["--master-bind-host", "10.213.1.2", "--expect-workers", str(len(workers))]
    lead = hosts.locust(MASTER, "--master", *bind, *target, *load)
    return lead, [hosts.locust(number, "--worker", "--master-host", "10.213.1.2") for number in workers]


def service(run: Run) -> dict[int, Floats]:
    """Seconds from a request's last byte to its answer's, by worker."""
    parts = [(part.worker, part.done - part.sent) for part in run.requests_in_parts()]
    workers = np.concatenate([worker for worker, _ in parts] or [np.empty(0, int)])
    seconds = np.concatenate([times for _, times in parts] or [np.empty(0)])
    return {int(worker): seconds[workers == worker] for worker in np.unique(workers)}


def test_machines_send_one_run_and_the_long_link_is_the_networks(hosts: Hosts, tmp_path: Path) -> None:
    way = hosts.lengthen(FAR)
    print(f"the link of the last worker is made long and lossy by {way}")
    lead, workers = loaded(hosts, tmp_path / "results", WORKERS, users=6)

    def enough(run: Run) -> bool:
        """All have sent, two of them by a short way, and something was lost on the long one."""
        times = service(run)
        near = [seconds for seconds in times.values() if seconds.min() < 2 * DELAY]
        lost = sum(map(hosts.sent_again, (MASTER, FAR, SERVER)))
        return len(times) == 3 and len(near) == 2 and sum(map(len, times.values())) >= 200 and lost > 0

    interrupt_when(lead, tmp_path / "results", enough)
    output = lead.communicate(timeout=SECONDS)[0]
    assert [worker.wait(timeout=SECONDS) for worker in workers] == [0, 0, 0], output
    assert lead.returncode == 0, output
    (folder,) = (tmp_path / "results").iterdir()
    run = Run.open(folder)
    samples, times = run.samples, service(run)

    # no request is lost, none is there twice
    parts = split(run)
    assert parts is not None
    assert parts.requests == parts.server_requests == run.manifest.counts.sent == len(samples), way
    found = {warning.check for warning in warnings_of(run)}
    assert not found & {"incomplete", "not reconciled", "lost worker", "foreign report", "damaged"}
    assert (run.manifest.load.processes, run.manifest.load.planned_processes) == (3, 3)

    # histograms of three workers are those of one that had sent all of it
    for kind, seconds in (
        ("latency", samples["done"] - samples["due"]),
        ("service", samples["done"] - samples["sent"]),
    ):
        rows = run.histogram(kind).sparse()
        merged = np.repeat(middle_ns(rows.indices), rows.counts) / 1e9
        np.testing.assert_allclose(merged, np.sort(seconds), rtol=0.001, atol=3 * KEPT)

    # each clock is as far ahead as the bound says, by what is known of it here
    ahead = {}
    for worker in run.manifest.workers:
        assert worker.clock_offset is not None
        assert worker.clock_bound is not None
        number = round(worker.clock_offset / hours(1))
        assert abs(worker.clock_offset - hours(number)) <= worker.clock_bound
        ahead[number] = worker
    assert set(ahead) == set(WORKERS)
    assert ahead[FAR].clock_bound >= DELAY
    assert samples["due"].between(-1, SECONDS).all(), "instants of all are those of one run"
    assert "clocks" in found, "the far one is known to 5 ms only"

    # what the long link takes is no time of the server's
    far = times[int(ahead[FAR].worker or 0)]
    assert far.min() >= 2 * DELAY, way
    assert parts.seconds(Stage.WIRE) * parts.requests >= len(far) * 2 * DELAY, way


def test_a_machine_that_is_gone_is_named(hosts: Hosts, tmp_path: Path) -> None:
    lead, workers = loaded(hosts, tmp_path / "results", [FIRST, SECOND], users=4)
    wait_for(
        lambda: (folder := run_folder(tmp_path / "results")) and len(service(Run.open(folder))) == 2, lead
    )
    hosts.cut(SECOND)
    folder = run_folder(tmp_path / "results")
    assert folder is not None
    wait_for(lambda: any(row.get("workers") == 1 for row in Run.open(folder).telemetry), lead)
    lead.send_signal(signal.SIGINT)
    output = lead.communicate(timeout=SECONDS)[0]
    assert workers[0].wait(timeout=SECONDS) == 0, output
    workers[1].kill()  # it would miss its master soon
    hosts.join(SECOND)
    run = Run.open(folder)
    (lost,) = [worker for worker in run.manifest.workers if worker.lost]
    (other,) = [worker for worker in run.manifest.workers if not worker.lost]
    assert round((other.clock_offset or 0.0) / hours(1)) == FIRST
    (warning,) = [each for each in warnings_of(run) if each.check == "lost worker"]
    assert f"load process {lost.title} ended before the run did" in warning.reason
    assert warning.reason in " ".join(output.split())
