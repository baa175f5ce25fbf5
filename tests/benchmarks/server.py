"""Measure the embedded server on one core. Run: python -m tests.benchmarks.server [PART ...]

Server on processor 0, client on processor 1 (or as --processors says), MNIST softmax SavedModels executed by
TensorFlow, every answer checked against the model's own answer to the same digit.
PARTs: throughput latency batch null batching swap reload mixed idle.
Prints a table for each; exit code 1 where an answer was wrong or a call failed.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc

from bench.launch import server_process
from bench.launch.server_process import Server
from bench.wire import frames, messages
from tests.benchmarks.asking import Ask, gather, pool_of
from tests.benchmarks.clients import Load, write_request
from tests.benchmarks.clients import h2load as run_h2load

ROOT = Path(__file__).parents[2]
SERVER, CLIENT = 0, 1
failures: list[str] = []


def models(folder: Path) -> Path:
    """MNIST versions 1 and 2 as `bench export` makes them."""
    command = [sys.executable, "-m", "bench", "export", str(folder), "--model", "mnist", "--pair"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return folder


@contextlib.contextmanager
def served(
    folder: Path, *flags: str, all_versions: bool = False, first: int | None = None, pinned: bool = True
) -> Iterator[Server]:
    """The server, on its processor, with the newest version of `folder`/mnist, with all of them, or with one."""
    config = folder / "models.config"
    policy = "model_version_policy { all {} }" if all_versions else ""
    if first is not None:
        policy = f"model_version_policy {{ specific {{ versions: {first} }} }}"
    config.write_text(
        f'model_config_list {{ config {{ name: "mnist" base_path: "{folder / "mnist"}" '
        f'model_platform: "tensorflow" {policy} }} }}'
    )
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER} if pinned else own)
    try:
        launched = server_process.embedded([f"--model_config_file={config}", *flags])
        server = launched.__enter__()
    finally:
        os.sched_setaffinity(0, own)
    try:
        yield server
    finally:
        launched.__exit__(None, None, None)


def ask(**what: Any) -> dict[str, Any]:
    """What a client process on the client's processor reports; failures are noted."""
    done = subprocess.run(
        [
            "taskset",
            "-c",
            str(CLIENT),
            sys.executable,
            "-m",
            "tests.benchmarks.asking",
            json.dumps(asdict(Ask(**what))),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["errors"] or found["wrong"]:
        failures.append(f"{what}: errors by status {found['errors']}, wrong answers {found['wrong']}")
    return found


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def row(name: str, server: Server, before: float, found: dict[str, Any], batch: int = 1) -> None:
    count, seconds, latency = found["requests"], found["seconds"], found["latency"]
    used = (cpu_seconds(server.pid) - before) / count * 1e6
    print(
        f"{name:<26} {count / seconds:>9,.0f} {count * batch / seconds:>11,.0f} {used:>9.1f} "
        f"{found['cpu'] / count * 1e6:>9.1f} {latency['p50'] * 1e6:>8.0f} {latency['p99'] * 1e6:>8.0f} "
        f"{latency['p999'] * 1e6:>8.0f} {found['wrong']:>6} {sum(found['errors'].values()):>6}",
        flush=True,
    )


HEAD = (
    f"{'':<26} {'requests/s':>10} {'examples/s':>10} {'server us':>9} {'client us':>9} "
    f"{'p50 us':>8} {'p99 us':>8} {'p99.9':>8} {'wrong':>6} {'errors':>6}"
)


def measured(name: str, server: Server, batch: int = 1, **what: Any) -> dict[str, Any]:
    before = cpu_seconds(server.pid)
    found = ask(address=server.address, batch=batch, **what)
    row(name, server, before, found, batch)
    return found


def throughput(folder: Path, seconds: float) -> None:
    """Closed loop, one image a request."""
    with served(folder, all_versions=True) as server:
        right = references(folder, server, 1)
        print(HEAD)
        for _ in range(2):
            for in_flight in (64, 16, 1):
                measured(
                    f"{in_flight} in flight", server, in_flight=in_flight, seconds=seconds, references=right
                )


def references(folder: Path, server: Server, batch: int) -> str:
    path = folder / f"references-{batch}.npz"
    if not path.exists():
        gather(server.address, path, batch)
    return str(path)


def latency(folder: Path, seconds: float) -> None:
    """Open loop at half of what 64 in flight reach, at half of 90,000/s, and at 10,000/s.

    In turn with the null backend, which shows how long the machine itself lets requests wait.
    """
    with served(folder, all_versions=True) as server, null_server() as other:
        right = references(folder, server, 1)
        print(HEAD)
        found = measured("64 in flight", server, in_flight=64, seconds=seconds, references=right)
        for rate in (found["requests"] / found["seconds"] / 2, 45_000.0, 10_000.0):
            worst: dict[str, list[float]] = {"TensorFlow": [], "null": []}
            for _ in range(5):
                mine = measured(
                    f"TensorFlow {rate:,.0f}/s", server, rate=rate, seconds=seconds / 2, references=right
                )
                theirs = measured(f"null {rate:,.0f}/s", other, rate=rate, seconds=seconds / 2)
                worst["TensorFlow"].append(mine["latency"]["p99"])
                worst["null"].append(theirs["latency"]["p99"])
            for name, points in worst.items():
                low, middle, high = (pick(points) * 1e6 for pick in (min, statistics.median, max))
                print(
                    f"{name} at {rate:,.0f}/s: p99 {middle:,.0f} us, median of 5 ({low:,.0f} to {high:,.0f})"
                )


@contextlib.contextmanager
def null_server() -> Iterator[Server]:
    """The null backend on the server's processor."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER})
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(server_process.embedded(["--backend=null"]))
        finally:
            os.sched_setaffinity(0, own)
        yield server


def batch(folder: Path, seconds: float) -> None:
    """Batches of 32 and 128 images."""
    with served(folder, all_versions=True) as server:
        print(HEAD)
        for size in (32, 128):
            right = references(folder, server, size)
            for in_flight in (16, 1):
                name = f"batch {size}, {in_flight} in flight"
                measured(name, server, size, in_flight=in_flight, seconds=seconds, references=right)


def batching(folder: Path, seconds: float) -> None:
    """Continuous batching against none and against the original's timed batching, in turn."""
    timed = folder / "batching.config"
    timed.write_text(
        "max_batch_size { value: 32 } batch_timeout_micros { value: 1000 } num_batch_threads { value: 1 }"
    )
    kinds = {
        "continuous": [],
        "none": ["--batching=false"],
        "timed (32, 1 ms)": ["--enable_batching", f"--batching_parameters_file={timed}"],
    }
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(served(folder, *flags, all_versions=True))
            for name, flags in kinds.items()
        }
        right = references(folder, servers["continuous"], 1)
        print(HEAD)
        for _ in range(2):
            for name, server in servers.items():
                measured(name, server, in_flight=64, seconds=seconds, references=right)


def null(folder: Path, seconds: float) -> None:
    """Canned replies under h2load."""
    request = write_request(folder, pool_of(Ask("")).messages[0])
    with null_server() as server:
        for in_flight in (64, 16, 1, 64):
            before = cpu_seconds(server.pid)
            found = run_h2load(Load(server.address, request, in_flight, max(1.0, seconds), CLIENT))
            used = (cpu_seconds(server.pid) - before) / found.requests * 1e6
            rate = found.requests / found.seconds
            print(
                f"null, {in_flight:>3} in flight {rate:>10,.0f} requests/s {used:>6.2f} us of the server each"
            )
            if found.errors:
                failures.append(f"null: {found.errors} failed")


def swap(folder: Path, seconds: float, swaps: int = 100) -> None:
    """A new version a few times a second under 10,000 requests/s."""
    with served(folder, all_versions=True) as server:
        right = references(folder, server, 1)
    rolling = folder / "rolling"
    _publish(folder, rolling, 1)
    flags = ["--file_system_poll_wait_seconds=0.05"]
    with served(rolling, *flags) as server:

        def swap_to(version: int) -> None:
            _publish(folder, rolling, version)
            _until_logged(server, f"model mnist version {version} available")
            shutil.rmtree(rolling / "mnist" / str(version - 1))

        _changed_under_load("swaps", server, right, swap_to, swaps)


def reload(folder: Path, seconds: float, reloads: int = 100) -> None:
    """Another configuration a few times a second under 10,000 requests/s: the next version, and a model that comes and goes."""
    with served(folder, all_versions=True) as server:
        right = references(folder, server, 1)
    listed = folder / "listed"
    for version in range(1, reloads + 2):
        _publish(folder, listed, version)
    with served(listed, first=1) as server, grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(messages.RELOAD_CONFIG)

        def reload_to(version: int) -> None:
            request = messages.ReloadConfigRequest()
            models = request.config.model_config_list.config
            for name in ("mnist", "other")[: 1 + version % 2]:
                model = models.add(name=name, base_path=str(listed / "mnist"), model_platform="tensorflow")
                model.model_version_policy.specific.versions.append(version)
            call(request.SerializeToString(), timeout=20)
            _until_logged(server, f"model mnist version {version} available")

        _changed_under_load("reloads", server, right, reload_to, reloads)


def _changed_under_load(
    name: str, server: Server, right: str, change_to: Callable[[int], None], count: int
) -> None:
    """Bring versions 2, 3, ... into service, one after the other, under 10,000 requests/s."""
    before, used, memory = megabytes(server.pid), cpu_seconds(server.pid), []
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(
            ask, address=server.address, rate=10_000.0, seconds=0.6 * count, references=right
        )
        time.sleep(1.5)
        for version in range(2, count + 2):
            began = time.monotonic()
            change_to(version)
            memory.append(megabytes(server.pid))
            time.sleep(max(0.0, 0.4 - (time.monotonic() - began)))
        found = asking.result()
    print(HEAD)
    row(f"{count} {name}", server, used, found)
    tenth = memory[count // 10 - 1]
    print(
        f"versions answered: {len(found['versions'])} of {count + 1}, in order: "
        f"{found['versions'] == sorted(found['versions'])}, answers by an outdated version: "
        f"{found['outdated']}; memory {before:.0f} MB, {tenth:.0f} MB after a tenth, {memory[-1]:.0f} MB at the end"
    )
    if found["outdated"] or found["versions"] != sorted(found["versions"]):
        failures.append("versions did not follow each other")


def _publish(folder: Path, rolling: Path, version: int) -> None:
    """Version v is a copy of version 1 or 2, whichever has v's parity, and appears whole."""
    source = folder / "mnist" / str(1 if version % 2 else 2)
    aside = rolling / "mnist" / f"{version}_tmp"
    shutil.copytree(source, aside)
    aside.rename(rolling / "mnist" / str(version))


def _until_logged(server: Server, text: str) -> None:
    until = time.monotonic() + 20
    while text not in server.log_text():
        if time.monotonic() > until:
            raise SystemExit(f"the server never logged {text!r}:\n{server.log_text()[-2000:]}")
        time.sleep(0.01)


def mixed(folder: Path, seconds: float) -> None:
    """Two clients at once, with versions and batch sizes of their own, a million answers."""
    with served(folder, all_versions=True) as server, ThreadPoolExecutor(2) as pool:
        ones, threes = references(folder, server, 1), references(folder, server, 3)
        before = megabytes(server.pid)
        kinds: list[dict[str, Any]] = [
            {"version": 1, "batch": 1, "in_flight": 32, "references": ones, "requests": 600_000},
            {"version": 2, "batch": 3, "in_flight": 16, "references": threes, "requests": 400_000},
        ]
        used = cpu_seconds(server.pid)
        asking = [pool.submit(ask, address=server.address, **kind) for kind in kinds]
        print(HEAD)
        for kind, future in zip(kinds, asking, strict=True):
            found = future.result()
            row(f"version {kind['version']}, batch {kind['batch']}", server, used, found, kind["batch"])
            if found["versions"] != [kind["version"]]:
                failures.append(f"asked for version {kind['version']}, answered by {found['versions']}")
        print(f"memory {before:.0f} MB before, {megabytes(server.pid):.0f} MB after")


def idle(folder: Path, seconds: float, count: int = 10_000) -> None:
    """10,000 connections that do nothing, beside one that does."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with served(folder, all_versions=True) as server:
        right = references(folder, server, 1)
        host, port = server.address.rsplit(":", 1)
        print(HEAD)
        measured("without them", server, in_flight=64, seconds=seconds, references=right)
        before = megabytes(server.pid)
        sockets = []
        for _ in range(count):
            sock = socket.create_connection((host, int(port)), 10)
            sock.sendall(frames.PREFACE + frames.settings({}))
            sockets.append(sock)
        for sock in sockets:
            if not sock.recv(1000):
                raise SystemExit("an idle connection was closed")
        each = (megabytes(server.pid) - before) / count * 1e3
        measured(f"with {count:,} idle", server, in_flight=64, seconds=seconds, references=right)
        print(f"{each:.1f} kB of the server for each idle connection")
        for sock in sockets:
            sock.close()
        measured("after them", server, in_flight=64, seconds=seconds, references=right)


PARTS: dict[str, Callable[[Path, float], None]] = {
    each.__name__: each for each in (throughput, latency, batch, null, batching, swap, reload, mixed, idle)
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument(
        "--processors", type=int, nargs=2, default=(0, 1), help="the server's and the client's"
    )
    arguments = parser.parse_args()
    global SERVER, CLIENT
    SERVER, CLIENT = arguments.processors
    with tempfile.TemporaryDirectory() as made:
        folder = models(Path(made))
        for part in arguments.part or PARTS:
            print(f"\n{part}: {(PARTS[part].__doc__ or '').splitlines()[0]}")
            PARTS[part](folder, arguments.seconds)
    for failure in failures:
        print(f"FAILED {failure}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
