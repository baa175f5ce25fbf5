"""The steps of the client's image in a bare root file system, where no container daemon runs: `python -m tests.benchmarks.image_steps FOLDER`

Makes a Debian in FOLDER/root (debootstrap --variant=minbase, with python3 in place of the base image), executes the instructions of
the Dockerfile's stages there by chroot, and starts the entry point as the image's user on a read-only root. Prints the sizes and, of
five starts each, the median wall time and the largest resident memory. Loads of three seconds follow, with a server outside (`bench serve
--backend synthetic`): seconds from the start to the first request that is recorded, and the largest memory of the load process and of
the process that makes its report. Ends with 1 where the first request leaves later than after MOST_SECONDS, where one of these
processes holds more than MOST_BYTES, where a program writes outside of its volume, or where TensorFlow is there.

Needs root, debootstrap (`apt-get install debootstrap`) and the network: Debian's packages and a package index. --suite: of Debian
(default: the one of the base image). --keep: take all stages but the last from the call before; --built: take all, and only measure.
"""

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.launch import server_process
from bench.runs.run import Run
from tests.dockerfile import Instruction, Stage, lineage, stages

HERE = Path(__file__).parents[2]
TARGET = "client"
MOST_SECONDS, MOST_BYTES = 1.5, 120e6
TIMES = 5
PROBE = """
import os, subprocess, sys, time
began = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
output = child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - began, usage.ru_maxrss * 1024)
sys.stdout.flush()
sys.stderr.buffer.write(output)
"""


