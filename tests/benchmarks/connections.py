"""Compare both transports behind whatever may stand between client and server. Run: python -m tests.benchmarks.connections

Runs the same Locust command with `--transport native` and `--transport grpcio` in each situation, and prints how many
requests ended how, what the report warns of, and whether the shares of the outcomes are the same within 1 %. A server
that restarts is away for longer once than another time: the share of the run for which it was is taken off first.
Needs nginx, haproxy, and the right to mount (root) for names of several addresses; a situation that lacks something is
left out and says so. SITUATION... runs those alone.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc

from bench import BenchError
from bench.analysis.reading.checks import warnings_of
from bench.launch import server_process
from bench.runs.run import Run
from bench.server.api.null import canned_reply
from tests.load.locust_runs import command
from tests.ports import free_port
from tests.wire.certificates import Certificates, issue
from tests.wire.native import running
from tests.wire.proxies import haproxy, missing, nginx

ROOT = Path(__file__).parents[2]
SECONDS = 4
UNDER_WAY = 50
DOWN_SECONDS = 1.0
"""Between the end of a server and the start of the next."""
RECORDED_SECONDS = 60
"""For so many answers to be recorded."""
EXPECTED = {
    *(
        "behind",
        "not achieved",
        "client held up",
        "client paused",
        "client saturated",
        "near the ceiling",
        "stolen time",
    ),
    *("short", "unsteady", "too few samples"),
}
"""Warnings about this short run on this machine, not about the connections."""


class Place(NamedTuple):
    """Where the load goes, and what else Locust is told."""

    address: str
    options: tuple[str, ...] = ()
    during: Callable[[], float] | None = None
    """What happens once the load is under way, after UNDER_WAY answers; gives for how many seconds there was no server."""
    before: tuple[str, ...] = ()
    """A command that starts Locust."""
    scenario: str = "scenarios/mnist.py"


Situation = Callable[[Certificates, Path], contextlib.AbstractContextManager[Place]]
Lacking = Callable[[], str | None]
"""Why a situation cannot be made here; None: it can."""
SITUATIONS: dict[str, tuple[Lacking, Situation]] = {}


def situation(name: str, lacking: Lacking = lambda: None) -> Callable[[Situation], Situation]:
    def add(make: Situation) -> Situation:
        SITUATIONS[name] = (lacking, make)
        return make

    return add


no_nginx, no_haproxy = partial(missing, "nginx"), partial(missing, "haproxy")


def no_mounts() -> str | None:
    """A name of several addresses is made by an /etc/hosts of its own."""
    line = ["unshare", "--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"]
    try:
        done = subprocess.run(line, check=False, capture_output=True, text=True)
    except OSError as problem:
        return f"an /etc/hosts of its own takes unshare ({problem.strerror})"
    return None if done.returncode == 0 else f"an /etc/hosts of its own takes root ({done.stderr.strip()})"


def behind_nginx(name: str, rules: str, *options: str) -> None:
    @contextlib.contextmanager
    def make(files: Certificates, folder: Path) -> Iterator[Place]:
        with model_server() as server, nginx(server, rules) as address:
            yield Place(address, options)

    situation(name, no_nginx)(make)


@contextlib.contextmanager
def model_server(bind: str = "127.0.0.1") -> Iterator[str]:
    arguments = ["--backend", "null", "--bind", bind]
    with server_process.embedded(arguments) as server:
        yield server.address


@contextlib.contextmanager
def grpcio_server(**options: int) -> Iterator[str]:
    """A Predict on gRPC's own server, with channel arguments such as max_connection_age_ms."""
    settings = [f"{name}={value}" for name, value in options.items()]
    with running([sys.executable, "-m", "tests.benchmarks.connections", "--serve", *settings]) as port:
        yield f"127.0.0.1:{port}"


def serve(settings: list[str]) -> None:
    options = [(f"grpc.{name}", int(value)) for name, _, value in (each.partition("=") for each in settings)]
    server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
    reply = canned_reply()
    predict = grpc.unary_unary_rpc_method_handler(lambda _message, _context: reply)
    service = "tensorflow.serving.PredictionService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Predict": predict}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    os._exit(0)


