"""Exporters on real sockets: read beside a load, slow, broken, restarted, gone, and the real node-exporter."""

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import gevent
import psutil
import pytest

from bench import BenchError
from bench.config.telemetry import TelemetryPage
from bench.launch import server_process
from bench.load.observing.exporters import __main__ as reader
from bench.load.observing.exporters.probe import ExporterProbe, Exporters
from bench.load.observing.exporters.reading import Pages
from bench.runs.run import Run
from tests.load import exporter_pages as pages
from tests.load.locust_runs import ROOT, SECONDS, finish, interrupt_when, locust, start
from tests.ports import free_port

Page = Callable[[int], str]
"""The text of a page at its n-th reading. Raises OSError where the connection is to end instead."""
RANKERS = {"ranker-0": 1.0, "ranker-1": 3.0}


class Site:
    """Pages by path; each counts how often it was read."""

    def __init__(self, **given: Page) -> None:
        self.given, self.read = given, dict.fromkeys(given, 0)
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                site.read[name] += 1
                try:
                    text = site.given[name](site.read[name] - 1)
                    self.send_response(200 if text else 503)
                    self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                    self.end_headers()
                    self.wfile.write(text.encode())
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def page(self, name: str, chosen: str = "") -> TelemetryPage:
        return TelemetryPage.parse(self.url(name) + chosen)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**given: Page) -> Site:
        made.append(Site(**given))
        return made[-1]

    yield make
    for each in made:
        each.close()


def wait_until(what: Callable[[], object]) -> None:
    with gevent.Timeout(SECONDS):
        while not what():
            gevent.sleep(0.02)


def probes(of: Sequence[TelemetryPage]) -> list[ExporterProbe]:
    return Exporters(of).probes()


def test_pages_are_read_again_and_again_each_for_itself(site: Callable[..., Site]) -> None:
    """One of them breaks off, answers 503 and is whole again; the values of the other, and the count of both, go on."""

    def breaks(reading: int) -> str:
        if reading == 1:
            raise OSError
        return "" if reading == 2 else pages.node(float(reading))

    there = site(
        a=breaks, b=lambda reading: pages.node(float(reading)), c=lambda reading: pages.dcgm(float(reading))
    )
    machine, second, gpus = probes([there.page("a"), there.page("b"), there.page("c", "#gpu=1")])
    assert [each.source for each in (machine, second, gpus)] == ["server_machine", "server_machine 2", "gpu"]
    assert machine.read(1.0)["cpu_seconds"] == 0.0
    assert machine.read(1.0) == {}, "nothing has come since"
    told: list[float] = []

    def went_on() -> bool:
        told.extend(value for value in [machine.read(1.0).get("cpu_seconds")] if value is not None)
        return bool(told) and machine.described()["read"] >= 4

    wait_until(went_on)
    facts = machine.described()
    machine.close()
    assert facts["failed"] == 2
    assert facts["problem"] == "HTTP 503"
    assert told[0] == pytest.approx(1.35 * 3), "what was used while it was not read counts"
    assert second.described()["failed"] == 0
    assert gpus.described()["labels"] == {"gpu": ["1"]}


