"""The introduction of a load process at its hello: all that take part in a test have to be alike."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import locust

import bench
from bench.load.sources import sending_classes

MASTER: Final = "bench_master"
"""Among the parsed options, which Locust sends to its workers: the master's introduction."""
MESSAGES: Final = "6"
"""Counts on when messages between master and worker change."""


def versions(environment: Any) -> dict[str, str]:
    """The versions of what master and worker have in common, and a checksum of the locustfiles where there are any."""
    numbers = {"serving-bench": bench.__version__, "messages": MESSAGES, "Locust": locust.__version__}
    files = [Path(name) for name in environment.parsed_locustfiles or () if Path(name).is_file()]
    if files:
        parts = sorted(hashlib.sha256(path.read_bytes()).digest() for path in files)
        numbers["locustfile"] = hashlib.sha256(b"".join(parts)).hexdigest()[:12]
    return numbers


def introduction(environment: Any) -> dict[str, Any]:
    """What one end tells the other: the user classes that send, and the versions."""
    return {"classes": sending_classes(environment), "versions": versions(environment)}


def unlike(worker: Mapping[str, Any], master: Mapping[str, Any]) -> str | None:
    """Why a worker cannot take part in a master's test, from both introductions; None: it can."""
    theirs, ours = worker.get("classes") or (), master.get("classes") or ()
    if list(theirs) != list(ours):
        return (
            f"a worker has the user classes {_listed(theirs)} and the master has {_listed(ours)}: "
            "start all of them with the same locustfile and classes"
        )
    theirs, ours = worker.get("versions") or {}, master.get("versions") or {}
    for name in dict.fromkeys((*ours, *theirs)):
        if name == "locustfile" and (name not in theirs or name not in ours):
            continue  # a program made its environment
        if theirs.get(name) != ours.get(name):
            return (
                f"a worker has {name} {_version(theirs.get(name))} and the master has {_version(ours.get(name))}: "
                "start all load processes with the same versions and the same locustfile"
            )
    return None


def _version(text: object) -> str:
    return "of an unknown version" if text is None else str(text)[:80]


def _listed(names: Any) -> str:
    return ", ".join(str(name)[:80] for name in names[:20]) or "none"