behind_nginx("nginx, stock", "")
behind_nginx("nginx, keepalive_requests 50, 1 user", "keepalive_requests 50;", "-u", "1")
behind_nginx("nginx, keepalive_requests 50", "keepalive_requests 50;")
behind_nginx("nginx, keepalive_requests 200", "keepalive_requests 200;")
behind_nginx("nginx, keepalive_requests 1000", "keepalive_requests 1000;")
behind_nginx("nginx, keepalive_timeout 1s", "keepalive_timeout 1s;", "--schedule", "closed:1", "-u", "4")


@situation("grpc server, max_connection_age 0.3 s")
@contextlib.contextmanager
def aging(files: Certificates, folder: Path) -> Iterator[Place]:
    with grpcio_server(max_connection_age_ms=300, max_connection_age_grace_ms=2000) as address:
        yield Place(address)


@situation("grpc server, max_concurrent_streams 3")
@contextlib.contextmanager
def streams(files: Certificates, folder: Path) -> Iterator[Place]:
    # a load that fits on the whole: its server refuses streams for which it has promised room, the more the quicker
    # one asks, so that shares of failures at full speed compare speeds
    with grpcio_server(max_concurrent_streams=3) as address:
        yield Place(address, ("--schedule", "closed:0.02", "-u", "5"))


def named(folder: Path, *hosts: str) -> tuple[str, ...]:
    """Start a command that knows models.test as these addresses, by an /etc/hosts of its own; for root."""
    file = folder / "hosts"
    file.write_text("127.0.0.1 localhost\n" + "".join(f"{host} models.test\n" for host in hosts))
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh", str(file))


@situation("two addresses, the first refuses", no_mounts)
@contextlib.contextmanager
def refusing(files: Certificates, folder: Path) -> Iterator[Place]:
    with model_server("127.0.0.2") as server:
        port = server.rsplit(":", 1)[1]
        yield Place(f"models.test:{port}", before=named(folder, "127.0.0.1", "127.0.0.2"))


@situation("two addresses, the first swallows SYNs", no_mounts)
@contextlib.contextmanager
def swallowing(files: Certificates, folder: Path) -> Iterator[Place]:
    with model_server("127.0.0.2") as server, socket.socket() as mute, contextlib.ExitStack() as stack:
        port = int(server.rsplit(":", 1)[1])
        mute.bind(("127.0.0.1", port))
        mute.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield Place(f"models.test:{port}", before=named(folder, "127.0.0.1", "127.0.0.2"))


@situation("server restart")
@contextlib.contextmanager
def restart(files: Certificates, folder: Path) -> Iterator[Place]:
    port = free_port()
    with prepared_server(port) as first, prepared_server(port) as second:
        first.begin()

        def again() -> float:
            begun = time.monotonic()
            first.stop()
            time.sleep(DOWN_SECONDS)
            second.begin()
            return time.monotonic() - begun

        # an open loop: users who wait send more of their requests into the outage where answers take longer
        load = ("--schedule", "poisson:200", "-u", "1")
        yield Place(f"127.0.0.1:{port}", load, during=again, scenario="scenarios/mnist_open.py")


@situation("TLS", no_nginx)
@contextlib.contextmanager
def tls(files: Certificates, folder: Path) -> Iterator[Place]:
    with model_server() as server, nginx(server, "keepalive_requests 1000;", pem=files.server) as address:
        yield Place(address, ("--grpc-tls-ca", str(files.ca)))


@situation("unix socket", no_nginx)
@contextlib.contextmanager
def unix(files: Certificates, folder: Path) -> Iterator[Place]:
    with model_server() as server, nginx(server, "", path=folder / "socket") as address:
        yield Place(address)


@situation("haproxy, silent connections end after 1 s", no_haproxy)
@contextlib.contextmanager
def silent(files: Certificates, folder: Path) -> Iterator[Place]:
    with model_server() as server, haproxy(server, client="1s") as address:
        yield Place(address, ("--schedule", "closed:1", "-u", "4"))


@situation("nginx chooses by :authority", no_nginx)
@contextlib.contextmanager
def authority(files: Certificates, folder: Path) -> Iterator[Place]:
    rules = 'if ($host != "mnist.example.com") { return 421; }'
    with model_server() as server, nginx(server, rules) as address:
        yield Place(address, ("--authority", "mnist.example.com"))