def test_a_slow_page_delays_no_other(site: Callable[..., Site]) -> None:
    gate = threading.Event()

    def slow(reading: int) -> str:
        if reading:
            gate.wait(SECONDS)
        return pages.node(0.0)

    there = site(slow=slow, fast=lambda reading: pages.node(float(reading)))
    held, fast = probes([there.page("slow"), there.page("fast")])
    wait_until(lambda: fast.described()["read"] >= 3)
    assert held.described()["read"] == 1
    gate.set()
    fast.close()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("html", "no metrics of node-exporter, cAdvisor, a kubelet or DCGM exporter there"),
        ("none", "HTTP 503"),
        ("ends", "."),
        ("pods", "no such containers; there are"),
        ("endless", "more than 100000 bytes"),
        ("slow", "no answer within 0.5 s|not complete after 0.5 s"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    name: str, problem: str, site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(_: int) -> str:
        raise OSError

    def slow(_: int) -> str:
        time.sleep(2)
        return ""

    there = site(
        html=lambda _: "<html>", none=lambda _: "", ends=ends, slow=slow,
        pods=lambda _: pages.kubelet(0.0, RANKERS), endless=lambda _: "# more of it\n" * 20_000,
    )  # fmt: skip
    monkeypatch.setattr(reader, "LARGEST_PAGE", 100_000)
    monkeypatch.setattr(reader, "PATIENCE", 0.5)
    page = there.page(name, "#pod=nobody" if name == "pods" else "")
    told = reader.read(page, Pages(page))
    assert "\n" not in told["problem"]
    assert re.search(problem, told["problem"]), told


def test_a_page_that_is_not_there_ends_the_test_before_it_begins(
    site: Callable[..., Site], tmp_path: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/metrics"
    with pytest.raises(BenchError, match=f"--server-telemetry {nobody}: Connection refused"):
        probes([TelemetryPage(nobody)])
    with server_process.embedded(["--backend", "null"]) as server:
        done = locust(tmp_path, "--host", server.address, "--server-telemetry", nobody, "-u", "1", "-t", "1s")
    assert done.code == 2, done.output
    assert f"--server-telemetry {nobody}: Connection refused" in done.output
    assert not done.folders


def test_the_process_that_reads_ends_with_its_parent(site: Callable[..., Site]) -> None:
    there = site(a=lambda _: pages.node(0.0))
    told = json.dumps([[there.url("a"), []]])
    reading = subprocess.Popen(
        [sys.executable, "-m", "bench.load.observing.exporters", told],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert reading.stdout is not None
    assert json.loads(reading.stdout.readline())["source"] == "server_machine"
    reading.communicate(timeout=SECONDS)
    assert reading.returncode == 0


def test_a_run_holds_what_exporters_told(site: Callable[..., Site], tmp_path: Path) -> None:
    """Pods, their machine and its GPUs, in the units of a local run; the machine's page is lost after its first reading."""

    def lost(reading: int) -> str:
        return pages.node(float(reading)) if reading < 1 else ""

    there = site(
        pods=lambda reading: pages.kubelet(float(reading), RANKERS),
        node=lost,
        gpus=lambda reading: pages.dcgm(float(reading)),
    )
    telemetry = f"{there.url('pods')}#namespace=models&pod=ranker-*,{there.url('node')},{there.url('gpus')}"
    with server_process.embedded(["--backend", "null"]) as server:
        load = [
            "--host",
            server.address,
            "-u",
            "2",
            "-r",
            "2",
            "--schedule",
            "closed:5ms",
            "--server-telemetry",
            telemetry,
        ]
        process = start(tmp_path, *load)

        def enough(run: Run) -> bool:
            seen = [
                row["source"]
                for row in run.telemetry
                if row.get("cpu_seconds") is not None or "power0" in row
            ]
            return min(seen.count("server"), seen.count("gpu")) >= 3 and there.read["node"] > 3

        interrupt_when(process, tmp_path, enough)
        done = finish(process, tmp_path)
    assert done.code == 0, done.output
    run = done.run()
    rows = {
        name: [row for row in run.telemetry if row["source"] == name]
        for name in ("server", "gpu", "server_machine")
    }
    used = [row["cpu_seconds"] for row in rows["server"] if row.get("cpu_seconds") is not None]
    steps = [(after - before) / 4.4 for before, after in pairwise(used)]
    assert steps == pytest.approx([round(step) for step in steps]), "seconds of the page's own clock"
    assert {row["memory"] for row in rows["server"] if "memory" in row} == {222 * 2**20}
    (gpu, *_) = (row for row in rows["gpu"] if row.get("power0") is not None)
    assert (gpu["utilization0"], gpu["clock1"]) == (pytest.approx(0.4), 1.41e9)
    facts = {page.source: page for page in run.manifest.telemetry}
    assert facts["server_machine"].problem == "HTTP 503"
    assert facts["server_machine"].failed >= 2
    assert facts["server"].failed == facts["gpu"].failed == 0
    (warning,) = [
        each for each in run.manifest.doubts if each.check == "telemetry" and "/node: " in each.reason
    ]
    assert (
        "readings failed (HTTP 503): CPU, memory and network of the server's machine are known in part"
        in warning.reason
    )


@pytest.fixture
def node_exporter() -> Iterator[str]:
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if program is None:
        pytest.skip("node-exporter is not installed (Debian: prometheus-node-exporter)")
    address = f"127.0.0.1:{free_port()}"
    collectors = [f"--collector.{name}" for name in ("cpu", "meminfo", "netdev")]
    process = subprocess.Popen(
        [program, f"--web.listen-address={address}", "--collector.disable-defaults", *collectors],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://{address}/metrics"

    def up() -> bool:
        try:
            return bool(urllib.request.urlopen(url).read())
        except OSError:
            return False

    wait_until(up)
    yield url
    process.kill()
    process.wait()


def busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def test_the_real_node_exporter_counts_as_the_probes_of_this_machine_do(node_exporter: str) -> None:
    """CPU time lies between what the kernel counts within and around two readings, but for the rounding of each counter."""
    page = TelemetryPage(node_exporter)
    reading = Pages(page)
    around = [busy_seconds()]
    first = reader.read(page, reading)["values"]
    within = [busy_seconds()]
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    within.append(busy_seconds())
    second = reader.read(page, reading)["values"]
    around.append(busy_seconds())
    rounding = 0.01 * 5 * 2 * (psutil.cpu_count() or 1)
    used = second["cpu_seconds"] - first["cpu_seconds"]
    assert within[1] - within[0] - rounding <= used <= around[1] - around[0] + rounding
    assert used >= 0.3 - rounding
    assert 0 < second["busy"] <= 1
    memory = psutil.virtual_memory()
    assert second["memory"] == pytest.approx(memory.total - memory.available, rel=0.2)
    assert second["cores"] == psutil.cpu_count()
    assert second["received"] >= 0
