"""The machine, software and commit of a run."""

import functools
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psutil

PACKAGES: Final = (
    "serving-bench",
    "locust",
    "gevent",
    "greenlet",
    "numpy",
    "protobuf",
    "grpcio",
    "hpack",
    "pyarrow",
    "tensorflow",
    "tensorflow-serving-api",
)
"""Distributions that decide what a request costs on either side, or how it is recorded."""

HARDWARE: Final = (
    "architecture",
    "cpu_model",
    "cores",
    "usable_cores",
    "cpu_quota",
    "memory_gib",
    "governor",
)
"""The facts in a fingerprint: two machines that differ in one of them are not comparable."""

GIT_SECONDS: Final = 5.0


def facts() -> dict[str, Any]:
    """What is known of this machine and its software, ready for JSON; None where the system does not tell.

    Starts no process and takes about 10 ms.
    """
    hardware = {**_hardware(), **_software()}
    hardware["fingerprint"] = fingerprint(hardware)
    return hardware


def fingerprint(known: Mapping[str, Any]) -> str:
    """16 hex digits that are equal for machines which are equal in all HARDWARE facts."""
    text = json.dumps([known[name] for name in HARDWARE])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def git_facts(folder: Path) -> dict[str, Any] | None:
    """Commit, branch and uncommitted changes of the checkout that holds a folder.

    `dirty` speaks of tracked files only: a run folder beside them changes nothing. None where the folder is in
    no checkout, or where git is missing or does not answer within GIT_SECONDS.
    """
    command = ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    # no lock and no locale: the answer is read by a program, and the user's own git may run at the same time
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=GIT_SECONDS, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        return None
    lines = answer.stdout.splitlines()
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = headers.get("branch.oid", ""), headers.get("branch.head", "")
    return {
        "commit": None if commit == "(initial)" else commit,
        "branch": None if branch == "(detached)" else branch,
        "dirty": any(not line.startswith("#") for line in lines),
    }


def _hardware() -> dict[str, Any]:
    memory = psutil.virtual_memory().total
    return {
        "architecture": platform.machine(),
        "cpu_model": _cpu_model(),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "usable_cores": _usable_cores(),
        "cpu_quota": _cpu_quota(),
        "memory": memory,
        "memory_gib": round(memory / 2**30),
        "governor": _governor(),
    }


def _software() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


@functools.cache
def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    for line in _lines(Path("/proc/cpuinfo")):
        name, _, value = line.partition(":")
        # "Model" is a board's name on ARM; "model name" is the processor's
        if name.strip() in ("model name", "cpu model"):
            return value.strip()
    return platform.processor() or None


def _usable_cores() -> int | None:
    """Logical cores that this process may run on: fewer than there are, in a container or under taskset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu_quota() -> float | None:
    """Cores' worth of time that the control group grants (cgroup v2 cpu.max, v1 cfs_quota); None: no limit.

    The least of all limits from this process's group upwards, as far as they can be seen from inside.
    """
    quotas = []
    for entry in _lines(Path("/proc/self/cgroup")):
        _, controllers, path = entry.split(":", 2)
        if controllers == "":
            quotas += [_quota_v2(folder) for folder in _upwards(Path("/sys/fs/cgroup"), path)]
        elif "cpu" in controllers.split(","):
            quotas += [_quota_v1(folder) for folder in _upwards(Path("/sys/fs/cgroup/cpu"), path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(root: Path, path: str) -> list[Path]:
    below = Path(path.lstrip("/"))
    return [root / part for part in (below, *below.parents)]


def _quota_v2(folder: Path) -> float | None:
    words = " ".join(_lines(folder / "cpu.max")).split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = (
        " ".join(_lines(folder / name)).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    )
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _governor() -> str | None:
    """The frequency governor; "mixed" where cores differ, None where there is none, as in most virtual machines."""
    folder = Path("/sys/devices/system/cpu")
    governors = {
        line for path in folder.glob("cpu[0-9]*/cpufreq/scaling_governor") for line in _lines(path)[:1]
    }
    return "mixed" if len(governors) > 1 else next(iter(governors), None)


def _lines(path: Path) -> list[str]:
    """Lines of a file of the kernel's; none where this system has no such file."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