class Prepared:
    """A `bench serve` on a port that has imported what it needs, so that it listens soon after `begin`."""

    def __init__(self, port: int) -> None:
        program = "import sys, bench.server.process; from bench.cli import main; sys.stdin.readline(); main()"
        line = [sys.executable, "-c", program, "serve", "--backend", "null", "--port", str(port)]
        self._process = subprocess.Popen(
            line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def begin(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def prepared_server(port: int) -> Iterator[Prepared]:
    server = Prepared(port)
    try:
        yield server
    finally:
        server.stop()


class Outcome(NamedTuple):
    """What a run says."""

    outcomes: Counter[str]
    sent: int
    retries: int | None
    warnings: list[str]
    seconds: float
    down: float
    """Of these seconds, how many had no server."""

    @property
    def shares(self) -> dict[str, float]:
        """Of all requests; those that had to fail, in an open loop, as nobody served them are no difference."""
        shares = {name: count / self.outcomes.total() for name, count in self.outcomes.items()}
        if self.down:
            lost = self.down / self.seconds
            shares |= {"OK": shares["OK"] + lost, "UNAVAILABLE": shares.get("UNAVAILABLE", 0) - lost}
        return shares


def await_answers(results: Path, process: "subprocess.Popen[str]") -> None:
    """Until UNDER_WAY answers stand in the run folder: an earlier event would come before the load."""
    end = time.monotonic() + RECORDED_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(BenchError):  # its manifest comes a moment after the folder
            tallies = [each for folder in results.iterdir() for each in Run.open(folder).tallies.items()]
            if sum(each.requests for (key, _), each in tallies if key.outcome == "OK") >= UNDER_WAY:
                return
        time.sleep(0.1)
    raise SystemExit(f"no load: {process.communicate(timeout=60)[0]}")


def run(place: Place, transport: str, seconds: int) -> Outcome:
    with tempfile.TemporaryDirectory() as name:
        users = () if "-u" in place.options else ("-u", "16")
        options = ("--host", place.address, "--transport", transport, "-r", "100", *users)
        line = command(Path(name), *options, scenario=place.scenario)
        line += ["-t", f"{seconds}s", "--exit-code-on-error", "0", "--references", "0", *place.options]
        process = subprocess.Popen(
            [*place.before, *line],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        down = 0.0
        if place.during is not None:
            await_answers(Path(name), process)
            down = place.during()
        try:
            output, _ = process.communicate(timeout=seconds + 60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        folders = list(Path(name).iterdir())
        if not folders:
            raise SystemExit(f"no run: {output}")
        found = Run.open(folders[0])
        outcomes: Counter[str] = Counter()
        begin, end = found.seconds
        for (key, _), tally in found.within(begin, end).tallies.items():
            outcomes[key.outcome] += tally.requests
        counts = found.manifest.counts
        warned = sorted({warning.check for warning in warnings_of(found)} - EXPECTED)
        return Outcome(outcomes, counts.sent, counts.retries, warned, end - begin, down)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("situations", nargs="*", metavar="SITUATION", help="of the table (default: all)")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--serve", nargs="*", metavar="NAME=VALUE", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(asked.serve)
        return
    print("| situation | transport | outcomes | sent | retries | warnings | same within 1 % |")
    print("|---|---|---|---:|---:|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        files = issue(Path(name))
        for title, (lacking, make) in SITUATIONS.items():
            if asked.situations and title not in asked.situations:
                continue
            if (reason := lacking()) is not None:
                print(f"| {title} | | left out: {reason} | | | | |")
                continue
            both: list[Outcome] = []
            for transport in ("native", "grpcio"):
                with tempfile.TemporaryDirectory() as folder, make(files, Path(folder)) as place:
                    both.append(run(place, transport, asked.seconds))
                one = both[-1]
                told = ", ".join(f"{n} {count:,}" for n, count in one.outcomes.most_common())
                if one.down:
                    told += f"; {one.down:.2f} s without a server"
                same = ""
                if len(both) == 2:
                    names = {*both[0].shares, *both[1].shares}
                    apart = max(abs(both[0].shares.get(n, 0) - both[1].shares.get(n, 0)) for n in names)
                    same = "yes" if apart <= 0.01 else f"NO: {apart:.1%} apart"
                retries = "-" if one.retries is None else f"{one.retries:,}"
                warned = ", ".join(one.warnings) or "none"
                print(
                    f"| {title} | {transport} | {told} | {one.sent:,} | {retries} | {warned} | {same} |",
                    flush=True,
                )
                time.sleep(0.1)


if __name__ == "__main__":
    main()