def run(*command: object, **options: object) -> str:
    done = subprocess.run([*map(str, command)], text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: code {done.returncode}\n{done.stdout}{done.stderr}")
    return str(done.stdout)


@contextmanager
def mounts(root: Path, *, read_only: bool = False) -> Iterator[None]:
    """What a container has: /proc, /dev, its own /tmp and a volume; the root of its own is read-only."""
    done: list[Path] = []

    def mount(*arguments: object, at: Path) -> None:
        run("mount", *arguments, at)
        done.append(at)

    try:
        if read_only:
            mount("--bind", root, at=root)
            run("mount", "-o", "remount,bind,ro", root)
        mount("-t", "proc", "proc", at=root / "proc")
        mount("--bind", "/dev", at=root / "dev")
        mount("-t", "tmpfs", "tmpfs", at=root / "tmp")
        if read_only:
            mount("-t", "tmpfs", "-o", "uid=10001,gid=10001", "tmpfs", at=root / "results")
        yield
    finally:
        for point in reversed(done):
            run("umount", point)


class Building:
    """A root file system that instructions are executed in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
        }
        self.folder = Path("/")
        self.user = "0:0"
        self.entry: list[str] = []
        self.others: dict[str, Path] = {}

    def inside(self, *command: str, user: str | None = None) -> list[str]:
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        place = f'cd {self.folder} && exec "$@"'
        return [
            "chroot",
            f"--userspec={user or self.user}",
            str(self.root),
            "env",
            "-i",
            *variables,
            "sh",
            "-c",
            place,
            "sh",
            *command,
        ]

    def step(self, each: Instruction) -> None:
        """Execute one instruction."""
        print(f"  {each.name} {each.text}"[:150], flush=True)
        if each.name == "ENV":
            for name, value in re.findall(r"(\w+)=(\S+)", each.text):
                self.environment[name] = value.replace("$PATH", self.environment["PATH"])
        elif each.name == "WORKDIR":
            self.folder = Path(each.text)
            (self.root / each.text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif each.name == "COPY":
            self._copy(each.words)
        elif each.name == "RUN":
            with mounts(self.root):
                extra = {
                    name: value
                    for name, value in os.environ.items()
                    if name.startswith(("PIP_", "SSL_", "REQUESTS_"))
                }
                before, self.environment = self.environment, {**self.environment, **extra}
                run(*self.inside("sh", "-e", "-c", each.text))
                self.environment = before
        elif each.name == "USER":
            self.user = each.text
        elif each.name == "ENTRYPOINT":
            self.entry = each.words

    def _copy(self, words: list[str]) -> None:
        home = HERE
        if words[0].startswith("--from="):
            home, words = self.others[words[0].removeprefix("--from=")], words[1:]
        *names, target = words
        for name in names:
            source = home / name.lstrip("/")
            place = self.root / str(self.folder / target).lstrip("/")
            where = place / source.name if target.endswith("/") else place
            if source.is_dir():
                # .dockerignore keeps them from the context; those that pip has compiled belong to the image
                ignored = shutil.ignore_patterns("__pycache__") if home == HERE else None
                shutil.copytree(source, where, symlinks=True, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy(source, where)


def bare(place: Path, suite: str) -> None:
    """What stands for the base image."""
    packages = "python3,python3-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", f"--include={packages}", suite, place)
    for name in ("etc/resolv.conf", "etc/hosts"):
        shutil.copy(f"/{name}", place / name)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        shutil.copy(certificates, place / "etc/ssl/certs/ca-certificates.crt")


def built(folder: Path, suite: str, *, keep: bool, whole: bool) -> Building:
    """The client's root, and what it was copied from. keep: what an earlier call built for it; whole: all of it."""
    found = stages(HERE / "Dockerfile")
    base = folder / "base"
    if not (base / "usr/bin/python3").exists():
        shutil.rmtree(base, ignore_errors=True)
        bare(base, suite)
    roots: dict[str, Building] = {}

    def build(stage: Stage) -> Building:
        for each in [each for one in lineage(found, stage.name) for each in one.instructions]:
            if each.text.startswith("--from="):
                other = each.words[0].removeprefix("--from=")
                if other not in roots:
                    build(found[other])
        print(f"{stage.name}:", flush=True)
        root = folder / stage.name
        if keep and stage.name != TARGET and root.exists():
            roots[stage.name] = Building(root)
            return roots[stage.name]
        made = roots[stage.name] = Building(root)
        made.others = {name: other.root for name, other in roots.items()}
        if not whole:
            shutil.rmtree(root, ignore_errors=True)
            run("cp", "-a", base, root)
        for one in lineage(found, stage.name):
            for each in one.instructions:
                if not whole or each.name not in ("COPY", "RUN"):
                    made.step(each)
        return made

    return build(found[TARGET])


def started(image: Building, *command: str) -> tuple[int, float, float, str]:
    """Exit code, median wall time in seconds, largest memory in bytes and output of a command, started TIMES times."""
    rows, output = [], ""
    for _ in range(TIMES):
        done = subprocess.run(
            image.inside("python3", "-c", PROBE, *command), capture_output=True, text=True, check=True
        )
        rows.append([float(word) for word in done.stdout.split()])
        output = done.stderr
    codes = {int(row[0]) for row in rows}
    assert len(codes) == 1, output
    return codes.pop(), statistics.median(row[1] for row in rows), max(row[2] for row in rows), output


class Load(NamedTuple):
    """One load by the image's program."""

    first: float
    """Seconds from the start of the program to the first request."""
    memory: dict[str, float]
    """Largest resident memory of each of its processes, in bytes, by what it is for."""


def loaded(image: Building, server: str, number: int, *options: str, watched: bool = False) -> Load:
    """Send a load for three seconds; watched: with the memory of its processes. Raises SystemExit where it fails."""
    results = f"/results/{number}"
    load = [
        "scenario",
        "mnist",
        "--headless",
        "--host",
        server,
        "-u",
        "4",
        "-r",
        "4",
        "-t",
        "3s",
        "--results",
        results,
    ]
    began = time.perf_counter()
    command = image.inside(*image.entry, *load, *options)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    memory: dict[str, float] = {}
    while watched and process.poll() is None:
        each: psutil.Process
        for each in processes(process.pid):
            with contextlib.suppress(psutil.Error, OSError, ValueError):  # it has ended
                title = (
                    "report" if "report" in each.cmdline() else "load" if each.pid == process.pid else "other"
                )
                memory[title] = max(memory.get(title, 0.0), highest(each.pid))
        time.sleep(0.05)
    output = process.communicate()[0]
    folders = list((image.root / results.lstrip("/")).glob("*/manifest.json"))
    if process.returncode or not folders:
        raise SystemExit(f"{' '.join(load)}: code {process.returncode}\n{output}")
    run = Run.open(folders[0].parent)
    first = run.manifest.raw["clock_origin"] + float(run.samples["sent"].min()) - began
    return Load(first, memory)


def processes(root: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    with contextlib.suppress(psutil.Error):
        return [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    return []


def highest(process: int) -> float:
    """The largest resident memory of a process so far, in bytes."""
    (line,) = [
        row for row in Path(f"/proc/{process}/status").read_text().splitlines() if row.startswith("VmHWM")
    ]
    return float(line.split()[1]) * 1024


def loads(image: Building) -> bool:
    """Print what TIMES loads take, with and without what looks at the server and at the load; whether it is within the bounds."""
    good = True
    with server_process.embedded(
        ["--backend", "synthetic", "--model_name", "mnist", "--rest_api_port=0"]
    ) as server:
        rows = [loaded(image, server.address, number) for number in range(TIMES)]
        first = statistics.median(row.first for row in rows)
        good = first < MOST_SECONDS
        print(f"{'pass' if good else 'FAIL'}  a load: first request after {first:.2f} s", flush=True)
        # what looks at its processes takes time from them
        for number, options in enumerate(((), ("--prometheus", "127.0.0.1:9646")), start=TIMES):
            memory = loaded(image, server.address, number, *options, watched=True).memory
            kept = max(memory.values()) < MOST_BYTES
            good = good and kept
            sizes = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in memory.items())
            print(f"{'pass' if kept else 'FAIL'}  {' '.join(('a load', *options[:1]))}: {sizes}", flush=True)
    return good


def main() -> int:
    """Build, start, measure; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suite", default=stages(HERE / "Dockerfile")["base"].base.rpartition("-")[2])
    parser.add_argument(
        "--keep", action="store_true", help="take the stages but the last that an earlier call has built"
    )
    parser.add_argument("--built", action="store_true", help="take all of them, and only measure")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    image = built(folder, given.suite, keep=given.keep or given.built, whole=given.built)
    size = int(run("du", "-sB1", image.root / "opt/serving-bench").split()[0])
    print(
        f"/opt/serving-bench: {size / 1e6:.0f} MB; the bare root: {int(run('du', '-sB1', folder / 'base').split()[0]) / 1e6:.0f} MB"
    )
    good = True
    with mounts(image.root, read_only=True):
        for command, wanted in (
            ([*image.entry, "--version"], 0),
            ([*image.entry, "--help"], 0),
            ([*image.entry, "status", "--host", "127.0.0.1:1", "--model", "m"], 2),
            ([*image.entry, "scenario", "mnist", "--headless", "--host", "127.0.0.1:1"], 2),
            ([*image.entry, "init", "/results/load-tests"], 0),
        ):
            if command[1] == "init":
                run(*image.inside(*command))
                print("pass  bench init writes into the volume")
                continue
            code, seconds, memory, output = started(image, *command)
            kept = (
                code == wanted
                and memory < MOST_BYTES
                and (command[1] != "--version" or seconds < MOST_SECONDS)
            )
            good = good and kept
            print(
                f"{'pass' if kept else 'FAIL'}  {' '.join(command)}: code {code}, {seconds:.2f} s, {memory / 1e6:.0f} MB"
            )
            if not kept:
                print(output)
        for title, command, wanted in (
            ("the root cannot be written", ["touch", "/opt/serving-bench/x"], 1),
            ("TensorFlow is not there", [*image.entry, "serve", "--model_base_path", "/m"], 2),
            ("it is not root", ["sh", "-c", "test $(id -u) = 10001"], 0),
        ):
            done = subprocess.run(image.inside(*command), capture_output=True, text=True, check=False)
            good = good and done.returncode == wanted
            print(
                f"{'pass' if done.returncode == wanted else 'FAIL'}  {title}: {(done.stdout + done.stderr).strip()[:140]}"
            )
        good = loads(image) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
